"""The table of options: parsing, defaults, and reading the environment when asked."""

from __future__ import annotations

import pytest

from tilejit import options
from tilejit.diagnostics import LaunchError
from tilejit.options import CompileOptions


def test_unset_and_empty_variables_give_the_default() -> None:
    for option in options.OPTIONS:
        assert option.read({}) == option.default
        assert option.variable is not None
        assert option.read({option.variable: " "}) == option.default


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", True),
        ("true", True),
        ("ON", True),
        ("yes", True),
        ("0", False),
        ("False", False),
        ("off", False),
    ],
)
def test_flags(text: str, value: bool) -> None:
    assert options.INTERPRET.read({"TILEJIT_INTERPRET": text}) is value


def test_numbers() -> None:
    assert options.NUM_THREADS.read({"TILEJIT_NUM_THREADS": "12"}) == 12


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("TILEJIT_INTERPRET", "maybe", "TILEJIT_INTERPRET=maybe is not valid: use 1 or 0"),
        (
            "TILEJIT_NUM_THREADS",
            "0",
            "TILEJIT_NUM_THREADS=0 is not valid: a positive whole number was expected",
        ),
        (
            "TILEJIT_NUM_THREADS",
            "two",
            "TILEJIT_NUM_THREADS=two is not valid: a positive whole number was expected",
        ),
    ],
)
def test_invalid_text(name: str, text: str, message: str) -> None:
    option = next(option for option in options.OPTIONS if option.variable == name)
    with pytest.raises(LaunchError) as raised:
        option.read({name: text})
    assert raised.value.message == message


def test_environment_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEJIT_ENABLE_FP_FUSION", "1")
    assert CompileOptions.from_environment() == CompileOptions(enable_fp_fusion=True)
    monkeypatch.delenv("TILEJIT_ENABLE_FP_FUSION")
    assert CompileOptions.from_environment() == CompileOptions()


def test_compile_options_are_marked_in_the_table() -> None:
    marked = {option.name for option in options.OPTIONS if option.changes_code}
    assert set(options.COMPILE_OPTION_NAMES) <= marked


def test_steps_of_the_cpu_backend() -> None:
    chosen = options.CPU_DISABLE.read({"TILEJIT_CPU_DISABLE": " promotion,dot_units, promotion"})
    assert chosen == ("dot_units", "promotion")
    assert not CompileOptions(cpu_disable=chosen).enables("dot_units")
    assert CompileOptions(cpu_disable=chosen).enables("packing")
    with pytest.raises(LaunchError) as raised:
        options.CPU_DISABLE.read({"TILEJIT_CPU_DISABLE": "paking"})
    assert raised.value.message == (
        "TILEJIT_CPU_DISABLE=paking is not valid: there is no step 'paking'; use some of double_buffering, "
        "dot_units, packing, promotion"
    )


def test_options_of_the_compiler_for_ascend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEJIT_ASCEND_LEAD", "2")
    monkeypatch.setenv("TILEJIT_ASCEND_DISABLE", "skew, double_buffering")
    chosen = CompileOptions.from_environment()
    assert chosen == CompileOptions(lead=2, ascend_disable=("double_buffering", "skew"))
    assert not chosen.enables_on_ascend("skew") and chosen.enables_on_ascend("residency")
    assert chosen.enables("double_buffering"), "that of the CPU"
    assert chosen.changed({"lead": 4, "slots": "3"}) == CompileOptions(
        lead=4, slots=3, ascend_disable=chosen.ascend_disable
    )
    assert chosen.changed({"lead": None}).lead == 0, "the compiler chooses"
    for name, value, message in (
        ("lead", -1, "lead=-1 is not valid: a positive whole number was expected"),
        ("slots", 1.5, "slots=1.5 is not valid: a positive whole number was expected"),
        (
            "ascend_disable",
            "skewing",
            "ascend_disable='skewing' is not valid: there is no step 'skewing'; use some of "
            "double_buffering, residency, skew, sub_blocks, sync_pruning",
        ),
    ):
        with pytest.raises(LaunchError) as raised:
            chosen.changed({name: value})
        assert raised.value.message == message


def test_options_of_a_launch() -> None:
    start = CompileOptions(debug=True, cpu_disable=("packing",))
    assert start.changed({"BLOCK": 3}) == start
    changed = start.changed({"enable_fp_fusion": 1, "cpu_disable": "dot_units"})
    assert changed == CompileOptions(enable_fp_fusion=True, debug=True, cpu_disable=("dot_units",))
    assert start.changed({"cpu_disable": ("promotion", "packing")}).cpu_disable == ("packing", "promotion")
    assert start.changed({"cpu_disable": ()}).cpu_disable == ()
    with pytest.raises(LaunchError) as raised:
        start.changed({"cpu_disable": ("packing", "all")})
    assert raised.value.message == (
        "cpu_disable=('packing', 'all') is not valid: there is no step 'all'; use some of double_buffering, "
        "dot_units, packing, promotion"
    )
    with pytest.raises(LaunchError, match="cpu_disable='all' is not valid: there is no step 'all'"):
        start.changed({"cpu_disable": "all"})
