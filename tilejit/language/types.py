"""Types that kernels build from others."""

from __future__ import annotations

from tilejit.frontend.constexpr import unwrap
from tilejit.frontend.context import fail
from tilejit.frontend.python_errors import suggest
from tilejit.frontend.tile import describe
from tilejit.ir.types import DTYPE_BY_NAME, INT32, DType, PointerType


class _DTypeFactory(type):
    """Makes ``tl.dtype`` stand for all element types: called with a name, asked with isinstance."""

    def __call__(cls, name: object) -> DType:
        text = str(unwrap(name))
        if text not in DTYPE_BY_NAME:
            fail(f"there is no type called {text!r}", suggest(text, DTYPE_BY_NAME))
        return DTYPE_BY_NAME[text]

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, DType)


class dtype(metaclass=_DTypeFactory):
    """An element type; ``tl.dtype("fp16")`` is ``tl.float16``."""


def pointer_type(element_ty: object, address_space: int = 1, const: bool = False) -> PointerType:
    """Return the type of pointers to ``element_ty``; there is one address space."""
    element = unwrap(element_ty)
    if not isinstance(element, DType):
        fail(f"tl.pointer_type needs a type such as tl.float16; got {describe(element)}")
    return PointerType(element, bool(const))


pi32_t = PointerType(INT32)
