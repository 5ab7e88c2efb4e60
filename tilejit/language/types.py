"""Types that kernels build from others."""

from __future__ import annotations

from tilejit.frontend.constexpr import unwrap
from tilejit.frontend.context import fail
from tilejit.frontend.tile import describe
from tilejit.ir.types import INT32, DType, PointerType


def pointer_type(element_ty: object, address_space: int = 1, const: bool = False) -> PointerType:
    """Return the type of pointers to ``element_ty``; there is one address space."""
    element = unwrap(element_ty)
    if not isinstance(element, DType):
        fail(f"tl.pointer_type needs a type such as tl.float16; got {describe(element)}")
    return PointerType(element, bool(const))


pi32_t = PointerType(INT32)
