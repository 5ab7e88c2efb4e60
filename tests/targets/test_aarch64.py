"""Code for AArch64, which cannot run here, is made and inspected."""

from __future__ import annotations

import re

import pytest

from tests.example_kernels import CASES, compiled
from tests.targets.assembly import functions_of
from tests.targets.elf import undefined_symbols
from tilejit.target.cpu import aarch64_neon

NEON = aarch64_neon()
EM_AARCH64 = 183


@pytest.mark.parametrize(("name", "signature"), CASES)
def test_examples_are_self_contained(name: str, signature: str) -> None:
    image = compiled(name, signature, NEON).object.object
    assert image[:6] == b"\x7fELF\x02\x01"
    assert int.from_bytes(image[18:20], "little") == EM_AARCH64
    assert undefined_symbols(image) <= {"memcpy"}


@pytest.mark.parametrize(
    ("name", "signature"), [(n, s) for n, s in CASES if n.startswith(("matmul", "flash", "paged_attention"))]
)
def test_dots_multiply_and_add_in_vectors(name: str, signature: str) -> None:
    kernels = {
        name: text
        for name, text in functions_of(compiled(name, signature, NEON).asm["s"]).items()
        if name.startswith(("tilejit.dot.outer", "tilejit.dot.inner"))
    }
    assert kernels
    for text in kernels.values():
        assert re.search(r"\tfmla\tv\d+\.4s", text)
        assert "\tfmadd" not in text


def test_full_masks_are_not_tested_lane_by_lane() -> None:
    functions = functions_of(compiled(*CASES[0], NEON).asm["s"])
    assert {name for name in functions if name.endswith(".part")}
    kernel = functions["vector_add_kernel.programs"]
    assert len(re.findall(r"\ttbn?z\t", kernel)) <= 3  # one test for each load and store
    assert re.search(r"\tldr\tq\d+, \[x", kernel) and re.search(r"\tstr\tq\d+, \[x", kernel)
