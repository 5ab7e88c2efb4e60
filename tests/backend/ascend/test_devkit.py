"""Emitted kernels pass the vendor's headers, and these find what is wrong with a kernel."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.backend.ascend.devkit import type_errors
from tests.backend.ascend.emitted_cases import distinct, source_of
from tests.backend.ascend.instruction_runs import machine_kernel_of
from tests.backend.ascend.machine_texts import VECTOR_ADD, machine_kernel
from tests.backend.ascend.test_emit_ascendc import MIXED
from tests.backend.ascend.test_emitted_programs import LAUNCHES
from tests.backend.ascend.test_instruction_runs import CASES
from tilejit.backend.ascend.emit_ascendc import AscendSource, EntryForm, emit_ascendc
from tilejit.target.spaces import Core

SCALARS = """\
func aiv @scalars(%x: ptr<fp32>, %h: ptr<bf16>, %n: int32, %f: fp16, %k: int1) {
  %a = load(%x) {volatile=true} : fp32
  %b = floor(%a) : fp32
  %c = cast(%b) {dtype=int64} : int64
  %d = cast(%f) {dtype=bf16} : bf16
  store(%h, %d)
  %e = select(%k, %x, %x) : ptr<fp32>
  %g = load(%e, mask=%k) : fp32
  %i = sqrt(%g) : fp32
  store(%x, %i)
  device_assert(%k) {message="no"}
  return()
}
"""


def sources(form: EntryForm) -> list[AscendSource]:
    """Every instruction, and programs written by hand."""
    cases = [machine_kernel_of(case.name, case.core, case.steps) for case in CASES]
    programs = [launch.kernel for name, launch in LAUNCHES.items() if name != "vector_add"]
    texts = [machine_kernel(text) for text in (VECTOR_ADD, MIXED, SCALARS)]
    return [emit_ascendc(each, form) for each in (*cases, *programs, *texts)]


@pytest.mark.parametrize("core", Core)
@pytest.mark.parametrize("form", EntryForm)
def test_emitted_machine_kernels_pass(form: EntryForm, core: Core, tmp_path: Path) -> None:
    assert type_errors(sources(form), core, tmp_path) == []


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize("core", Core)
@pytest.mark.parametrize("form", EntryForm)
def test_emitted_kernels_pass(form: EntryForm, core: Core, chosen_cases: list[str], tmp_path: Path) -> None:
    distinct_names = dict.fromkeys(distinct(chosen_cases).values())
    assert type_errors([source_of(name, form) for name in distinct_names], core, tmp_path) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("AscendC::Add(", "AscendC::Plus("),
        ("AscendC::Add(as, as, bs, count)", "AscendC::Add(as, as, count)"),
        ("DataCopyExtParams(1, bytes, 0, 0, 0)", "DataCopyExtParams(1, bytes, 0)"),
        ("LocalTensor<float>(AscendC::TPosition::VECIN, 0", "LocalTensor<half>(AscendC::TPosition::VECIN, 0"),
        ("bytes = tile::mul(count, 4)", "bytes = tile::mul(counted, 4)"),
    ],
)
def test_wrong_kernels_do_not(right: str, wrong: str, tmp_path: Path) -> None:
    source = emit_ascendc(machine_kernel(VECTOR_ADD))
    assert right in source.kernel
    broken = dataclasses.replace(source, kernel=source.kernel.replace(right, wrong))
    assert type_errors([broken], Core.AIV, tmp_path) != []
