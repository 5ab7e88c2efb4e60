"""What each instruction costs: a row per op, cycles from the target's numbers.

A pipe is busy for ``busy_cycles``; the next instruction of the pipe may start then. Results are there, flags
set behind the instruction are raised and barriers pass ``latency_cycles`` later. For transfers through GM
``busy_cycles`` is what the core's own path takes; shared bandwidth can only prolong it.

Source: pto-isa's cost model for heads, slopes and tails of vector instructions (one repeat is 256 bytes);
CANN's documentation for the cube; ``tilejit.target.ascend_timing`` for rates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tilejit.backend.ascend.bank_conflicts import conflict_cycles
from tilejit.diagnostics import InternalError
from tilejit.ir.machine import Instruction
from tilejit.ir.types import FP32
from tilejit.ops.machine.cube import mmad_extents
from tilejit.ops.machine.rules import BLOCK_BYTES, REPEAT_BYTES
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.ascend_timing import Path

_FRACTAL_BYTES = 512


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one instruction.

    Units: cycles; ``bytes`` moved along ``path``.
    """

    issue_cycles: float
    busy_cycles: float = 0.0
    latency_cycles: float = 0.0
    path: Path | None = None
    bytes: int = 0


CostRule = Callable[[Instruction, AscendTarget], Cost]


def cost(instruction: Instruction, target: AscendTarget) -> Cost:
    """What an instruction costs. Raises: InternalError where the table has no row for the op."""
    return cost_rule(instruction.op.name)(instruction, target)


def cost_rule(op_name: str) -> CostRule:
    """The row of an op."""
    rule = COSTS.get(op_name)
    if rule is None:
        raise InternalError(f"op {op_name} has no cost")
    return rule


def _copy(path: Path, *, is_load: bool) -> CostRule:
    """Rows between GM and UB."""

    def rule(instruction: Instruction, target: AscendTarget) -> Cost:
        timing = target.timing
        size = instruction.integer("rows") * instruction.integer("row_bytes")
        latency = timing.gm_latency_cycles if is_load else timing.store_latency_cycles
        return Cost(timing.dma_issue_cycles, size / timing.path_bytes_per_cycle[path], latency, path, size)

    return rule


def _transfer(path: Path, size: Callable[[Instruction], int]) -> CostRule:
    """A transfer of ``size`` bytes at the rate of its path; to L0 with a head for each instruction."""
    through_gm = path in (Path.GM_L1, Path.L1_GM, Path.L0C_GM)
    has_head = path in (Path.L1_L0A, Path.L1_L0B)

    def rule(instruction: Instruction, target: AscendTarget) -> Cost:
        timing = target.timing
        moved = size(instruction)
        latency = timing.gm_latency_cycles if path is Path.GM_L1 else timing.store_latency_cycles
        return Cost(
            timing.dma_issue_cycles if through_gm else timing.issue_cycles,
            (timing.l0_head_cycles if has_head else 0.0) + moved / timing.path_bytes_per_cycle[path],
            latency if through_gm else timing.local_latency_cycles,
            path,
            moved,
        )

    return rule


def _blocks_bytes(instruction: Instruction) -> int:
    return instruction.optional("rows", 1) * instruction.integer("blocks") * BLOCK_BYTES


def _nd2nz_bytes(instruction: Instruction) -> int:
    elements = instruction.optional("matrices", 1) * instruction.integer("n") * instruction.integer("d")
    return elements * instruction.element("dst").itemsize


def _nd2nz(instruction: Instruction, target: AscendTarget) -> Cost:
    """A transfer in columns of blocks; rows apart and rows at odd places take longer than their bytes."""
    timing, moved = target.timing, _nd2nz_bytes(instruction)
    itemsize = instruction.element("src").itemsize
    rows = instruction.optional("matrices", 1) * instruction.integer("n")
    pitch = instruction.integer("src_d") * itemsize
    busy = moved / timing.path_bytes_per_cycle[Path.GM_L1]
    if instruction.integer("d") * itemsize != pitch:
        busy = max(busy, rows * timing.nd2nz_row_cycles)
    if pitch % BLOCK_BYTES or instruction.integer("src") % BLOCK_BYTES:
        busy = max(busy, moved / timing.nd2nz_unaligned_bytes_per_cycle)
    return Cost(timing.dma_issue_cycles, busy, timing.gm_latency_cycles, Path.GM_L1, moved)


def _fractal_bytes(instruction: Instruction) -> int:
    return instruction.integer("repeats") * _FRACTAL_BYTES


def _square_bytes(instruction: Instruction) -> int:
    fractals = 1 if instruction.element("dst").itemsize == 2 else 2  # 16x16 of 16 bits are one fractal
    return instruction.integer("repeats") * _FRACTAL_BYTES * fractals


def _tile_bytes(instruction: Instruction) -> int:
    return instruction.integer("m") * instruction.integer("k") * instruction.element("dst").itemsize


def _table_bytes(instruction: Instruction) -> int:
    return instruction.integer("count") * instruction.element("src").itemsize


def _output_bytes(instruction: Instruction) -> int:
    return instruction.integer("m") * instruction.integer("n") * instruction.element("dst").itemsize


def _mmad(instruction: Instruction, target: AscendTarget) -> Cost:
    """One fractal product a cycle, 16 by 16 by 32 bytes; fp32 takes two passes over pairs of fractals."""
    m, n, k, _ = mmad_extents(instruction)
    if instruction.element("a") == FP32:
        k = 2 * (k + k % 2)
    return Cost(target.timing.issue_cycles, m * n * k, target.timing.mmad_head_cycles)


def _vector(head: float, slope: float, tail: float, *, conflicts: bool = True) -> CostRule:
    """A vector instruction; heads overlap with the instruction before, so they only delay results.

    ``conflicts``: its operands are blocks of eight a repeat, whose banks may meet; reads that take turns fit
    into the time of a slow instruction.
    """

    def rule(instruction: Instruction, target: AscendTarget) -> Cost:
        repeats = _repeats(instruction)
        if repeats == 0:
            return Cost(target.timing.issue_cycles)
        per_repeat = max(slope, 1 + conflict_cycles(instruction)) if conflicts else slope
        return Cost(target.timing.issue_cycles, per_repeat * repeats, head + tail)

    return rule


def _repeats(instruction: Instruction) -> int:
    if "repeats" in instruction.values:
        return instruction.integer("repeats")
    widest = max(
        instruction.element(name).itemsize for name in ("dst", "src", "src0") if name in instruction.values
    )
    return -(-instruction.integer("count") * widest // REPEAT_BYTES)


def _copy_ub(instruction: Instruction, target: AscendTarget) -> Cost:
    moved = (
        instruction.integer("count") * instruction.optional("rows", 1) * instruction.element("dst").itemsize
    )
    rate = target.timing.path_bytes_per_cycle[Path.UB_UB]
    return Cost(
        target.timing.issue_cycles, moved / rate, target.timing.copy_ub_latency_cycles, Path.UB_UB, moved
    )


def _transpose16(instruction: Instruction, target: AscendTarget) -> Cost:
    return Cost(target.timing.issue_cycles, 2, target.timing.copy_ub_latency_cycles)


def _issue_only(instruction: Instruction, target: AscendTarget) -> Cost:
    return Cost(target.timing.issue_cycles)


COSTS: Mapping[str, CostRule] = {
    "copy_in": _copy(Path.GM_UB, is_load=True),
    "copy_out": _copy(Path.UB_GM, is_load=False),
    # Slope 1: the 2 of the published table are bank conflicts, which are counted from addresses here.
    "vadd": _vector(10, 1, 14),
    "vsub": _vector(10, 1, 14),
    "vmax": _vector(10, 1, 14),
    "vmin": _vector(10, 1, 14),
    "vmul": _vector(10, 1, 15),
    "vdiv": _vector(11, 4, 19),
    "vadds": _vector(13, 1, 18),
    "vmuls": _vector(11, 1, 15),
    "vmaxs": _vector(10, 1, 13),
    "vmins": _vector(10, 1, 13),
    "vexp": _vector(13, 2, 18),
    "vln": _vector(13, 2, 20),
    "vsqrt": _vector(14, 2, 25),
    "vrsqrt": _vector(10, 1, 14),
    "vrec": _vector(10, 1, 14),
    "vabs": _vector(13, 1, 16),
    "vrelu": _vector(10, 1, 13),
    "vand": _vector(10, 1, 10),
    "vor": _vector(10, 1, 10),
    "vnot": _vector(10, 1, 10),
    "vshl": _vector(11, 1, 15),
    "vshr": _vector(11, 1, 15),
    "vaxpy": _vector(11, 1, 15),
    "vmuladd": _vector(10, 1, 15),
    "vcast": _vector(14, 1, 18),
    "vcmp": _vector(13, 1, 14),
    "vcmps": _vector(13, 1, 14),
    "vsel": _vector(13, 2, 14),
    "reduce_whole": _vector(14, 7, 32, conflicts=False),
    "reduce_block": _vector(14, 1, 24, conflicts=False),
    "reduce_pair": _vector(14, 1, 24, conflicts=False),
    "copy_ub": _copy_ub,
    "vdup": _vector(11, 1, 13, conflicts=False),
    "vbrcb": _vector(11, 1, 13, conflicts=False),
    "vgather": _vector(24, 2, 0, conflicts=False),
    "vtranspose16": _transpose16,
    "vtranspose5hd": _vector(11, 2, 13, conflicts=False),
    "load_l1": _transfer(Path.GM_L1, _blocks_bytes),
    "store_l1": _transfer(Path.L1_GM, _blocks_bytes),
    "load_nd2nz": _nd2nz,
    "load_l0a": _transfer(Path.L1_L0A, _fractal_bytes),
    "load_l0b": _transfer(Path.L1_L0B, _fractal_bytes),
    "load_l0_transpose": _transfer(Path.L1_L0B, _square_bytes),
    "load_l0a_3d": _transfer(Path.L1_L0A, _tile_bytes),
    "copy_l1_bt": _transfer(Path.L1_BT, _table_bytes),
    "mmad": _mmad,
    "fixpipe": _transfer(Path.L0C_GM, _output_bytes),
    "fixpipe_l1": _transfer(Path.L0C_L1, _output_bytes),
    "set_flag": _issue_only,
    "wait_flag": _issue_only,
    "pipe_barrier": _issue_only,
    "cross_set": _issue_only,
    "cross_wait": _issue_only,
    "set_atomic": _issue_only,
    "set_deq_scale": _issue_only,
    "set_saturation": _issue_only,
}
