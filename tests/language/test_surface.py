"""Every name of Triton's language is either there or refused by name, at the line that uses it."""

from __future__ import annotations

import ast
from pathlib import Path
from types import FunctionType

import pytest
from frontend.harness import error_of

import tilejit.language as tl
from tilejit.diagnostics import CompileError
from tilejit.ir.types import FP32, DType
from tilejit.language import refused

# The names by group, as Triton 3.9.0 has them, with those that went away after 3.8. After the bar: refused.
SURFACE = {
    "types": """
        int1 int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 float8e5
        float8e4nv float8e4b8 float8e5b16 pointer_type block_type pi32_t dtype const constexpr tensor
        tensor_descriptor PropagateNan
        | float8e4b15 void constexpr_type tuple tuple_type slice tensor_descriptor_type str_to_ty""",
    "programs": "program_id num_programs |",
    "creation": "arange full zeros zeros_like cast to_tensor |",
    "shape": """
        broadcast broadcast_to expand_dims permute trans reshape ravel view join split
        | squeeze unsqueeze interleave cat flip gather swizzle2d item""",
    "products": "dot | dot_scaled",
    "memory": "load store |",
    "block pointers": "make_block_ptr advance |",
    "descriptors": "make_tensor_descriptor load_tensor_descriptor store_tensor_descriptor |",
    "atomics": """
        atomic_add atomic_max atomic_min atomic_and atomic_or atomic_xor atomic_xchg atomic_cas
        | atomic_load atomic_store atomic_poll""",
    "arithmetic": """
        where abs ceil floor exp exp2 log log2 sin cos sqrt sqrt_rn rsqrt erf fdiv div_rn fma umulhi clamp
        maximum minimum cdiv sigmoid softmax add sub mul |""",
    "reductions": "sum max min xor_sum reduce | argmax argmin reduce_or",
    "scans": "cumsum associative_scan | cumprod sort topk bitonic_merge histogram",
    "random numbers": """
        | philox philox_impl randint randint4x rand rand4x randn randn4x uint_to_uniform_float
        pair_uniform_to_normal""",
    "control": "range static_range | condition map_elementwise",
    "hints": "multiple_of max_contiguous max_constancy assume debug_barrier | expect_zero",
    "debugging": "static_print static_assert device_print device_assert |",
    "assembly": "| inline_asm_elementwise",
    "private": "| _log2",
}

MATH = """
    abs ceil floor exp exp2 log log2 sin cos sqrt sqrt_rn rsqrt erf fdiv div_rn fma umulhi clamp maximum
    minimum cdiv sigmoid add sub mul
    | tanh log1p fast_cosf fast_sinf pow rint mul_rn fast_expf round asin isnan fast_dividef copysign
    fast_logf fast_log2f fast_tanhf llrint"""

METHODS = """
    broadcast_to trans permute split view reshape expand_dims cast to store atomic_add atomic_max atomic_min
    atomic_and atomic_or atomic_xor atomic_xchg atomic_cas reduce associative_scan cdiv sigmoid softmax ravel
    max min sum xor_sum cumsum exp exp2 log log2 cos sin sqrt sqrt_rn rsqrt abs erf floor ceil logical_and
    logical_or
    | item histogram gather argmax argmin reduce_or cumprod flip sort topk"""

MODULES = (
    "tl.extra.libdevice", "tl.extra.cuda", "tl.target_info.is_cuda", "tl.core.get_int_dtype",
    "tl.standard._log2",
)  # fmt: skip

DESCRIPTOR_METHODS = "gather scatter atomic_add atomic_min atomic_max atomic_and atomic_or atomic_xor"


def names(text: str) -> tuple[list[str], list[str]]:
    """Return the names that are there and those that are refused."""
    supported, _, refused = text.partition("|")
    return supported.split(), refused.split()


SUPPORTED = [name for text in SURFACE.values() for name in names(text)[0]]
REFUSED = [name for text in SURFACE.values() for name in names(text)[1]]


def refusal(expression: str, *lines: str) -> CompileError:
    """Return the error of a kernel that evaluates ``expression`` in its last line."""
    body = [*lines, f"y = {expression}"]
    namespace: dict[str, object] = {"tl": tl}
    text = "def kernel(x_ptr):\n" + "".join(f"    {line}\n" for line in body)
    exec(text, namespace)
    function = namespace["kernel"]
    assert isinstance(function, FunctionType)
    function.src = text  # type: ignore[attr-defined]
    return error_of(function, FP32)


def check_refusal(error: CompileError, message: str, expression: str, line: int = 2) -> None:
    """Check that an error names what is refused, points at it and says what to use instead."""
    assert error.message == message
    assert error.hint
    location = error.location
    assert location is not None and location.line == line
    quoted, carets = str(error).splitlines()[2:4]
    assert quoted.strip() == f"y = {expression}"
    pointed_at = quoted[carets.index("^") : carets.rindex("^") + 1]
    assert expression.startswith(pointed_at) and len(pointed_at) > 3


def test_supported_names_are_public() -> None:
    assert [name for name in SUPPORTED if name not in tl.__all__] == []
    assert sorted([*SUPPORTED, "math"]) == sorted(tl.__all__)


@pytest.mark.parametrize("name", REFUSED)
def test_name_is_refused(name: str) -> None:
    assert name not in tl.__all__
    expression = f"tl.{name}(x_ptr)"
    check_refusal(refusal(expression), f"tl.{name} is not supported yet", expression)


def test_every_refused_name_is_in_the_table() -> None:
    assert {*refused.REFUSED, *refused.REFUSED_TYPES} == set(REFUSED)


@pytest.mark.parametrize("name", names(MATH)[0])
def test_math_has_the_functions_of_tl(name: str) -> None:
    assert vars(tl.math)[name] is getattr(tl, name)


@pytest.mark.parametrize("name", names(MATH)[1])
def test_function_of_libdevice_is_refused(name: str) -> None:
    expression = f"tl.math.{name}(1.0)"
    check_refusal(refusal(expression), f"tl.math.{name} is not supported yet", expression)


def test_misspelt_function_of_math() -> None:
    error = refusal("tl.math.exq(1.0)")
    assert (error.message, error.hint) == ("tl.math.exq is not supported yet", "did you mean exp?")


@pytest.mark.parametrize("name", names(METHODS)[0])
def test_method_is_there(name: str) -> None:
    def kernel(x_ptr, name: tl.constexpr):
        method = getattr(tl.zeros((4, 4), tl.int32), name)
        tl.static_assert(callable(method))
        tl.static_assert(False, "reached")

    assert error_of(kernel, FP32, name).message == "static assertion failed: reached"


@pytest.mark.parametrize("name", names(METHODS)[1])
def test_method_is_refused(name: str) -> None:
    expression = f"x.{name}()"
    error = refusal(expression, "x = tl.arange(0, 4)")
    check_refusal(error, f"tl.{name} is not supported yet", expression, line=3)


@pytest.mark.parametrize("name", MODULES)
def test_module_is_refused(name: str) -> None:
    check_refusal(refusal(name), f"{name} is not supported yet", name)


@pytest.mark.parametrize("name", DESCRIPTOR_METHODS.split())
def test_method_of_a_descriptor_is_refused(name: str) -> None:
    expression = f"d.{name}([0], 1.0)"
    error = refusal(expression, "d = tl.make_tensor_descriptor(x_ptr, [16], [1], [16])")
    check_refusal(error, f"{name} of a tensor descriptor is not supported yet", expression, line=3)


@pytest.mark.parametrize("name", ["max", "min"])
def test_indices_of_extrema_are_refused(name: str) -> None:
    expression = f"tl.{name}(tl.arange(0, 4), 0, return_indices=True)"
    check_refusal(refusal(expression), f"tl.{name} with return_indices is not supported yet", expression)


def test_names_are_where_the_type_checker_sees_them() -> None:
    source = ast.parse(Path(str(tl.__file__)).read_text())
    (block,) = [node for node in source.body if isinstance(node, ast.If)]
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    loaded = {name: f"{tl.__name__}.{home}.{name}" for home, names in tl._HOMES.items() for name in names}
    loaded |= {name: ".".join(place) for name, place in tl._RENAMED.items()}
    assert imported == {**loaded, "math": f"{tl.__name__}.math"}
    at_once = {name for name in tl.__all__ if name not in imported}
    assert at_once == {
        "const",
        "constexpr",
        *(name for name in tl.__all__ if isinstance(getattr(tl, name), DType)),
    }
    assert set(tl.__all__) == {*imported, *at_once}
