"""Traces, memory maps and summaries of simulated kernels."""

from __future__ import annotations

import itertools
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from tests.backend.ascend.texts import RELAY, RELAY_WORKSPACE_BYTES, VECTOR_ADD, kernel
from tilejit.backend.ascend.memory_map import placed_buffers
from tilejit.backend.ascend.result import SimulationResult
from tilejit.backend.ascend.simulator import simulate
from tilejit.diagnostics import LaunchError
from tilejit.target.ascend import ASCEND_910B1
from tilejit.target.spaces import Core, Pipe


def relay(*, keep_spans: bool = True, values: bool = True) -> SimulationResult:
    x = np.ones(5 * 2048, np.float32)
    arguments = {"x": x, "out": np.zeros_like(x), "n": 5}
    made = kernel(RELAY, RELAY_WORKSPACE_BYTES)
    return simulate(made, arguments, (5, 1, 1), ASCEND_910B1, blocks=1, keep_spans=keep_spans, values=values)


def test_instructions_are_kept_in_the_order_of_issue() -> None:
    names = [instruction.op.name for core, instruction in relay().issued if core == 0]
    assert names[:3] == ["set_flag", "set_flag", "wait_flag"]
    assert names.count("cross_set") == names.count("load_l1") == 5
    assert relay(keep_spans=False).issued == ()


def test_a_trace_has_a_process_for_each_core_and_a_track_for_each_pipe() -> None:
    result = relay()
    events = json.loads(result.trace())["traceEvents"]
    names = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert names == ["aic 0", "aiv 0.0", "aiv 0.1"]
    tracks = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert tracks == {"issue waits", "mte2", "mte3", "v"}
    work = [event for event in events if event["ph"] == "X" and event["cat"] == "work"]
    assert len(work) == result.instructions
    ends = [event["args"]["done"] for event in work]
    assert max(ends) <= result.microseconds * (1 + 1e-9)


def test_a_trace_keeps_to_the_trace_event_format() -> None:
    """Complete events (X) with times, metadata (M) with a name: what Perfetto and Chrome read."""
    trace = json.loads(relay().trace())
    assert set(trace) == {"traceEvents", "displayTimeUnit"}
    assert trace["displayTimeUnit"] in ("ms", "ns")
    for event in trace["traceEvents"]:
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
        assert isinstance(event["name"], str) and isinstance(event["args"], dict)
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name")
            assert isinstance(event["args"]["name"], str)
        else:
            assert event["ph"] == "X" and isinstance(event["cat"], str)
            assert event["ts"] >= 0 and event["dur"] >= 0


def test_spans_of_a_pipe_do_not_overlap_and_add_up() -> None:
    result = relay()
    for (core, pipe), busy in result.busy.items():
        spans = [s for s in result.spans if s.core == core and s.pipe is pipe]
        assert sum(s.end - s.start for s in spans if not s.is_wait) == pytest.approx(busy)
        for before, after in itertools.pairwise(spans):
            assert after.start >= before.end
    waits = sum(s.end - s.start for s in result.spans if s.core == 0 and s.pipe is Pipe.S)
    assert waits == pytest.approx(result.held[0])
    assert any(s.is_wait and s.op.name == "wait_flag" for s in result.spans)


def test_waits_name_what_is_waited_at() -> None:
    names = {event["name"] for event in json.loads(relay().trace())["traceEvents"]}
    assert {"wait: cross_wait", "wait: wait_flag", "copy_in", "vadd"} <= names


def test_a_trace_needs_spans() -> None:
    with pytest.raises(LaunchError, match="keep_spans=True"):
        relay(keep_spans=False).trace()


def test_the_memory_map_lists_every_memory() -> None:
    assert (
        relay().memory_map()
        == """\
aic gm: workspace of a block, 16384 of 16384 bytes
        0 to   16384  %ws: 2 x 2048 fp32
aic l1: 16384 of 524032 bytes
        0 to   16384  %l1: 2 x 2048 fp32
aiv gm: workspace of a block, 16384 of 16384 bytes
        0 to   16384  %ws: 2 x 2048 fp32
aiv ub: 8192 of 188160 bytes
        0 to    8192  %ub: 2 x 1024 fp32
"""
    )


def test_lifetimes_take_in_whole_loops() -> None:
    made = kernel(VECTOR_ADD)
    ops = [op.name for op in made.functions[Core.AIV].walk()]
    a, b, c = placed_buffers(made)
    assert [buffer.name for buffer in (a, b, c)] == ["a", "b", "c"]
    loop = ops.index("for")
    assert a.first == b.first == c.first == loop
    assert ops[a.last] == "yield"


def test_the_picture_is_well_formed_and_has_a_box_for_each_buffer() -> None:
    root = ElementTree.fromstring(relay().memory_picture())
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == 4
    assert "%ub: 0 to 8192, 2 x 1024 fp32" in titles


def test_the_summary_says_where_time_and_bytes_went() -> None:
    result = relay()
    text = result.summary()
    assert str(result) == text
    assert len(repr(result).splitlines()) == 1
    assert text.startswith("relay on ascend910b1: ")
    assert "on 3 cores" in text
    assert re.search(r"v waits \d+ cycles a core at wait_flag\(%id\) {source=mte2, target=v}", text)
    for part in ("pipe mte2", "scalar units wait", "gm->l1", "l2 ", "hbm "):
        assert part in text
