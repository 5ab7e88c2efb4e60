"""A kernel as C sees it: the header, and the functions behind it as LLVM IR, added to the kernel's module.

``NAME`` runs a whole grid on the calling thread; ``NAME_range`` runs some of its programs, so that a program
with threads of its own can share them out. Both take the arguments that a launch from Python would pass, in
the same order: arrays as pointers, numbers, then the shapes and strides that the kernel asks of its arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tilejit.diagnostics import InternalError
from tilejit.frontend.signature import (
    ConstantParam,
    Param,
    PointerParam,
    ScalarParam,
    Specialisation,
    TupleParam,
)
from tilejit.records import dataclass
from tilejit.runtime.program import Program, ProgramSlot, SlotSource
from tilejit.target.cpu import CpuTarget

_OUT_OF_MEMORY, _INVALID = 12, 22  # ENOMEM and EINVAL
_SCRATCH_ALIGNMENT = 64
_PROGRAMS_LIMIT = (1 << 31) - 1

# What C calls an element of an array, and a number that is passed; floats of 8 and 16 bits are their bits.
_ELEMENTS = {
    "int1": "uint8_t", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "int64": "int64_t",
    "uint8": "uint8_t", "uint16": "uint16_t", "uint32": "uint32_t", "uint64": "uint64_t", "fp16": "uint16_t",
    "bf16": "uint16_t", "fp32": "float", "fp64": "double", "fp8e5": "uint8_t", "fp8e4nv": "uint8_t",
    "fp8e4b8": "uint8_t", "fp8e5b16": "uint8_t",
}  # fmt: skip
_LLVM = {
    "int8_t": "i8 signext", "uint8_t": "i8 zeroext", "int16_t": "i16 signext", "uint16_t": "i16 zeroext",
    "int32_t": "i32 signext", "uint32_t": "i32 zeroext", "int64_t": "i64", "uint64_t": "i64",
    "float": "float", "double": "double",
}  # fmt: skip
# Words of C and C++, and the functions' own parameters.
_RESERVED = frozenset(
    {
        "alignas", "alignof", "asm", "auto", "bool", "break", "case", "catch", "char", "class", "const",
        "constexpr", "continue", "default", "delete", "do", "double", "else", "enum", "explicit", "export",
        "extern", "false", "float", "for", "friend", "goto", "if", "inline", "int", "long", "mutable",
        "namespace", "new", "operator", "private", "protected", "public", "register", "restrict", "return",
        "short", "signed", "sizeof", "static", "struct", "switch", "template", "this", "throw", "true",
        "try", "typedef", "typename", "union", "unsigned", "using", "virtual", "void", "volatile", "while",
        "first", "last", "grid_x", "grid_y", "grid_z", "scratch",
    }
)  # fmt: skip


@dataclass(frozen=True)
class CParameter:
    """One parameter of the C functions; ``meaning`` says what the caller passes."""

    name: str
    type: str
    meaning: str

    @property
    def is_pointer(self) -> bool:
        return self.type.endswith("*")

    @property
    def declaration(self) -> str:
        """The parameter as it stands in a prototype."""
        return f"{self.type}{'' if self.is_pointer else ' '}{self.name}"

    @property
    def llvm(self) -> str:
        """Its type in LLVM IR, with how the C ABI extends small integers."""
        return "ptr" if self.is_pointer else _LLVM[self.type]


def c_parameters(program: Program, specialisation: Specialisation) -> list[CParameter]:
    """The parameters in order."""
    params = dict(_flat(specialisation))
    return [_parameter(slot, params[slot.name], program) for slot in program.slots]


def _flat(specialisation: Specialisation) -> Iterator[tuple[str, Param]]:
    """The parameters, items of tuples one by one under the names that slots have."""
    for name, param in specialisation:
        if isinstance(param, TupleParam):
            yield from _flat(tuple((f"{name}.{n}", item) for n, item in enumerate(param.items)))
        else:
            yield name, param


def _parameter(slot: ProgramSlot, param: Param, program: Program) -> CParameter:
    name = _identifier(slot.name)
    if slot.source is SlotSource.SHAPE:
        meaning = f"size of dimension {slot.dimension} of {name}"
        return CParameter(f"{name}_shape{slot.dimension}", "int64_t", meaning)
    if slot.source is SlotSource.STRIDE:
        meaning = f"elements between neighbours along dimension {slot.dimension} of {name}"
        return CParameter(f"{name}_stride{slot.dimension}", "int64_t", meaning)
    if isinstance(param, PointerParam):
        const = "" if slot.name in program.written else "const "
        place = ", at a multiple of 16 bytes" if param.divisible_by_16 else ""
        kind = f"{const}{_ELEMENTS[param.element.name]} *"
        return CParameter(name, kind, f"array of {param.element.name}{place}")
    if not isinstance(param, ScalarParam):
        raise InternalError(f"{slot.name} is passed and has no type")
    size = ", a multiple of 16" if param.divisible_by_16 else ""
    return CParameter(name, _ELEMENTS[param.dtype.name], f"{param.dtype.name}{size}")


def _identifier(name: str) -> str:
    """A kernel's name for a parameter as a C identifier."""
    plain = name.replace(".", "_")
    return f"{plain}_" if plain in _RESERVED else plain


def entry_ir(program: Program, parameters: Sequence[CParameter]) -> str:
    """The IR of both functions, to be added to the module that defines the programs."""
    name, count = program.name, max(1, len(parameters))
    takes = [f"{parameter.llvm} %p{n}" for n, parameter in enumerate(parameters)]
    passes = ", ".join(takes)
    grid = "i32 %grid_x, i32 %grid_y, i32 %grid_z"
    stores = [
        line
        for n, (slot, parameter) in enumerate(zip(program.slots, parameters, strict=True))
        for line in _store(n, slot, parameter)
    ]
    range_takes = ", ".join([*takes, grid, "i64 %first", "i64 %last", "ptr %scratch"])
    in_range = [
        f'define void @"{name}_range"({range_takes}) {{',
        f"  %slots = alloca [{count} x i64]",
        *stores,
        f'  call void @"{name}.programs"(ptr %slots, i64 %first, i64 %last, {grid}, ptr %scratch)',
        "  ret void",
        "}",
    ]
    return "\n".join([*in_range, *_whole(program, passes, grid), ""])


def _store(number: int, slot: ProgramSlot, parameter: CParameter) -> list[str]:
    """Put a parameter into its slot of 8 bytes."""
    place = f"%s{number}"
    lines = [f"  {place} = getelementptr i64, ptr %slots, i64 {number}"]
    type, _, extension = parameter.llvm.partition(" ")
    if type in ("i8", "i16", "i32"):
        widened = "zext" if extension == "zeroext" else "sext"
        lines.append(f"  %w{number} = {widened} {type} %p{number} to i64")
        return [*lines, f"  store i64 %w{number}, ptr {place}"]
    return [*lines, f"  store {type} %p{number}, ptr {place}"]


def _whole(program: Program, passes: str, grid: str) -> list[str]:
    """The function that runs a grid: checks its sizes, gets scratch where programs need some."""
    name = program.name
    size = -(-program.scratch_bytes // _SCRATCH_ALIGNMENT) * _SCRATCH_ALIGNMENT
    arguments = ", ".join(part for part in (passes, grid) if part)
    call = f'  call void @"{name}_range"({arguments}, i64 0, i64 %total, ptr %scratch)'
    run = (
        [
            f"  %scratch = call ptr @aligned_alloc(i64 {_SCRATCH_ALIGNMENT}, i64 {size})",
            "  %is_out = icmp eq ptr %scratch, null",
            "  br i1 %is_out, label %out, label %go",
            "out:",
            f"  ret i32 {_OUT_OF_MEMORY}",
            "go:",
            call,
            "  call void @free(ptr %scratch)",
        ]
        if size
        else [call.replace("ptr %scratch", "ptr null")]
    )
    declarations = ["declare ptr @aligned_alloc(i64, i64)", "declare void @free(ptr)"] if size else []
    return [
        *declarations,
        f'define i32 @"{name}"({arguments}) {{',
        "  %xy = or i32 %grid_x, %grid_y",
        "  %xyz = or i32 %xy, %grid_z",
        "  %is_negative = icmp slt i32 %xyz, 0",
        "  br i1 %is_negative, label %invalid, label %count",
        "invalid:",
        f"  ret i32 {_INVALID}",
        "count:",
        "  %x = zext i32 %grid_x to i64",
        "  %y = zext i32 %grid_y to i64",
        "  %z = zext i32 %grid_z to i64",
        "  %plane = mul i64 %x, %y",
        "  %total = mul i64 %plane, %z",
        "  %is_empty = icmp eq i64 %total, 0",
        "  br i1 %is_empty, label %done, label %run",
        "run:",
        *run,
        "  br label %done",
        "done:",
        "  ret i32 0",
        "}",
    ]


def header(
    program: Program, parameters: Sequence[CParameter], specialisation: Specialisation, target: CpuTarget
) -> str:
    """The text of the C header."""
    name, guard = program.name, f"{program.name.upper()}_H"
    takes = ", ".join(
        [*(p.declaration for p in parameters), "int32_t grid_x, int32_t grid_y, int32_t grid_z"]
    )
    rows = "\n".join(f"     {parameter.name}: {parameter.meaning}" for parameter in parameters)
    flat = _flat(specialisation)
    constants = [f"{key} = {param.value!r}" for key, param in flat if isinstance(param, ConstantParam)]
    fixed = f"\n   Compiled in: {', '.join(constants)}.".replace("*/", "* /") if constants else ""
    needs = "The calling process must have asked for AMX tiles (arch_prctl ARCH_REQ_XCOMP_PERM).\n   "
    permission = needs if target.has("amx-tile") else ""
    return f"""\
/* The tile kernel {name}, compiled by tilejit for {target.cpu} ({target.triple}).
   {permission}Arguments, which are those of a launch from Python; arrays must not overlap:
{rows}
     grid_x, grid_y, grid_z: number of programs along each axis, 0 to {_PROGRAMS_LIMIT}{fixed} */
#ifndef {guard}
#define {guard}

#include <stdint.h>

/* Bytes of scratch, at a multiple of {_SCRATCH_ALIGNMENT}, for each thread that calls {name}_range. */
#define {name.upper()}_SCRATCH_BYTES {program.scratch_bytes}

#ifdef __cplusplus
extern "C" {{
#endif

/* Run every program of the grid on the calling thread. Returns 0; {_INVALID} (EINVAL) where a size is
   negative, {_OUT_OF_MEMORY} (ENOMEM) where there is no memory for scratch: nothing has run then. */
int {name}({takes});

/* Run the programs first to last - 1, counted along x, then y, then z. Threads may run ranges of one grid at
   once, each with scratch of its own (NULL where {name.upper()}_SCRATCH_BYTES is 0). */
void {name}_range({takes}, int64_t first, int64_t last, void *scratch);

#ifdef __cplusplus
}}
#endif

#endif
"""
