"""The text of emitted kernels: tables, golden files, entries, scalars, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backend.ascend.machine_texts import VECTOR_ADD, machine_kernel
from tilejit.backend.ascend.emit_ascendc import AscendSource, EntryForm, emit_ascendc
from tilejit.backend.ascend.emit_function import CONTROL_NAMES, EMITTERS
from tilejit.backend.ascend.emit_helpers import HELPERS
from tilejit.diagnostics import CompileError, InternalError
from tilejit.ops.control import CONTROL_OPS
from tilejit.ops.elementwise import ELEMENTWISE_OPS
from tilejit.ops.machine import MACHINE_OPS

GOLDEN = Path(__file__).with_name("golden")
_LOWERED_AWAY = {"program_id", "num_programs"}


def emitted(body: str, arguments: str = "%n: int32") -> AscendSource:
    """An AIV kernel around the lines of ``body``."""
    return emit_ascendc(machine_kernel(f"func aiv @f({arguments}) {{\n{body}\n  return()\n}}\n"))


def statements(body: str, arguments: str = "%n: int32") -> list[str]:
    """The emitted statements of ``body``."""
    lines = [line.strip() for line in emitted(body, arguments).kernel.splitlines()]
    return lines[lines.index("AscendC::InitSocState();") + 1 : -2]


def test_every_op_of_machine_functions_has_a_row() -> None:
    names = {op.name for op in (*MACHINE_OPS, *ELEMENTWISE_OPS, *CONTROL_OPS)} | {"load", "store"}
    assert set(EMITTERS) | CONTROL_NAMES | _LOWERED_AWAY == names | {"constant"}


@pytest.mark.parametrize("form", EntryForm)
def test_golden(form: EntryForm, update_golden: bool) -> None:
    source = emit_ascendc(machine_kernel(VECTOR_ADD), form)
    for name, text in ((f"vector_add.{form.value}.asc", source.kernel), (source.tiling_name, source.tiling)):
        if update_golden:
            GOLDEN.mkdir(exist_ok=True)
            (GOLDEN / f"{name}.txt").write_text(text)
        assert text.splitlines() == (GOLDEN / f"{name}.txt").read_text().splitlines()


def test_streamed_copies_pass_l2() -> None:
    source = emitted(
        "  %a = buffer() {space=ub, element=fp32, elements=64, slot_bytes=256, address=0} : ptr<ub fp32>\n"
        "  copy_in(%a, %x, %n, %n) {streams=true}",
        "%x: ptr<fp32>, %n: int32",
    )
    assert "AscendC::DataCopyPad(a, tile::streamed(x)," in source.kernel
    assert "tensor.SetL2CacheHint(AscendC::CacheMode::CACHE_MODE_DISABLE);" in source.kernel


def test_only_called_helpers_are_in_the_text() -> None:
    assert "namespace tile" not in emitted("").kernel
    text = emitted("  %a = add(%n, %n) : int32").kernel
    assert [name for name in HELPERS if f" {name}(" in text] == ["add"]


@pytest.mark.parametrize(
    ("op", "text"),
    [
        ("%a = add(%n, %n) : int32", "const int32_t a = tile::add(n, n);"),
        ("%a = add(%u, %u) : uint32", "const uint32_t a = u + u;"),
        ("%a = mul(%h, %h) : fp16",
         "const half a = static_cast<half>(static_cast<float>(h) * static_cast<float>(h));"),
        ("%a = mul(%b, %b) : bf16",
         "const bfloat16_t a = AscendC::ToBfloat16(AscendC::ToFloat(b) * AscendC::ToFloat(b));"),
        ("%a = cast(%x) {dtype=int32} : int32",
         "const int32_t a = tile::saturate<int32_t>(x, -2147483647 - 1, 2147483647);"),
        ("%a = cmp(%n, %n) {predicate=lt} : int1", "const bool a = n < n;"),
        ("%a = load(%p) : fp32", "const float a = tile::global(p).GetValue(0);"),
        ("store(%p, %x)", "tile::store_global(p, x);"),
        ("%a = addptr(%p, %n) : ptr<fp32>", "__gm__ float *const a = p + n;"),
        ("%a = reinterpret(%p) {element=int8} : ptr<int8>",
         "__gm__ int8_t *const a = reinterpret_cast<__gm__ int8_t *>(p);"),
        ("%return = abs(%n) : int32", "const int32_t return_ = tile::abs(n);"),
    ],
)  # fmt: skip
def test_scalars(op: str, text: str) -> None:
    arguments = "%n: int32, %u: uint32, %h: fp16, %b: bf16, %x: fp32, %p: ptr<fp32>"
    assert statements(f"  {op}", arguments)[-1] == text


@pytest.mark.parametrize(
    ("constant", "text"),
    [
        ("value=0.1, dtype=fp32", "0.1f"),
        ("value=-1e-30, dtype=fp32", "-1.0e-30f"),
        ("value=nan, dtype=fp32", "tile::float_of_bits(0x7fc00000u)"),
        ("value=-inf, dtype=fp32", "tile::float_of_bits(0xff800000u)"),
        ("value=0.5, dtype=fp16", "static_cast<half>(0.5f)"),
        ("value=7, dtype=int64", "int64_t{7}"),
        ("value=-9223372036854775808, dtype=int64", "(int64_t{-9223372036854775807} - 1)"),
        ("value=4294967295, dtype=uint32", "4294967295u"),
        ("value=-3, dtype=int8", "int8_t{-3}"),
        ("value=-3, dtype=fp64", "uint64_t{0xc008000000000000}"),  # moved as its bits, never computed
        ("value=1, dtype=int1", "true"),
    ],
)
def test_constants(constant: str, text: str) -> None:
    dtype = constant.rpartition("=")[2]
    body = f"  %c = constant() {{{constant}}} : {dtype}\n  %a = select(%k, %c, %c) : {dtype}"
    assert statements(body, "%k: int1")[-1].endswith(f"= k ? {text} : {text};")


def test_loops_assign_what_they_carry_all_at_once() -> None:
    body = """\
  %r, %s = for(%lo, %hi, %by, inits=[%x, %y]) : fp32, fp32 {
  body(%i: int32, %a: fp32, %b: fp32):
    %t = add(%a, %b) : fp32
    yield(values=[%b, %a])
  }
  %u = add(%r, %s) : fp32"""
    assert statements(body, "%lo: int32, %hi: int32, %by: int32, %x: fp32, %y: fp32")[5:] == [
        "float a = x;",
        "float b = y;",
        "for (int64_t i_wide = lo; by > 0 ? i_wide < hi : i_wide > hi; i_wide += by) {",
        "const int32_t i = static_cast<int32_t>(i_wide);",
        "const float t = a + b;",
        "const float a_before = a;",
        "a = b;",
        "b = a_before;",
        "}",
        "const float u = a + b;",
    ]


def test_while_and_if() -> None:
    body = """\
  %r = while(inits=[%n]) : int32 {
  condition(%a: int32):
    %more = cmp(%a, %m) {predicate=lt} : int1
    yield(values=[%more])
  body(%b: int32):
    %c = if(%k) : int32 {
    then():
      %d = add(%b, %b) : int32
      yield(values=[%d])
    else():
      yield(values=[%m])
    }
    yield(values=[%c])
  }"""
    assert statements(body, "%n: int32, %m: int32, %k: int1")[3:] == [
        "int32_t a = n;",
        "while (true) {",
        "const bool more = a < m;",
        "if (!(more)) break;",
        "int32_t c;",
        "if (k) {",
        "const int32_t d = tile::add(a, a);",
        "c = d;",
        "} else {",
        "c = m;",
        "}",
        "a = c;",
        "}",
    ]


def test_sixteen_bit_floats_and_bools_pass_as_wider_fields() -> None:
    source = emitted("  %a = select(%k, %h, %h) : fp16", "%k: int1, %h: fp16")
    assert "    uint8_t k;\n    float h;\n" in source.tiling
    assert "const bool k = tiling.k != 0;" in source.kernel
    assert "const half h = static_cast<half>(tiling.h);" in source.kernel


@pytest.mark.parametrize(
    ("body", "element", "message", "hint"),
    [
        *(
            (
                f"  %a = {op}(%x) : fp32",
                "fp32",
                f"the scalar unit of Ascend 910B has no {name}",
                "compute it on a tile instead",
            )
            for op, name in (
                ("exp", "exponential function"), ("log2", "logarithm"), ("sin", "sine"), ("cos", "cosine"),
                ("erf", "error function"),
            )
        ),
        (
            "  %a = frem(%x, %x) : fp32",
            "fp32",
            "the scalar unit of Ascend 910B has no floating remainder",
            "compute it on a tile instead",
        ),
        (
            "  %a = fma(%x, %x, %x) : fp32",
            "fp32",
            "the scalar unit of Ascend 910B has no fused multiply-add",
            "compute it on a tile instead",
        ),
        (
            "  %a = cast(%x) {dtype=fp16, rounding=rtz} : fp16",
            "fp32",
            "casts that round toward zero are not available for scalars on Ascend 910B",
            "cast without rounding=, or cast tiles",
        ),
        (
            "  %a = add(%x, %x) : fp64",
            "fp64",
            "fp64 has no type in AscendC for Ascend 910B",
            "use one of int1, int8, ",
        ),
        (
            '  device_print(values=[%x]) {prefix=""}',
            "fp32",
            "device_print is not available on Ascend 910B",
            "run the kernel on the CPU to print",
        ),
    ],
)  # fmt: skip
def test_what_the_scalar_unit_lacks_is_refused(body: str, element: str, message: str, hint: str) -> None:
    with pytest.raises(CompileError) as raised:
        emitted(body, f"%x: {element}")
    assert raised.value.message == message
    assert raised.value.hint is not None and raised.value.hint.startswith(hint)


def test_buffers_must_be_placed() -> None:
    with pytest.raises(InternalError, match="a buffer without an address reached the emitter"):
        emitted("  %a = buffer() {space=ub, element=fp32, elements=8} : ptr<ub fp32>")


def test_flags_that_v220_lacks_are_refused() -> None:
    with pytest.raises(InternalError, match="V220 has no flags from V to MTE1"):
        emitted("  set_flag(%n) {source=v, target=mte1}")


def test_a_workspace_is_an_argument_of_the_kernel() -> None:
    text = """\
func aiv @f() {
  %a = buffer() {space=gm, element=fp32, elements=64, address=128} : ptr<fp32>
  return()
}
"""
    source = emit_ascendc(machine_kernel(text, workspace_bytes=512))
    assert [parameter.name for parameter in source.parameters] == ["workspace"]
    line = "a = reinterpret_cast<__gm__ float *>(workspace_address + (AscendC::GetBlockIdx() * 512LL + 128));"
    assert line in source.kernel
    with pytest.raises(InternalError, match="a buffer in GM, but the kernel has no workspace"):
        emit_ascendc(machine_kernel(text))


MIXED = """\
func aic @mixed(%out: ptr<fp32>) {
  %zero = constant() {value=0, dtype=int32} : int32
  cross_wait(%zero)
  return()
}
func aiv @mixed(%out: ptr<fp32>) {
  %zero = constant() {value=0, dtype=int32} : int32
  %b = block_index() : int32
  %s = sub_block_index() : int32
  cross_set(%zero) {pipe=mte3}
  return()
}
"""


def test_a_mixed_kernel_has_a_function_for_each_core() -> None:
    text = emit_ascendc(machine_kernel(MIXED)).kernel
    assert 'extern "C" __global__ __mix__(1, 2) __aicore__ void mixed_kernel(GM_ADDR out_address)' in text
    assert "    if ASCEND_IS_AIC {\n        mixed_kernel_aic(out_address);\n    }\n" in text
    assert "const int32_t b = static_cast<int32_t>(AscendC::GetBlockIdx() / 2);" in text
    assert "AscendC::CrossCoreSetFlag<0x2, PIPE_MTE3>(0);" in text
    older = emit_ascendc(machine_kernel(MIXED), EntryForm.CANN8).kernel
    assert "    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);\n    AscendC::InitSocState();" in older
    assert "__mix__" not in older


@pytest.mark.parametrize(
    ("core", "body", "entry"),
    [
        ("aiv", "", "__vector__"),
        ("aic", "", "__cube__"),
        ("aiv", "  cross_set(%n) {mode=1, pipe=mte3}\n", "__mix__(0, 1)"),
        ("aic", "  cross_wait(%n)\n", "__mix__(1, 0)"),
    ],
)
def test_entries(core: str, body: str, entry: str) -> None:
    text = f"func {core} @f(%n: int32) {{\n{body}  return()\n}}\n"
    assert f" {entry} __aicore__ void f_kernel(" in emit_ascendc(machine_kernel(text)).kernel


@pytest.mark.parametrize(
    ("store", "order"),
    [
        ("fixpipe(%g, %c, %n, %n, %n, %n) {unit_flag=3}", "AscendC::SetMMRowMajor();"),
        ("fixpipe_l1(%l, %c, %n, %n, %n, %n) {quant=f32_f16, unit_flag=3}", "AscendC::SetMMColumnMajor();"),
        ("fixpipe(%g, %c, %n, %n, %n, %n)", ""),
    ],
)
def test_unit_flags_need_an_order_of_fractals(store: str, order: str) -> None:
    text = f"""\
func aic @f(%g: ptr<fp32>, %n: int32) {{
  %c = buffer() {{space=l0c, element=fp32, elements=256, address=0}} : ptr<l0c fp32>
  %l = buffer() {{space=l1, element=fp16, elements=256, address=0}} : ptr<l1 fp16>
  {store}
  return()
}}
"""
    kernel = emit_ascendc(machine_kernel(text)).kernel
    assert ("SetMM" in kernel) == bool(order) and order in kernel


@pytest.mark.parametrize("name", ["exp", "exp_kernel"])
def test_kernels_are_not_named_like_functions_of_c(name: str) -> None:
    source = emit_ascendc(machine_kernel(f"func aiv @{name}() {{\n  return()\n}}\n"))
    assert source.name == "exp_kernel" and "void exp_kernel()" in source.kernel


def test_arguments_are_not_named_like_the_launchers_own() -> None:
    names = [
        parameter.name for parameter in emitted("", "%stream: int32, %tiling: int32, %half: fp32").parameters
    ]
    assert names == ["stream_", "tiling_", "half_"]


def test_python_lines_stand_above_their_statements(tmp_path: Path) -> None:
    file = tmp_path / "kernel.py"
    file.write_text("a\ny = x + x\n")
    place = f'@ "{file}":2:0-2:5 in f'
    assert statements(f"  %y = add(%x, %x) : fp32 {place}", "%x: fp32")[1:] == [
        "// kernel.py:2: y = x + x",
        "const float y = x + x;",
    ]
