"""Sizes, workspace and tasks of ``paged_attention``: what its cube and vector functions have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.machine_programs.builder import Number
from benchmarks.machine_programs.mixed import MixedProgram
from tilejit.ir.core import Value
from tilejit.ir.types import BF16, FP32, INT32, DType
from tilejit.ops.elementwise import CmpPredicate
from tilejit.target.spaces import Core

HEAD = 128
SLOTS = 2
S_READY, P_READY, O_READY, O_FREE, REDUCE = 0, 2, 4, 6, 8
"""Flags; all but the last have one for each slot."""
Step = Callable[[Number], None]
_BAND = 16  # heads of Q and P that are loaded at once where KV heads are many


@dataclass(frozen=True)
class PagedAttention:
    """Attention of ``batch`` requests of ``context`` tokens in pages of ``block_size``, head size 128.

    ``splits`` parts of a request's pages are tasks of their own.
    """

    batch: int
    heads: int
    kv_heads: int
    block_size: int
    context: int
    element: DType = BF16
    splits: int = 1

    def __post_init__(self) -> None:
        if self.block_size not in (64, 128) or self.context % self.block_size or self.context <= 0:
            raise ValueError(f"{self}: needs whole pages of 64 or 128 tokens")
        if self.is_split:
            if self.heads % (2 * _BAND) or self.heads % self.kv_heads or _BAND % self.group:
                raise ValueError(f"{self}: with splits, heads come by {2 * _BAND}, groups divide {_BAND}")
            if (self.splits - 1) * self.split_pages >= self.pages:
                raise ValueError(f"{self}: a split has no pages")
        elif self.kv_heads != 1 or self.heads not in (16, 32, 64):
            raise ValueError(f"{self}: without splits, one KV head has 16, 32 or 64 heads")

    @property
    def is_split(self) -> bool:
        return self.splits > 1

    @property
    def group(self) -> int:
        """Query heads of a KV head."""
        return self.heads // self.kv_heads

    @property
    def pages(self) -> int:
        """Pages of a request."""
        return self.context // self.block_size

    @property
    def split_pages(self) -> int:
        """Pages of a task; the last one of a request may have fewer."""
        return -(-self.pages // self.splits)

    @property
    def tasks(self) -> int:
        return self.batch * self.splits

    @property
    def band(self) -> int:
        """Heads of Q and P that are loaded at once."""
        return _BAND if self.is_split else self.heads

    @property
    def out(self) -> DType:
        """The type of the output."""
        return self.element if self.is_split else FP32

    @property
    def stage_bytes(self) -> dict[str, int]:
        """A slot of S, P and O in the workspace."""
        scores = self.heads * self.block_size
        return {"s": scores * 4, "p": scores * 2, "o": self.heads * HEAD * 4}

    @property
    def workspace_bytes(self) -> int:
        """Of one AI core."""
        return SLOTS * sum(self.stage_bytes.values())


@dataclass(frozen=True)
class Task:
    """One task as the scalar unit knows it; ``pages`` of it begin at page ``first`` of the request."""

    batch: Number
    split: Number
    first: Number
    pages: Number


class PagedProgram(MixedProgram):
    """What both kinds of cores have in common: arguments, workspace, tasks, the order of steps."""

    def __init__(self, shape: PagedAttention, core: Core) -> None:
        element = shape.element
        pointers = {"query": element, "key": element, "value": element, "block_table": INT32}
        pointers["out"] = shape.out
        if shape.is_split:
            pointers |= {"partial": FP32, "sums": FP32}
        super().__init__("paged_attention", core, pointers)
        self.shape = shape
        self._base = self.mul(self.block_index, shape.workspace_bytes)

    def stage(self, name: str, slot: Number, elements: Number, element: DType) -> Value:
        """A place in a slot of S, P or O of this core."""
        sizes = self.shape.stage_bytes
        names = list(sizes)
        start = SLOTS * sum(sizes[before] for before in names[: names.index(name)])
        bytes_in = self.add(self.mul(slot, sizes[name]), self.mul(elements, element.itemsize))
        return self.workspace(element, self.add(self._base, self.add(bytes_in, start)))

    @contextmanager
    def tasks(self) -> Iterator[Task]:
        """Code for each task of this core."""
        shape = self.shape
        with self.loop(self.block_index, shape.tasks, self.block_count) as task:
            if not shape.is_split:
                yield Task(task, 0, 0, shape.pages)
                return
            split = self.rem(task, shape.splits)
            first = self.mul(split, shape.split_pages)
            pages = self.min(self.sub(shape.pages, first), shape.split_pages)
            yield Task(self.div(task, shape.splits), split, first, pages)

    def steps(self, task: Task, ahead: Step, behind: Step, after_pair: Step | None = None) -> None:
        """Run ``ahead`` and ``behind`` for each page of a task.

        Without splits ``behind`` comes one page later; with splits pages go in pairs, and ``after_pair``
        follows for each page of a pair.
        """
        if self.shape.is_split:
            self._pairs(task, [ahead, behind, *([after_pair] if after_pair else [])])
            return
        ahead(0)
        with self.loop(1, task.pages) as page:
            ahead(page)
            behind(self.sub(page, 1))
        behind(self.sub(task.pages, 1))

    def _pairs(self, task: Task, stages: list[Step]) -> None:
        with self.loop(0, task.pages, 2) as page:
            second = self.add(page, 1)
            for stage in stages:
                stage(page)
                with self.when(self.compare(second, CmpPredicate.LT, task.pages)):
                    stage(second)

    def slot_of(self, page: Number) -> Number:
        """The slot of a page in the workspace, and the number of its flags."""
        return page % SLOTS if isinstance(page, int) else self.rem(page, SLOTS)
