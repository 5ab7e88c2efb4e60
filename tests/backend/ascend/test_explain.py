"""Explanations of compiled kernels and of kernels written by hand."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from benchmarks.machine_programs.flash_fifos import flash_fifos_kernel
from benchmarks.machine_programs.flash_fifos_stages import HEAD, FifoFlashAttention
from benchmarks.machine_programs.paged_tasks import PagedAttention
from benchmarks.machine_programs.published import paged_attention
from benchmarks.problems.record import example
from tests.backend.ascend.explained_kernels import biased_matmul, doubled, product, returns
from tests.backend.ascend.texts import RELAY, RELAY_WORKSPACE_BYTES, kernel
from tests.kernels_ascend.mixed_kernels import ragged_attention, sums_of_products
from tilejit.backend.ascend.result import SimulationResult
from tilejit.backend.ascend.simulator import simulate
from tilejit.diagnostics import LaunchError
from tilejit.ir.machine_text import parse_machine_kernel
from tilejit.ops.machine import MACHINE_LEVEL_OPS
from tilejit.target.ascend import ASCEND_910B1, ASCEND_910B2

GOLDEN = Path(__file__).with_name("golden")


def biased_arguments() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    a, b = np.ones((256, 512), np.float16), np.ones((512, 128), np.float16)
    return a, b, np.ones(128, np.float32), np.zeros((256, 128), np.float32), 512


def biased(**settings: object) -> SimulationResult:
    launch = biased_matmul.simulate[(4,)]
    return launch(
        *biased_arguments(), BLOCK_M=64, BLOCK_N=128, BLOCK_K=128, target="ascend910b", blocks=1,
        values=False, **{"keep_spans": True, **settings},
    )  # fmt: skip


def relay(text: str = RELAY, tiles: int = 5) -> SimulationResult:
    x = np.ones(tiles * 2048, np.float32)
    arguments = {"x": x, "out": np.zeros_like(x), "n": tiles}
    made = kernel(text, RELAY_WORKSPACE_BYTES)
    return simulate(
        made, arguments, (tiles, 1, 1), ASCEND_910B1, blocks=1, values=False, keep_spans=True
    )  # fmt: skip


def rows(text: str, title: str) -> list[list[str]]:
    """The entries of a section's lines, which are two blanks or more apart."""
    section = text.split(f"\n{title}\n")[1].split("\n\n")[0]
    return [re.split(r"\s{2,}", line.strip()) for line in section.splitlines()]


def test_golden(update_golden: bool) -> None:
    """The machine level of ``biased_matmul`` as it once was, so that the compiler may change."""
    made = parse_machine_kernel((GOLDEN / "biased_matmul.machine.txt").read_text(), MACHINE_LEVEL_OPS)
    a, b, bias, c, n = biased_arguments()
    named = {"a_ptr": a, "b_ptr": b, "bias_ptr": bias, "c_ptr": c, "K": n}
    result = simulate(made, named, (4, 1, 1), ASCEND_910B2, blocks=1, values=False, keep_spans=True)
    text, file = result.explain(), GOLDEN / "biased_matmul.explain.txt"
    if update_golden:
        file.write_text(text)
    assert text.splitlines() == file.read_text().splitlines(), f"see {file}"


def test_a_compiled_kernel() -> None:
    text = biased().explain()
    (stage, *_), (other, *_) = stages = rows(text, "stages")[1:]
    assert (stage, other) == ("1", "2")
    (tile,) = rows(text, "crossings")[1:-1]
    assert [row[1:4] for row in stages] == [["aic", "-", tile[0]], ["aiv", tile[0], "-"]]
    assert tile[1:3] == ["aic", "aiv"] and tile[4] == str(64 * 128 * 4)
    flags = rows(text, "cross-core flags")[1:]
    assert [row[1:4] for row in flags] == [
        ["aic -> aiv", "fix", f"{tile[0]} ready"],
        ["aiv -> aic", "mte2", f"{tile[0]} free"],
    ]
    assert "explained_kernels.py:16" in tile[-1] and "[choose_cores]" in text.split("\nremarks\n")[1]


def test_the_same_launch_is_explained_alike() -> None:
    assert biased().explain() == biased().explain()


def test_a_relay_written_by_hand() -> None:
    text = relay().explain()
    assert rows(text, "stages")[1:] == [["1", "aic", "-", "ws", "-", "5"], ["2", "aiv", "ws", "-", "-", "5"]]
    assert rows(text, "crossings")[1] == [
        "ws", "aic", "aiv", "2", "8192", "0", "0", "1", "every tile", "-",
    ]  # fmt: skip
    assert rows(text, "cross-core flags")[1:] == [
        ["0", "aic -> aiv", "mte3", "ws ready", "5", "5", "-", "-"],
        ["1", "aiv -> aic", "mte2", "ws free", "3", "3", "-", "-"],
    ]


def test_flags_that_do_not_run_are_named() -> None:
    text = relay(tiles=2).explain()
    assert rows(text, "cross-core flags")[2:] == [
        ["cross_wait of aic at - does not run in this launch"],
        ["cross_set of aiv at - does not run in this launch"],
    ]


def test_flags_between_cores_of_a_kind() -> None:
    meeting = "  cross_set(%one) {mode=1, pipe=mte3}\n  cross_wait(%one)\n  return()\n"
    head, _, tail = RELAY.rpartition("  return()\n")
    text = relay(head + meeting + tail).explain()
    assert ["1", "aiv <-> aiv", "mte3", "all have come here", "1", "1", "-", "-"] in rows(
        text, "cross-core flags"
    )


def test_four_stages_by_hand_with_leads_and_slots_without_buffers() -> None:
    shape = FifoFlashAttention(128, 2560)
    arrays = {name: np.zeros((count, HEAD), np.float16) for name, count in (("q", 128), ("k", 2560))}
    arguments = {**arrays, "v": arrays["k"], "out": np.zeros((128, HEAD), np.float32)}
    result = simulate(
        flash_fifos_kernel(shape), arguments, (1, 1, 1), ASCEND_910B2, blocks=1, values=False, keep_spans=True
    )
    text = result.explain()
    scores, weights, output = "workspace+0", "workspace+1048576", "workspace+1572864"
    assert rows(text, "stages")[1:] == [
        ["1", "aic", "-", scores, "4", "10"],
        ["2", "aiv", scores, weights, "4", "10"],
        ["3", "aic", weights, output, "0", "10"],
        ["4", "aiv", output, "-", "0", "10"],
    ]
    assert [row[:9] for row in rows(text, "crossings")[1:-1]] == [
        [scores, "aic", "aiv", "8", "131072", "0", "0", "1", "every 4 tiles"],
        [weights, "aiv", "aic", "8", "65536", "1048576", "2", "3", "every 4 tiles"],
        [output, "aic", "aiv", "8", "65536", "1572864", "4", "5", "every 4 tiles"],
    ]
    assert f"{shape.workspace_bytes} bytes of workspace for each block" in text


def test_a_flag_for_each_slot_and_none_that_gives_back() -> None:
    program = paged_attention(PagedAttention(2, 16, 1, 128, 512))
    result = simulate(
        program.kernel, program.arguments, (2, 1, 1), program.target, blocks=2, values=False, keep_spans=True
    )
    text = result.explain()
    assert [row[:2] + row[3:4] + row[6:9] for row in rows(text, "crossings")[1:-1]] == [
        ["workspace+0", "aic", "2", "0, 1", "-", "by no flag"],
        ["workspace+16384", "aiv", "2", "2, 3", "-", "by no flag"],
        ["workspace+24576", "aic", "2", "4, 5", "-", "by no flag"],
    ]
    assert [row[4] for row in rows(text, "stages")[1:]] == ["1", "1", "0", "0"]


def test_crossings_that_share_flags_are_told_apart() -> None:
    tiles = np.zeros((1, 64, 16), np.float16)
    kernel = example("flash_attention").flash_attention_kernel
    text = kernel.simulate[(2, 1)](
        tiles, tiles, tiles, np.zeros_like(tiles), 0.1, 64, 64, *[1024, 16] * 4, GROUP=1, BLOCK_M=32,
        BLOCK_N=16, D=16, CAUSAL=True, blocks=1, values=False, keep_spans=True,
    ).explain()  # fmt: skip
    crossings = rows(text, "crossings")[1:-1]
    assert len({row[0] for row in crossings}) == len({row[5] for row in crossings}) == len(crossings) == 6
    assert len({row[6] for row in crossings}) < 6
    ends = [row[2:4] for row in rows(text, "stages")[1:]]
    assert sorted(name for _, given in ends for name in given.split(", ") if name != "-") == sorted(
        row[0] for row in crossings
    )
    assert any(", " in row[3] for row in rows(text, "cross-core flags")[1:])


def test_leads_of_a_compiled_kernel_are_those_that_it_was_given() -> None:
    tiles, kept = np.zeros((128, 1, 64), np.float16), np.array([0, 128], np.int32)
    text = ragged_attention.simulate[(1, 1, 1)](
        tiles, tiles, tiles, kept, kept, np.zeros_like(tiles), 0.1, 1, GROUP=1, BLOCK_M=64, BLOCK_N=16, D=64,
        CAUSAL=False, values=False, keep_spans=True,
    ).explain()  # fmt: skip
    given = re.search(r"the loop is skewed: 2 stages, (\d+) trips from one to the next", text)
    assert given is not None
    stages = [row[1:] for row in rows(text, "stages")[1:]]
    assert [(core, lead, runs) for core, _, _, lead, runs in stages] == [
        ("aic", given[1], "8"), ("aiv", given[1], "8"), ("aic", "0", "8"), ("aiv", "0", "8"),
    ]  # fmt: skip
    assert [gives for _, _, gives, _, _ in stages[:3]] == [takes for _, takes, _, _, _ in stages[1:]]


def test_kernels_for_one_kind_of_core() -> None:
    a, c = np.ones((32, 32), np.float16), np.zeros((32, 32), np.float32)
    cube = product.simulate[(1,)](a, a, c, SIZE=32, values=False, keep_spans=True).explain()
    vector = doubled.simulate[(4,)](np.ones(4096, np.float32), BLOCK=1024, values=False, keep_spans=True)
    for text, cores in ((cube, "aic: 1 of 24 cores"), (vector.explain(), "aiv: 4 of 48 cores")):
        assert rows(text, "cores") == [[cores]]
        assert "no tile goes from one kind of core to the other" in text
        assert "\ncrossings\n" not in text and "\ncross-core flags\n" not in text
        assert "bound by " in text and "\nbuffers\n" in text


def test_a_launch_in_which_nothing_crosses() -> None:
    tiles, out = np.zeros((1, 32, 32), np.float16), np.zeros(32, np.float32)
    launch = sums_of_products.simulate[(1,)]
    text = launch(tiles, tiles, out, 0, SIZE=32, AXIS=0, values=False, keep_spans=True).explain()
    assert rows(text, "stages") == [["one: no tile goes from one kind of core to the other in this launch"]]


def test_waits_are_shared_out_among_the_cores_that_wait() -> None:
    tiles, out = np.zeros((5, 32, 32), np.float16), np.zeros(32, np.float32)
    result = sums_of_products.simulate[(1,)](tiles, tiles, out, 5, SIZE=32, AXIS=0, values=False)
    longest = re.fullmatch(r"(aic|aiv) (\w+) waits (\d+) cycles a core at .*", result.longest_waits()[0])
    assert longest is not None
    cores = {"aic": 1, "aiv": 2}[longest[1]]
    of_pipe = [cycles for (pipe, _), cycles in result.waits.items() if pipe.value == longest[2]]
    assert int(longest[3]) in [round(cycles / cores) for cycles in of_pipe]
    assert result.cycles / 2 < int(longest[3]) < result.cycles, "the vector cores wait for products"


def test_what_works_most_binds() -> None:
    many, few = (
        doubled.simulate[(programs,)](
            np.ones(programs * block, np.float32), BLOCK=block, values=False, keep_spans=True
        ).explain()
        for programs, block in ((192, 16384), (1, 256))
    )
    assert re.search(r"bound by hbm, \d+\.\d %; then ", many)
    assert "bound by latency and waits: nothing works half of the time" in few


def test_a_launch_without_work() -> None:
    x = np.ones(64, np.float32)
    result = returns.simulate[(1,)](x, 0, BLOCK=64, values=False, keep_spans=True)
    assert "first block" not in result.explain()
    assert result.timeline_picture().startswith("<svg") and '"traceEvents": []' in result.trace()


def test_findings_are_part_of_it() -> None:
    arguments = {"x": np.ones(2048, np.float32), "out": np.ones(2048, np.float32), "n": 1}
    made = kernel(RELAY.replace("{pipe=mte3}", "{mode=1, pipe=mte3}", 1), RELAY_WORKSPACE_BYTES)
    result = simulate(made, arguments, (1, 1, 1), ASCEND_910B1, blocks=1, values=False, keep_spans=True)
    assert "\nfindings\n  deadlock: " in result.explain()


@pytest.mark.parametrize("what", ["explain", "timeline_picture"])
def test_spans_are_needed(what: str) -> None:
    with pytest.raises(LaunchError, match="keep_spans=True"):
        getattr(biased(keep_spans=False), what)()


def test_the_timeline_picture_has_a_box_for_each_instruction_of_the_first_block() -> None:
    result = biased()
    root = ElementTree.fromstring(result.timeline_picture())
    shown = [span for span in result.spans if result.cores[span.core].sub_block == 0 and not span.is_wait]
    assert len(list(root.iter("{http://www.w3.org/2000/svg}rect"))) == len(shown)
    labels = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"aic 0 m", "aic 0 fix", "aiv 0.0 v", "0.00 us"} <= set(labels)
