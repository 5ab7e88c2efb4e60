"""Hand-written mixed programs meet the verifier, and run as emitted AscendC against the API model."""

from __future__ import annotations

from functools import cache

import numpy as np

from benchmarks.machine_programs.antiquant import antiquant_kernel
from benchmarks.machine_programs.antiquant_tasks import AntiquantAttention
from benchmarks.machine_programs.flash_fifos import flash_fifos_kernel
from benchmarks.machine_programs.flash_fifos_stages import HEAD, FifoFlashAttention
from tests.backend.ascend.model import ModelLibrary
from tests.benchmarks.antiquant_reference import emulated, random_launch
from tilejit.backend.ascend.emit_ascendc import emit_ascendc
from tilejit.backend.ascend.simulator import simulate
from tilejit.backend.ascend.verify import find_faults
from tilejit.target.ascend import ASCEND_910B2

PAGED = AntiquantAttention(2, 1, 128, 128, 8, HEAD**-0.5)
FLASH = FifoFlashAttention(128, 768, preload=2)


@cache
def library() -> ModelLibrary:
    return ModelLibrary([emit_ascendc(antiquant_kernel(PAGED)), emit_ascendc(flash_fifos_kernel(FLASH))])


def test_emitted_paged_attention_is_equal_to_the_bit() -> None:
    launch = random_launch(PAGED, [1, 3], [300, 129])
    library().launch(0, 1, launch.arguments)
    np.testing.assert_array_equal(launch.arrays["out"], emulated(launch))


def test_emitted_flash_attention_agrees_with_the_simulator() -> None:
    rng = np.random.default_rng(0)
    rows = {"q": FLASH.s0, "k": FLASH.s1, "v": FLASH.s1}
    arrays = {name: rng.normal(size=(count, HEAD)).astype(np.float16) for name, count in rows.items()}
    outs = [np.full((FLASH.s0, HEAD), np.nan, np.float32) for _ in range(2)]
    library().launch(1, 1, {**arrays, "out": outs[0]})
    simulate(flash_fifos_kernel(FLASH), {**arrays, "out": outs[1]}, (1, 1, 1), ASCEND_910B2, blocks=1)
    np.testing.assert_allclose(outs[0], outs[1], rtol=1e-3, atol=1e-4)


def test_the_verifier_accepts_flash_attention() -> None:
    assert find_faults(flash_fifos_kernel(FLASH), ASCEND_910B2) == ()


def test_the_verifier_finds_the_flags_that_the_original_raises_early() -> None:
    messages = [finding.message for finding in find_faults(antiquant_kernel(PAGED), ASCEND_910B2)]
    assert len(messages) == 2
    assert all(f"flag mte2 -> mte1 {i} of aic 0 is set again" in text for i, text in enumerate(messages))
