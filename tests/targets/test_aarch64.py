"""Code for AArch64, which cannot run here, is made and inspected."""

from __future__ import annotations

import re

import pytest

from tests.example_kernels import CASES, compiled
from tests.targets.elf import undefined_symbols
from tilejit.target.cpu import aarch64_neon

NEON = aarch64_neon()
EM_AARCH64 = 183


def functions_of(assembly: str) -> dict[str, str]:
    """The text of each function by its name."""
    parts = re.split(r"^\"?([A-Za-z_][\w.$]*)\"?:[^\n]*\n", assembly, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(("name", "signature"), CASES)
def test_examples_are_self_contained(name: str, signature: str) -> None:
    image = compiled(name, signature, NEON).object.object
    assert image[:6] == b"\x7fELF\x02\x01"
    assert int.from_bytes(image[18:20], "little") == EM_AARCH64
    assert undefined_symbols(image) <= {"memcpy"}


@pytest.mark.parametrize(
    ("name", "signature"), [(n, s) for n, s in CASES if n.startswith(("matmul", "flash", "paged"))]
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
