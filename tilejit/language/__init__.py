"""The names that kernels use: ``import tilejit.language as tl``.

Types, functions on tiles, memory, atomics, loops. Functions work inside kernels only; types and
``tl.constexpr`` anywhere. Names of Triton that are not there yet are refused with the line that uses them
(see ``refused``).

Types are there at once; functions are loaded when the first is asked for, which is when a kernel is traced:
programs that find their kernels on disk trace none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tilejit.frontend.constexpr import Const as const
from tilejit.frontend.constexpr import Constexpr as constexpr
from tilejit.frontend.traced_function import ACTIVE
from tilejit.ir.types import BF16 as bfloat16
from tilejit.ir.types import FP8E4B8 as float8e4b8
from tilejit.ir.types import FP8E4NV as float8e4nv
from tilejit.ir.types import FP8E5 as float8e5
from tilejit.ir.types import FP8E5B16 as float8e5b16
from tilejit.ir.types import FP16 as float16
from tilejit.ir.types import FP32 as float32
from tilejit.ir.types import FP64 as float64
from tilejit.ir.types import INT1 as int1
from tilejit.ir.types import INT8 as int8
from tilejit.ir.types import INT16 as int16
from tilejit.ir.types import INT32 as int32
from tilejit.ir.types import INT64 as int64
from tilejit.ir.types import UINT8 as uint8
from tilejit.ir.types import UINT16 as uint16
from tilejit.ir.types import UINT32 as uint32
from tilejit.ir.types import UINT64 as uint64

if TYPE_CHECKING:
    from tilejit.frontend.tile import BlockType as block_type
    from tilejit.frontend.tile import Tile as tensor
    from tilejit.language import math
    from tilejit.language.atomic import (
        atomic_add,
        atomic_and,
        atomic_cas,
        atomic_max,
        atomic_min,
        atomic_or,
        atomic_xchg,
        atomic_xor,
    )
    from tilejit.language.block_pointer import advance, make_block_ptr
    from tilejit.language.casts import cast
    from tilejit.language.control import (
        assume,
        debug_barrier,
        device_assert,
        device_print,
        max_constancy,
        max_contiguous,
        multiple_of,
        range,
        static_assert,
        static_print,
        static_range,
    )
    from tilejit.language.creation import arange, full, num_programs, program_id, to_tensor, zeros, zeros_like
    from tilejit.language.descriptor import (
        TensorDescriptor as tensor_descriptor,
    )
    from tilejit.language.descriptor import (
        load_tensor_descriptor,
        make_tensor_descriptor,
        store_tensor_descriptor,
    )
    from tilejit.language.linalg import dot
    from tilejit.language.math import (
        PropagateNan,
        abs,
        add,
        cdiv,
        ceil,
        clamp,
        cos,
        div_rn,
        erf,
        exp,
        exp2,
        fdiv,
        floor,
        fma,
        log,
        log2,
        maximum,
        minimum,
        mul,
        rsqrt,
        sigmoid,
        sin,
        sqrt,
        sqrt_rn,
        sub,
        umulhi,
        where,
    )
    from tilejit.language.memory import load, store
    from tilejit.language.reduction import max, min, reduce, softmax, sum, xor_sum
    from tilejit.language.scan import associative_scan, cumsum
    from tilejit.language.shape import (
        broadcast,
        broadcast_to,
        expand_dims,
        join,
        permute,
        ravel,
        reshape,
        split,
        trans,
        view,
    )
    from tilejit.language.types import dtype, pi32_t, pointer_type

__all__ = [
    "PropagateNan",
    "abs",
    "add",
    "advance",
    "arange",
    "associative_scan",
    "assume",
    "atomic_add",
    "atomic_and",
    "atomic_cas",
    "atomic_max",
    "atomic_min",
    "atomic_or",
    "atomic_xchg",
    "atomic_xor",
    "bfloat16",
    "block_type",
    "broadcast",
    "broadcast_to",
    "cast",
    "cdiv",
    "ceil",
    "clamp",
    "const",
    "constexpr",
    "cos",
    "cumsum",
    "debug_barrier",
    "device_assert",
    "device_print",
    "div_rn",
    "dot",
    "dtype",
    "erf",
    "exp",
    "exp2",
    "expand_dims",
    "fdiv",
    "float8e4b8",
    "float8e4nv",
    "float8e5",
    "float8e5b16",
    "float16",
    "float32",
    "float64",
    "floor",
    "fma",
    "full",
    "int1",
    "int8",
    "int16",
    "int32",
    "int64",
    "join",
    "load",
    "load_tensor_descriptor",
    "log",
    "log2",
    "make_block_ptr",
    "make_tensor_descriptor",
    "math",
    "max",
    "max_constancy",
    "max_contiguous",
    "maximum",
    "min",
    "minimum",
    "mul",
    "multiple_of",
    "num_programs",
    "permute",
    "pi32_t",
    "pointer_type",
    "program_id",
    "range",
    "ravel",
    "reduce",
    "reshape",
    "rsqrt",
    "sigmoid",
    "sin",
    "softmax",
    "split",
    "sqrt",
    "sqrt_rn",
    "static_assert",
    "static_print",
    "static_range",
    "store",
    "store_tensor_descriptor",
    "sub",
    "sum",
    "tensor",
    "tensor_descriptor",
    "to_tensor",
    "trans",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "umulhi",
    "view",
    "where",
    "xor_sum",
    "zeros",
    "zeros_like",
]

# Where the names are that the type checker sees imported above.
_HOMES: dict[str, tuple[str, ...]] = {
    "atomic": (
        "atomic_add",
        "atomic_and",
        "atomic_cas",
        "atomic_max",
        "atomic_min",
        "atomic_or",
        "atomic_xchg",
        "atomic_xor",
    ),
    "block_pointer": (
        "advance",
        "make_block_ptr",
    ),
    "casts": ("cast",),
    "control": (
        "assume",
        "debug_barrier",
        "device_assert",
        "device_print",
        "max_constancy",
        "max_contiguous",
        "multiple_of",
        "range",
        "static_assert",
        "static_print",
        "static_range",
    ),
    "creation": (
        "arange",
        "full",
        "num_programs",
        "program_id",
        "to_tensor",
        "zeros",
        "zeros_like",
    ),
    "descriptor": (
        "load_tensor_descriptor",
        "make_tensor_descriptor",
        "store_tensor_descriptor",
    ),
    "linalg": ("dot",),
    "math": (
        "PropagateNan",
        "abs",
        "add",
        "cdiv",
        "ceil",
        "clamp",
        "cos",
        "div_rn",
        "erf",
        "exp",
        "exp2",
        "fdiv",
        "floor",
        "fma",
        "log",
        "log2",
        "maximum",
        "minimum",
        "mul",
        "rsqrt",
        "sigmoid",
        "sin",
        "sqrt",
        "sqrt_rn",
        "sub",
        "umulhi",
        "where",
    ),
    "memory": (
        "load",
        "store",
    ),
    "reduction": (
        "max",
        "min",
        "reduce",
        "softmax",
        "sum",
        "xor_sum",
    ),
    "scan": (
        "associative_scan",
        "cumsum",
    ),
    "shape": (
        "broadcast",
        "broadcast_to",
        "expand_dims",
        "join",
        "permute",
        "ravel",
        "reshape",
        "split",
        "trans",
        "view",
    ),
    "types": (
        "dtype",
        "pi32_t",
        "pointer_type",
    ),
}
_RENAMED: dict[str, tuple[str, str]] = {
    "block_type": ("tilejit.frontend.tile", "BlockType"),
    "tensor": ("tilejit.frontend.tile", "Tile"),
    "tensor_descriptor": ("tilejit.language.descriptor", "TensorDescriptor"),
}


def __getattr__(name: str) -> object:
    """Load a name; answer for those that are refused, and suggest the right one where there is none."""
    if name in __all__:
        value = globals()[name] = _load(name)
        return value
    from tilejit.frontend.context import fail  # noqa: PLC0415 - only where a kernel is traced, or wrong
    from tilejit.frontend.python_errors import suggest  # noqa: PLC0415
    from tilejit.language.refused import (  # noqa: PLC0415
        REFUSED,
        REFUSED_NAMESPACES,
        REFUSED_TYPES,
        RefusedNamespace,
        refuse,
    )

    if name in REFUSED:
        return refuse(name)
    if name in REFUSED_NAMESPACES:
        return RefusedNamespace(name)
    if name in REFUSED_TYPES:
        fail(f"tl.{name} is not supported yet", REFUSED_TYPES[name])
    if ACTIVE.get() is None or name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    fail(f"tl has no name {name!r}", suggest(name, [*__all__, *REFUSED]))


def _load(name: str) -> object:
    if name in _RENAMED:
        module, attribute = _RENAMED[name]
        return vars(importlib.import_module(module))[attribute]
    for home, names in _HOMES.items():
        if name in names:
            return vars(importlib.import_module(f"{__name__}.{home}"))[name]
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return [*__all__]
