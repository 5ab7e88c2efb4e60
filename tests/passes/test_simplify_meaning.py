"""simplify changes no result: random functions run on the interpreter before and after, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from tilejit import interpreter
from tilejit.ir.core import Function
from tilejit.ir.parser import parse_function
from tilejit.ir.printer import print_function
from tilejit.ir.rewrite import clone_function
from tilejit.ir.verifier import verify
from tilejit.ops import OP_BY_NAME
from tilejit.passes.simplify import simplify

from .random_functions import BUFFER_LENGTH, ELEMENTS, random_function

SEEDS = range(100)


def run(function: Function, seed: int) -> dict[str, np.ndarray]:
    """Run one program on buffers with small random numbers; return the buffers."""
    rng = np.random.default_rng(seed)
    buffers = {element.name: rng.integers(0, 4, BUFFER_LENGTH).astype(element.numpy) for element in ELEMENTS}
    arguments: list[interpreter.InterpreterArgument] = []
    for element in ELEMENTS:
        array = buffers[element.name]
        low = array.ctypes.data
        arguments.append(
            interpreter.ArrayArgument(
                low, low, low + array.nbytes, element, array.shape, array.strides, element.name
            )
        )
    interpreter.run(function, [*arguments, 5, 2], (1, 1, 1), kernel_name="f")
    return buffers


def assert_same_bits(before: np.ndarray, after: np.ndarray) -> None:
    """Equal bits, but for the payloads of NaNs."""
    with np.errstate(all="ignore"):
        is_nan = (before != before) & (after != after)
    bits = f"u{before.dtype.itemsize}"
    different = np.flatnonzero((before.view(bits) != after.view(bits)) & ~is_nan)
    assert different.size == 0, f"at {different[:4]}: {before[different[:4]]} became {after[different[:4]]}"


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize("seed", SEEDS)
def test_results_stay(seed: int) -> None:
    original = random_function(seed)
    verify(original)
    text = print_function(original)
    assert print_function(parse_function(text, OP_BY_NAME)) == text
    simplified = clone_function(original)
    simplify(simplified)
    verify(simplified)
    before, after = run(original, seed), run(simplified, seed)
    for name in before:
        assert_same_bits(before[name], after[name])
    once = print_function(simplified)
    simplify(simplified)
    assert print_function(simplified) == once
    again = parse_function(text, OP_BY_NAME)
    simplify(again)
    assert print_function(again) == once
