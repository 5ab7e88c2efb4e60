"""What one steady step of the hand-written paged attention moves and issues, beside the original's counts.

A steady step is what a task of five whole steps does more than one of four. Source of all figures: CANN,
ops-transformer, attention/incre_flash_attention/op_kernel: paged_attention_antiquantkv.h, read line by line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from benchmarks.machine_programs.antiquant import antiquant_kernel
from benchmarks.machine_programs.antiquant_tasks import AntiquantAttention
from tests.benchmarks.antiquant_reference import random_launch
from tilejit.backend.ascend.simulator import simulate
from tilejit.ir.machine import Instruction
from tilejit.target.ascend import ASCEND_910B1
from tilejit.target.spaces import Pipe, Space

AIC, AIV0, AIV1 = 0, 1, 2
Key = tuple[object, ...]
Measure = Callable[[int, Instruction], Counter[Key]]


def step(m: int, n: int, d: int, measure: Measure) -> Counter[Key]:
    """A measure summed over the instructions of one steady step of m rows, n tokens and head size d."""
    totals = []
    for steps in (4, 5):
        launch = random_launch(AntiquantAttention(1, 1, d, n, 8, 0.1), [m], [steps * n])
        kernel = antiquant_kernel(launch.shape)
        result = simulate(
            kernel, launch.arguments, (1, 1, 1), ASCEND_910B1, blocks=1, values=False, keep_spans=True
        )
        total: Counter[Key] = Counter()
        for core, instruction in result.issued:
            total.update(measure(core, instruction))
        totals.append(total)
    totals[1].subtract(totals[0])
    return +totals[1]


def part(instruction: Instruction) -> str:
    """The part of the program that an instruction belongs to: the Python function that writes it."""
    location = instruction.op.location
    assert location is not None
    return location.function


def is_flag(instruction: Instruction) -> bool:
    return instruction.op.name in ("set_flag", "wait_flag", "pipe_barrier", "cross_set", "cross_wait")


KINDS = {
    ("_chunk", "copy_in"): "int8",
    ("_load_parameters", "copy_in"): "params",
    ("_chunk", "copy_out"): "kv16",
    ("_rows_to_l1", "load_nd2nz"): "kv16",
    ("_multiply_qk", "fixpipe"): "s",
    ("_softmax", "copy_in"): "s",
    ("_softmax", "copy_out"): "p",
    ("_load_p", "load_nd2nz"): "p",
    ("_load_p", "load_l1"): "p",
    ("_multiply_pv", "fixpipe"): "o",
    ("_update", "copy_in"): "o",
}


def gm_bytes(core: int, instruction: Instruction) -> Counter[Key]:
    facts = instruction.op.definition.machine
    if facts is None or is_flag(instruction):
        return Counter()
    moved = sum(access.total_bytes for access in facts.accesses(instruction) if access.space is Space.GM)
    kind = KINDS.get((part(instruction), instruction.op.name), "q and out")
    return Counter({(kind,): moved})


@pytest.mark.parametrize(
    ("m", "n", "d", "int8", "params", "kv16", "s", "p", "o", "total"),
    [
        (128, 128, 128, 32768, 2048, 131072, 65536, 65536, 131072, 428032),
        (16, 128, 128, 32768, 2048, 131072, 8192, 8192, 16384, 198656),
        (1, 128, 128, 32768, 2048, 131072, 512, 512, 1024, 167936),
        (1, 64, 128, 16384, 2048, 65536, 256, 256, 1024, 85504),
        (64, 64, 256, 32768, 4096, 131072, 16384, 16384, 131072, 331776),
    ],
)
def test_bytes_through_gm(
    m: int, n: int, d: int, int8: int, params: int, kv16: int, s: int, p: int, o: int, total: int
) -> None:
    found = step(m, n, d, gm_bytes)
    kinds = {"int8": int8, "params": params, "kv16": kv16, "s": s, "p": p, "o": o}
    assert found == {(kind,): size for kind, size in kinds.items()}
    assert found.total() == total


def cube_work(core: int, instruction: Instruction) -> Counter[Key]:
    if instruction.op.name in ("load_l0a", "load_l0b"):
        return Counter({(instruction.op.name,): 512 * instruction.integer("repeats")})
    if instruction.op.name == "mmad":
        m, n, k = (instruction.integer(name) for name in "mnk")
        cycles = -(-m // 16) * -(-n // 16) * -(-k // 16)
        return Counter({("macs",): m * n * k, ("cycles",): cycles})
    return Counter()


@pytest.mark.parametrize(
    ("m", "n", "d", "l0a", "l0b", "macs", "cycles"),
    [
        (128, 128, 128, 65536, 65536, 4_194_304, 1024),
        (16, 128, 128, 8192, 65536, 524_288, 128),
        (1, 128, 128, 1024, 65536, 32_768, 128),
        (1, 64, 128, 1024, 32768, 16_384, 64),
        (64, 64, 256, 40960, 65536, 2_097_152, 512),
    ],
)
def test_work_of_the_cube(m: int, n: int, d: int, l0a: int, l0b: int, macs: int, cycles: int) -> None:
    expected = {"load_l0a": l0a, "load_l0b": l0b, "macs": macs, "cycles": cycles}
    assert step(m, n, d, cube_work) == {(name,): number for name, number in expected.items()}


def issues(core: int, instruction: Instruction) -> Counter[Key]:
    """By core: flags, barriers, instructions."""
    name = instruction.op.name
    if name == "pipe_barrier":
        pipe = instruction.op.attributes["pipe"]
        return Counter({(core, f"barrier {'all' if pipe is Pipe.ALL else 'v'}"): 1})
    return Counter({(core, name): 1})


def test_instructions_of_the_cube_core() -> None:
    found = {key[1]: count for key, count in step(128, 128, 128, issues).items() if key[0] == AIC}
    assert found == {
        "cross_set": 2,
        "cross_wait": 3,
        "set_flag": 13,
        "wait_flag": 13,
        "barrier all": 2,
        "load_nd2nz": 3,
        "load_l0a": 8 + 8,
        "load_l0b": 1 + 8,
        "mmad": 2,
        "fixpipe": 2,
    }


def test_flags_between_cores_and_barriers_of_all_pipes() -> None:
    found = step(128, 128, 128, issues)
    sets = [found[core, "cross_set"] for core in (AIC, AIV0, AIV1)]
    waits = [found[core, "cross_wait"] for core in (AIC, AIV0, AIV1)]
    assert (sets, waits) == ([2, 3, 3], [3, 2, 2])
    # Only one of the vector cores dequantises, K and V, each from a barrier on.
    assert [found[core, "barrier all"] for core in (AIV0, AIV1)] == [0, 2]


PARTS = {
    "_softmax": "softmax", "_running_max": "softmax", "_row_sum": "softmax",
    "_update": "update", "_rescale_and_add": "update",
    "_finish": "finish", "_dequantise": "dequant", "_chunk": "dequant", "_load_parameters": "dequant",
}  # fmt: skip
HELPERS = ("_cast", "_by_row", "_by_channel")


def vector_parts(core: int, instruction: Instruction) -> Counter[Key]:
    """By core and part of the program: vector instructions, barriers of their pipe, transfers."""
    facts = instruction.op.definition.machine
    is_barrier = instruction.op.name == "pipe_barrier"
    if core == AIC or facts is None or (is_flag(instruction) and not is_barrier):
        return Counter()
    pipe = facts.pipe(instruction.op)
    if pipe is Pipe.ALL:
        return Counter()
    kind = "barrier" if is_barrier else "vector" if pipe is Pipe.V else "transfer"
    where = part(instruction)
    if where in HELPERS:
        location = instruction.op.location
        assert location is not None and location.caller is not None
        where = location.caller.function
    return Counter({(core, PARTS[where], kind): 1})


def test_parts_of_the_vector_cores() -> None:
    """Of K and V two chunks each; what is transferred are S and P, O, chunks and parameters."""
    chunks, parameters = 4, 4
    one = {
        ("softmax", "vector"): 12,
        ("softmax", "barrier"): 13,
        ("softmax", "transfer"): 2,
        ("update", "vector"): 9,
        ("update", "barrier"): 8,
        ("update", "transfer"): 1,
    }
    dequant = {
        ("dequant", "vector"): 7 * chunks,
        ("dequant", "barrier"): 4 * chunks,
        ("dequant", "transfer"): 2 * chunks + parameters,
    }
    expected = {(AIV0, *key): count for key, count in one.items()}
    expected |= {(AIV1, *key): count for key, count in (one | dequant).items()}
    assert step(128, 128, 128, vector_parts) == expected


def dequant_cycles(core: int, instruction: Instruction) -> Counter[Key]:
    """At the rates of CANN's documentation: 128 lanes a cycle from int8, else 64."""
    if core == AIC or "repeats" not in instruction.values or not instruction.op.name.startswith("v"):
        return Counter()
    location = instruction.op.location
    assert location is not None and location.caller is not None
    if "_chunk" not in (location.function, location.caller.function):
        return Counter()
    lanes = 128 if instruction.integer("count") == 128 else 64
    return Counter({("cycles",): instruction.integer("count") * instruction.integer("repeats") / lanes})


@pytest.mark.parametrize(("n", "d", "cycles"), [(128, 128, 2304), (64, 128, 1152), (64, 256, 2304)])
def test_cycles_of_the_dequantisation(n: int, d: int, cycles: int) -> None:
    assert step(1, n, d, dequant_cycles) == {("cycles",): cycles}


def test_a_decoding_step_leaves_one_vector_core_idle() -> None:
    found = step(1, 128, 128, vector_parts)
    assert not any(core == AIV0 for core, *_ in found)
    assert found[AIV1, "softmax", "vector"] == 12
