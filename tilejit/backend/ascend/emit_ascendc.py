"""Machine level to AscendC text.

Before: a MachineKernel with placed buffers and all flags, as the verifier accepts it. After: a kernel file
for bisheng and the header of its scalar arguments, which host code shares. The text is in the static tensor
style: buffers are LocalTensors at fixed addresses, all synchronisation is written out, nothing is left to
TPipe. It depends on the kernel and the form of its entry only.

Source: CANN documentation of static tensor programming and of kernel entries (V220).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from tilejit.backend.ascend.emit_context import Emission, cpp_type, is_taken, variable_type
from tilejit.backend.ascend.emit_function import FunctionWriter
from tilejit.backend.ascend.emit_helpers import helper_text
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Argument, ArgumentSource, Function, Op, Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.types import BF16, FP16, FP32, INT1, UINT8, DType, PointerType
from tilejit.records import dataclass
from tilejit.target.spaces import Core, Space


class EntryForm(Enum):
    """How a kernel says on which cores it runs."""

    CANN9 = "cann9"  # attributes: __vector__, __cube__, __mix__(cube, vector)
    CANN8 = "cann8"  # KERNEL_TASK_TYPE_DEFAULT; also accepted by CANN 9

    __hash__ = object.__hash__


@dataclass(frozen=True)
class KernelParameter:
    """One value that a launch passes to the kernel.

    ``name`` is unique among the parameters and a C name. A pointer goes as an argument of its own, a scalar
    as a field of the tiling struct, in ``field_type``: 16-bit floats as fp32, bools as uint8.
    """

    name: str
    argument: Argument
    element: DType | PointerType

    @property
    def is_pointer(self) -> bool:
        return isinstance(self.element, PointerType)

    @property
    def field_type(self) -> DType:
        """The element type of the field in the tiling struct."""
        if not isinstance(self.element, DType):
            raise InternalError(f"parameter {self.name} is a pointer, not a field")
        return {FP16: FP32, BF16: FP32, INT1: UINT8}.get(self.element, self.element)


@dataclass(frozen=True)
class AscendSource:
    """An emitted kernel.

    ``kernel`` is the text of ``file_name``, ``tiling`` of ``tiling_name``, which the kernel includes.
    ``parameters`` are in the order of the kernel's arguments and of the struct's fields.
    Units: ``workspace_bytes`` for each block.
    """

    name: str
    kernel: str
    tiling: str
    parameters: tuple[KernelParameter, ...]
    cores: frozenset[Core]
    workspace_bytes: int

    @property
    def file_name(self) -> str:
        return f"{self.name}.asc"

    @property
    def tiling_name(self) -> str:
        return f"{self.name}_tiling.h"

    @property
    def struct_name(self) -> str:
        return struct_name(self.name)


def emit_ascendc(kernel: MachineKernel, form: EntryForm = EntryForm.CANN9) -> AscendSource:
    """Return the AscendC text of ``kernel``.

    Raises: CompileError for scalar ops and types that V220 lacks, InternalError where the kernel is not at
    the machine level.
    """
    functions = [kernel.functions[core] for core in Core if core in kernel.functions]
    if not functions:
        raise InternalError(f"kernel {kernel.name} has no function")
    # A plain name may be one that C or the compiler's vector intrinsics have: exp, vadd.
    name = kernel.name if kernel.name.endswith("_kernel") else f"{kernel.name}_kernel"
    parameters = _parameters(kernel, functions[0])
    for function in functions[1:]:
        if _parameters(kernel, function) != parameters:
            raise InternalError(f"the functions of kernel {kernel.name} take different arguments")
    helpers: set[str] = set()
    bodies = {
        core: _body(kernel, kernel.functions[core], core, parameters, helpers)
        for core in Core
        if core in kernel.functions
    }
    text = _kernel_text(name, parameters, bodies, helpers, _entry(kernel), form)
    cores = frozenset(kernel.functions)
    return AscendSource(name, text, _tiling_text(name, parameters), parameters, cores, kernel.workspace_bytes)


def struct_name(name: str) -> str:
    """The name of a kernel's tiling struct."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Tiling"


def _parameters(kernel: MachineKernel, function: Function) -> tuple[KernelParameter, ...]:
    """What the kernel takes: its functions' arguments, and a workspace where they do not mention theirs."""
    taken: set[str] = set()
    parameters: list[KernelParameter] = []
    described = [
        (a, v.type.element) for a, v in zip(function.arguments, function.body.arguments, strict=True)
    ]
    if kernel.workspace_bytes and not any(a.source is ArgumentSource.WORKSPACE for a, _ in described):
        described.append((Argument("workspace", ArgumentSource.WORKSPACE), PointerType(UINT8)))
    for argument, element in described:
        name = base = _parameter_name(argument)
        number = 0
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        parameters.append(KernelParameter(name, argument, element))
    return tuple(parameters)


def _parameter_name(argument: Argument) -> str:
    base = (
        "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in argument.name) or "argument"
    )
    if argument.source is ArgumentSource.GRID:
        return f"grid_{argument.dimension}"
    if argument.source in (ArgumentSource.SHAPE, ArgumentSource.STRIDE):
        base = f"{base}_{argument.source.value}_{argument.dimension}"
    return f"{base}_" if is_taken(base) or base in _LAUNCH_NAMES or base[0].isdigit() else base


# What the launchers of a package call their own arguments and modules.
_LAUNCH_NAMES = frozenset({"blocks", "stream", "launch", "ctypes", "Path", "call"})


def _body(
    kernel: MachineKernel,
    function: Function,
    core: Core,
    parameters: Sequence[KernelParameter],
    helpers: set[str],
) -> list[str]:
    """The lines of a core's function, from the values of its arguments to its last instruction."""
    emission = Emission(
        core,
        kernel.is_mixed,
        kernel.workspace_bytes,
        next((_passed_name(p) for p in parameters if p.argument.source is ArgumentSource.WORKSPACE), ""),
        _ub_positions(function),
        helpers=helpers,
    )
    for parameter in parameters:
        emission.new_name(_passed_name(parameter))
    writer = FunctionWriter(emission)
    for parameter, value in zip(parameters, function.body.arguments, strict=False):
        if value.use_count:
            writer.write(_argument_line(emission, parameter, value))
    order = _product_order(function)
    if order:
        writer.write(f"{order};")
    writer.body(function)
    return writer.lines


def _product_order(function: Function) -> str:
    """In which order the cube must finish fractals so that fixpipes with a unit flag can follow it.

    Source: CANN documentation of UnitFlag: by rows for fixpipes that make rows, else by columns.
    """
    followers = [
        op for op in function.walk() if op.name in ("fixpipe", "fixpipe_l1") and op.attributes["unit_flag"]
    ]
    names = {op.name for op in followers}
    if len(names) > 1:
        raise InternalError("unit flags on fixpipes to GM and to L1 in one kernel", followers[0].location)
    if not names:
        return ""
    return "AscendC::SetMMRowMajor()" if "fixpipe" in names else "AscendC::SetMMColumnMajor()"


def _passed_name(parameter: KernelParameter) -> str:
    return f"{parameter.name}_address" if parameter.is_pointer else "tiling"


def _argument_line(emission: Emission, parameter: KernelParameter, value: Value) -> str:
    element = parameter.element
    name = emission.name_value(value) if value.name else emission.new_name(parameter.name)
    emission.names[value] = name
    if isinstance(element, PointerType):
        kind = variable_type(element)
        return f"{kind}const {name} = reinterpret_cast<{kind}>({_passed_name(parameter)});"
    given = f"tiling.{parameter.name}"
    text = (
        f"{given} != 0"
        if element == INT1
        else emission.from_float(element, given)
        if element.is_floating()
        else given
    )
    return f"const {cpp_type(element)} {name} = {text};"


def _ub_positions(function: Function) -> dict[Op, str]:
    """The logical position of each UB buffer: filled by DMA, only drained by DMA, or neither.

    All three are the same memory; the names tell a reader, and CANN's documentation asks for them.
    """
    positions: dict[Op, str] = {}
    for op in function.walk():
        if op.name == "buffer" and op.attributes["space"] is Space.UB:
            users = list(_instructions_on(op.result))
            filled = any(user.name == "copy_in" for user in users)
            drained = any(user.name == "copy_out" for user in users)
            positions[op] = "VECIN" if filled else "VECOUT" if drained else "VECCALC"
    return positions


def _instructions_on(value: Value) -> list[Op]:
    """The ops that use a pointer or one derived from it, loops' carried pointers aside."""
    found: list[Op] = []
    for user in value.users:
        if user.name in ("slot", "addptr", "reinterpret", "select"):
            found += _instructions_on(user.result)
        else:
            found.append(user)
    return found


@dataclass(frozen=True)
class _Entry:
    """The marks of a kernel's entry in both forms."""

    attribute: str
    task_type: str


def _entry(kernel: MachineKernel) -> _Entry:
    """Cross-core flags need the scheduler of mixed kernels, so a kernel of one kind that has any is mixed."""
    crosses = any(
        op.name in ("cross_set", "cross_wait")
        for function in kernel.functions.values()
        for op in function.walk()
    )
    if kernel.is_mixed:
        return _Entry("__mix__(1, 2)", "KERNEL_TYPE_MIX_AIC_1_2")
    if Core.AIV in kernel.functions:
        return (
            _Entry("__mix__(0, 1)", "KERNEL_TYPE_MIX_AIV_1_0")
            if crosses
            else _Entry("__vector__", "KERNEL_TYPE_AIV_ONLY")
        )
    return (
        _Entry("__mix__(1, 0)", "KERNEL_TYPE_MIX_AIC_1_0")
        if crosses
        else _Entry("__cube__", "KERNEL_TYPE_AIC_ONLY")
    )


_GUARDS: Mapping[Core, str] = {Core.AIC: "ASCEND_IS_AIC", Core.AIV: "ASCEND_IS_AIV"}


def _kernel_text(
    name: str,
    parameters: Sequence[KernelParameter],
    bodies: Mapping[Core, list[str]],
    helpers: set[str],
    entry: _Entry,
    form: EntryForm,
) -> str:
    passed = [f"GM_ADDR {_passed_name(p)}" for p in parameters if p.is_pointer]
    used = [_passed_name(p) for p in parameters if p.is_pointer]
    if any(not p.is_pointer for p in parameters):
        passed.append(f"{struct_name(name)} tiling")
        used.append("tiling")
    takes, gives = ", ".join(passed), ", ".join(used)
    pieces = [
        f'#include "kernel_operator.h"\n#include "{name}_tiling.h"\n',
        helper_text(helpers),
    ]
    main = ["    AscendC::InitSocState();"]
    if form is EntryForm.CANN8:
        main.insert(0, f"    KERNEL_TASK_TYPE_DEFAULT({entry.task_type});")
    for core, lines in bodies.items():
        if len(bodies) == 1:
            main += lines
            continue
        function = f"{name}_{core.value}"
        pieces.append(f"__aicore__ inline void {function}({takes})\n{{\n" + "\n".join(lines) + "\n}\n")
        main += [f"    if {_GUARDS[core]} {{", f"        {function}({gives});", "    }"]
    main.append("    AscendC::PipeBarrier<PIPE_ALL>();")
    attribute = f"{entry.attribute} " if form is EntryForm.CANN9 else ""
    head = f'extern "C" __global__ {attribute}__aicore__ void {name}({takes})'
    pieces.append(head + "\n{\n" + "\n".join(main) + "\n}\n")
    return "\n".join(piece for piece in pieces if piece)


def _tiling_text(name: str, parameters: Sequence[KernelParameter]) -> str:
    fields = [f"    {cpp_type(p.field_type)} {p.name};" for p in parameters if not p.is_pointer]
    guard = f"{name.upper()}_TILING_H"
    body = "\n".join([f"struct {struct_name(name)} {{", *fields, "};"]) if fields else ""
    return f"#ifndef {guard}\n#define {guard}\n\n#include <cstdint>\n\n{body}\n\n#endif // {guard}\n"
