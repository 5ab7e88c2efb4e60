"""Which names the bytecode of a function reads."""

from __future__ import annotations

import dis
import sys
from collections.abc import Hashable, Iterator, Mapping
from types import CodeType

from tilejit.records import dataclass

READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_CLOSURE"})
"""Instructions that read a name from outside a function, or that inner functions share."""
OUTER_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
"""Those that look it up among the globals."""
ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
CHANGES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"})
"""Instructions that change a name outside a function."""
HIDING = frozenset(
    {
        "IMPORT_NAME", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_FROM_DICT_OR_DEREF"
    }
)  # fmt: skip
"""Instructions that read or change what names do not show."""
_MOST_CODE = 512  # objects of which is remembered what they read
_FILLING = frozenset({"add", "append", "clear", "extend", "insert", "pop", "setdefault", "update"})
# How far the number of a name is shifted: the bits below tell how the interpreter calls what it loads.
_NAME_SHIFTS = {"LOAD_GLOBAL": 1, "LOAD_ATTR": 1 if sys.version_info >= (3, 12) else 0}
_EXTENDED_ARG = dis.opmap["EXTENDED_ARG"]
_SILENT = (dis.opmap["CACHE"], _EXTENDED_ARG)  # room for the interpreter's notes, and parts of arguments


def names_read(code: CodeType) -> Iterator[tuple[str, str]]:
    """The instructions of a code object, each with the name that it reads, where it is one that matters.

    In an eighth of the time of ``dis.get_instructions``, which also finds lines, jumps and texts.
    """
    names, cells = code.co_names, _cells(code)
    kinds, operations = _KINDS, dis.opname
    content, wide = code.co_code, 0
    for number, part in zip(content[::2], content[1::2], strict=True):
        argument = wide | part
        wide = argument << 8 if number == _EXTENDED_ARG else 0
        if number in _SILENT:
            continue
        kind = kinds[number]
        if kind in (_ATTRIBUTE, _GLOBAL):
            yield operations[number], names[argument >> _SHIFTS[number]]
        elif kind == _CELL:
            yield operations[number], cells[argument]
        else:
            yield operations[number], ""


def global_names(code: CodeType) -> set[str]:
    """The names that a code object and those inside it look up among the globals; not those of attributes."""
    found = {name for operation, name in names_read(code) if operation in OUTER_READS}
    for inner in inner_codes(code):
        found |= global_names(inner)
    return found


def all_names(code: CodeType) -> set[str]:
    """The names of globals and of attributes that a code object and those inside it use."""
    return set(code.co_names).union(*map(all_names, inner_codes(code)))


@dataclass(frozen=True)
class OutsideReads:
    """What code and the functions inside it do with names outside.

    ``names`` are looked up among the globals; ``changed`` are set, or lists and dicts that are filled;
    ``keys`` are the constant keys of ``name[key]`` for globals and attributes that are read in no other way.
    ``chains`` are the free names, each with the attributes read of it, in order. ``hiding`` is the first
    instruction of ``HIDING``, empty where there is none.
    """

    names: frozenset[str]
    changed: frozenset[str]
    keys: Mapping[str, frozenset[Hashable]]
    chains: tuple[tuple[str, ...], ...]
    hiding: str = ""


_reads: dict[CodeType, OutsideReads] = {}


def outside_reads(code: CodeType) -> OutsideReads:
    """What code does with names outside, found by walking over it, or told by who walked over it before."""
    found = _reads.get(code)
    if found is None:
        found = _walk(code)
        remember_reads(code, found)
    return found


def remember_reads(code: CodeType, reads: OutsideReads) -> None:
    """Save ``outside_reads`` the walk over code of which it is known what it does."""
    if len(_reads) >= _MOST_CODE:
        _reads.clear()
    _reads[code] = reads


def _walk(code: CodeType) -> OutsideReads:
    scan = _Scan()
    scan.walk(code)
    keys = {name: frozenset(found) for name, found in scan.keys.items() if name not in scan.others}
    chains, hiding = set[tuple[str, ...]](), list[str]()
    _note_chains(code, frozenset(code.co_freevars), chains, hiding)
    names, changed = frozenset(scan.names), frozenset(scan.changed - {""})
    return OutsideReads(names, changed, keys, tuple(sorted(chains)), "".join(hiding[:1]))


def _note_chains(
    code: CodeType, free: frozenset[str], chains: set[tuple[str, ...]], hiding: list[str]
) -> None:
    """Add the free names of code and of functions inside it, with attributes; ``free`` are closed over."""
    chain: tuple[str, ...] = ()
    for operation, read in names_read(code):
        if operation in HIDING:
            hiding.append(operation)
        if operation in ATTRIBUTES and chain:
            chain = (*chain, read)
            continue
        if chain:
            chains.add(chain)
        is_local = operation not in OUTER_READS and read not in free
        chain = (read,) if operation in READS and not is_local else ()
    if chain:
        chains.add(chain)
    for inner in inner_codes(code):
        _note_chains(inner, free, chains, hiding)


class _Scan:
    """What walks over code have found so far."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.changed: set[str] = set()
        self.keys: dict[str, set[Hashable]] = {}
        self.others: set[str] = set()

    def walk(self, code: CodeType) -> None:
        """Look at the instructions of a code object and of those inside it."""
        kinds, cells = _KINDS, _cells(code)
        content, wide = code.co_code, 0
        last, depth = "", 0  # the name read last, and how many values were put above it
        subscripted, keys = "", list[Hashable]()  # a name that may be subscripted, and its constant key
        for number, part in zip(content[::2], content[1::2], strict=True):
            argument = wide | part
            wide = argument << 8 if number == _EXTENDED_ARG else 0
            if number in _SILENT:
                continue
            kind = kinds[number]
            if kind == _CONST and subscripted and not keys:
                keys = [code.co_consts[argument]]
            elif subscripted:
                self._note_use(subscripted, keys if (number, argument) == _SUBSCRIPT else [])
                subscripted, keys = "", []
            if kind == _OTHER:
                last, depth = "", 0
                continue
            if kind in (_GLOBAL, _CELL):
                last = subscripted = (
                    code.co_names[argument >> _SHIFTS[number]] if kind == _GLOBAL else cells[argument]
                )
                depth = 0
                if kind == _GLOBAL:
                    self.names.add(last)
                continue
            if kind == _ATTRIBUTE:
                subscripted = code.co_names[argument >> _SHIFTS[number]]
                if subscripted in _FILLING:
                    self.changed.add(last)
            elif kind == _CHANGE:
                self.changed.add((code.co_names if number in _GLOBAL_CHANGES else cells)[argument])
            elif kind == _SETS and depth == 1:
                self.changed.add(last)
            last, depth = _above(kind, last, depth)
        if subscripted:
            self.others.add(subscripted)
        for inner in inner_codes(code):
            self.walk(inner)

    def _note_use(self, name: str, keys: list[Hashable]) -> None:
        if keys:
            self.keys.setdefault(name, set()).update(keys)
        else:
            self.others.add(name)


def _above(kind: int, last: str, depth: int) -> tuple[str, int]:
    """The name read last and what lies above it, after an instruction of a kind."""
    if kind in (_CONST, _LOCAL):
        return last, depth + 1
    if kind == _TWO_LOCALS:
        return last, depth + 2
    return (last, 1) if kind == _TUPLE and depth else ("", 0)


def inner_codes(code: CodeType) -> Iterator[CodeType]:
    """The code objects of functions, lambdas, comprehensions and classes inside a code object."""
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))


def _cells(code: CodeType) -> tuple[str, ...]:
    """The names of local variables, cells and free variables by the number that instructions give them."""
    inner = (name for name in code.co_cellvars if name not in code.co_varnames)
    return (*code.co_varnames, *inner, *code.co_freevars)


def _subscript() -> tuple[int, int]:
    """How this Python spells the subscript of ``a[b]``: between the reads of both and the return."""
    content = compile("a[b]", "<subscript>", "eval").co_code
    pairs = [(content[i], content[i + 1]) for i in range(0, len(content), 2)]
    return [pair for pair in pairs if pair[0] not in _SILENT][-2]


_SUBSCRIPT = _subscript()
_OTHER, _GLOBAL, _CELL, _ATTRIBUTE, _CHANGE, _CONST, _LOCAL, _TWO_LOCALS, _TUPLE, _SETS = range(10)
# COPY is of ``name[key] += 1``.
_KIND_OF = {
    **dict.fromkeys(OUTER_READS, _GLOBAL), **dict.fromkeys(READS - OUTER_READS, _CELL),
    **dict.fromkeys(ATTRIBUTES, _ATTRIBUTE), **dict.fromkeys(CHANGES, _CHANGE),
    **dict.fromkeys(("STORE_SUBSCR", "DELETE_SUBSCR", "COPY"), _SETS),
    "LOAD_CONST": _CONST, "LOAD_SMALL_INT": _LOCAL, "BUILD_TUPLE": _TUPLE,
}  # fmt: skip


def _kind_of(operation: str) -> int:
    if operation.startswith("LOAD_FAST"):
        return _TWO_LOCALS if operation.count("LOAD_") == 2 else _LOCAL
    return _KIND_OF.get(operation, _OTHER)


_KINDS = [_kind_of(operation) for operation in dis.opname]
_SHIFTS = [_NAME_SHIFTS.get(operation, 0) for operation in dis.opname]
_GLOBAL_CHANGES = frozenset(dis.opmap[operation] for operation in ("STORE_GLOBAL", "DELETE_GLOBAL"))
