"""What several runtime tests watch."""

from __future__ import annotations

import pytest

import tilejit
from tilejit.runtime import kernel as kernel_module


@pytest.fixture
def slow_launches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The launches that went through Python, as the names of their kernels."""
    seen: list[str] = []
    launch = kernel_module.Kernel.launch

    def counted(self: tilejit.Kernel, *args: object, **kwargs: object) -> object:
        seen.append(self.name)
        return launch(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(kernel_module.Kernel, "launch", counted)
    return seen


@pytest.fixture(params=["cpu", "interpreter"])
def target(request: pytest.FixtureRequest) -> str:
    """Where launches run."""
    return str(request.param)
