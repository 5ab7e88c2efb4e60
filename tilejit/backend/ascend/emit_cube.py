"""Instructions of the cube core as AscendC statements: one row per op by name.

Source: CANN documentation of DataCopy, Nd2NzParams, LoadData, LoadDataWithTranspose, Mmad, Fixpipe (V220).
"""

from __future__ import annotations

from collections.abc import Mapping

from tilejit.backend.ascend.emit_context import Emission, Emitter, pointer_of
from tilejit.backend.ascend.emit_move import call, divided
from tilejit.ir.core import Op
from tilejit.ops.machine.cube import Quant

_BIAS_UNIT = 64
_QUANTS: Mapping[Quant, str] = {
    Quant.NONE: "NoQuant",
    Quant.F32_F16: "F322F16",
    Quant.F32_BF16: "F322BF16",
    Quant.DEQ_F16: "DEQF16",
    Quant.F32_B8: "QF322B8_PRE",
    Quant.REQ_B8: "REQ8",
    Quant.VECTOR_DEQ_F16: "VDEQF16",
    Quant.VECTOR_F32_B8: "VQF322B8_PRE",
    Quant.VECTOR_REQ_B8: "VREQ8",
}


def _flag(op: Op, name: str) -> str:
    return "true" if op.attributes[name] else "false"


def _blocks(source_gap: str, target_gap: str) -> Emitter:
    """A plain copy between GM and L1 in blocks of 32 bytes."""

    def emit(emission: Emission, op: Op) -> str:
        blocks = emission.operand(op, "blocks")
        rows = emission.optional(op, "rows", "1")
        gaps = (emission.optional(op, name, "0") for name in (source_gap, target_gap))
        dst, src = (emission.tensor(op, name) for name in ("dst", "src"))
        return call("DataCopy", dst, src, call("DataCopyParams", rows, blocks, *gaps))

    return emit


def _emit_nd2nz(emission: Emission, op: Op) -> str:
    params = call(
        "Nd2NzParams",
        emission.optional(op, "matrices", "1"),
        emission.operand(op, "n"),
        emission.operand(op, "d"),
        emission.optional(op, "src_matrix_stride", "0"),
        emission.operand(op, "src_d"),
        emission.operand(op, "dst_c0_stride"),
        emission.optional(op, "dst_n_stride", "1"),
        emission.optional(op, "dst_matrix_stride", "0"),
    )
    return call("DataCopy", emission.operand(op, "dst"), emission.gm(op, "src"), params)


def _emit_load_fractals(emission: Emission, op: Op) -> str:
    params = call(
        "LoadData2DParams",
        emission.optional(op, "start", "0"),
        emission.operand(op, "repeats"),
        emission.operand(op, "src_stride"),
        "0",
        emission.optional(op, "dst_gap", "0"),
        _flag(op, "transpose"),
        "0",
    )
    return call("LoadData", emission.operand(op, "dst"), emission.tensor(op, "src"), params)


def _emit_load_transpose(emission: Emission, op: Op) -> str:
    params = call(
        "LoadData2dTransposeParams",
        emission.optional(op, "start", "0"),
        emission.operand(op, "repeats"),
        emission.operand(op, "src_stride"),
        emission.optional(op, "dst_gap", "0"),
        emission.optional(op, "dst_fractal_gap", "0"),
    )
    return call("LoadDataWithTranspose", emission.operand(op, "dst"), emission.operand(op, "src"), params)


def _emit_load_3d(emission: Emission, op: Op) -> str:
    names = ("rows", "channels", "m", "k")
    numbers = [emission.operand(op, name) for name in names]
    starts = [emission.optional(op, name, "0") for name in ("m_start", "k_start")]
    params = emission.call("tile_of_matrix", *numbers, *starts, types=emission.element(op, "dst"))
    return call("LoadData", emission.operand(op, "dst"), emission.operand(op, "src"), params)


def _emit_copy_bias(emission: Emission, op: Op) -> str:
    size = pointer_of(op, "src").element.itemsize
    units = divided(emission, op.operand("count"), _BIAS_UNIT // size)
    return call(
        "DataCopy",
        emission.operand(op, "dst"),
        emission.operand(op, "src"),
        call("DataCopyParams", "1", units, "0", "0"),
    )


def _emit_mmad(emission: Emission, op: Op) -> str:
    init, bias = op.optional_operand("init"), op.optional_operand("bias")
    from_zero = _flag(op, "init") if init is None else emission.text(init)
    params = call(
        "MmadParams",
        *(emission.operand(op, name) for name in ("m", "n", "k")),
        str(op.attributes["unit_flag"]),
        "false" if bias is None else "true",
        from_zero,
    )
    if op.attributes["k_aligned"]:
        params = emission.call("k_aligned", params)
    tensors = [emission.operand(op, name) for name in ("dst", "a", "b")]
    if bias is not None:
        tensors.append(emission.text(bias))
    return call("Mmad", *tensors, params)


def _fixpipe(config: str) -> Emitter:
    def emit(emission: Emission, op: Op) -> str:
        quant, scale = op.attributes["quant"], op.optional_operand("scale")
        assert isinstance(quant, Quant)
        factor = "0"
        if scale is not None:
            factor = emission.call("bits_of", emission.text(scale), types="uint32_t")
        params = call(
            "FixpipeParamsV220",
            *(emission.operand(op, name) for name in ("n", "m", "src_stride", "dst_stride")),
            _flag(op, "relu"),
            f"QuantMode_t::{_QUANTS[quant]}",
            factor,
            "1",
            "0",
            "0",
            str(op.attributes["unit_flag"]),
        )
        types = ", ".join([*(emission.element(op, name) for name in ("dst", "src")), f"AscendC::{config}"])
        tensors = [emission.tensor(op, "dst"), emission.operand(op, "src")]
        if op.optional_operand("scales") is not None:
            tensors.append(emission.operand(op, "scales"))
        return call(f"Fixpipe<{types}>", *tensors, params)

    return emit


CUBE_EMITTERS: Mapping[str, Emitter] = {
    "load_l1": _blocks("gm_gap", "l1_gap"),
    "store_l1": _blocks("l1_gap", "gm_gap"),
    "load_nd2nz": _emit_nd2nz,
    "load_l0a": _emit_load_fractals,
    "load_l0b": _emit_load_fractals,
    "load_l0_transpose": _emit_load_transpose,
    "load_l0a_3d": _emit_load_3d,
    "copy_l1_bt": _emit_copy_bias,
    "mmad": _emit_mmad,
    "fixpipe": _fixpipe("CFG_ROW_MAJOR"),
    "fixpipe_l1": _fixpipe("CFG_NZ"),
}
