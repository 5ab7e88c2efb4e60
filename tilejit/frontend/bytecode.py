"""Which names the bytecode of a function reads."""

from __future__ import annotations

import dis
import sys
from collections.abc import Hashable, Iterator
from types import CodeType

READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_CLOSURE"})
"""Instructions that read a name from outside a function, or that inner functions share."""
OUTER_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
"""Those that look it up among the globals."""
ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
CHANGES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"})
"""Instructions that change a name outside a function."""
_FILLING = frozenset({"add", "append", "clear", "extend", "insert", "pop", "setdefault", "update"})
_SETS_ITEM = ("STORE_SUBSCR", "DELETE_SUBSCR", "COPY")  # the last of ``name[key] += 1``
_PUSHES = ("LOAD_FAST", "LOAD_CONST", "LOAD_SMALL_INT")
# How far the number of a name is shifted: the bits below tell how the interpreter calls what it loads.
_NAME_SHIFTS = {"LOAD_GLOBAL": 1, "LOAD_ATTR": 1 if sys.version_info >= (3, 12) else 0}
_EXTENDED_ARG = dis.opmap["EXTENDED_ARG"]
_SILENT = (dis.opmap["CACHE"], _EXTENDED_ARG)  # room for the interpreter's notes, and parts of arguments


def names_read(code: CodeType) -> Iterator[tuple[str, str]]:
    """The instructions of a code object, each with the name that it reads, where it is one that matters.

    In an eighth of the time of ``dis.get_instructions``, which also finds lines, jumps and texts.
    """
    names, cells = code.co_names, _cells(code)
    for operation, argument in _instructions(code):
        if operation in ATTRIBUTES or operation in OUTER_READS:
            yield operation, names[argument >> _NAME_SHIFTS.get(operation, 0)]
        elif operation in READS:
            yield operation, cells[argument]
        elif operation in CHANGES:
            yield operation, (names if operation.endswith("GLOBAL") else cells)[argument]
        else:
            yield operation, ""


def _instructions(code: CodeType) -> Iterator[tuple[str, int]]:
    """The instructions of a code object with their whole arguments."""
    content, wide = code.co_code, 0
    for place in range(0, len(content), 2):
        number = content[place]
        argument = wide | content[place + 1]
        wide = argument << 8 if number == _EXTENDED_ARG else 0
        if number not in _SILENT:
            yield dis.opname[number], argument


def global_names(code: CodeType) -> set[str]:
    """The names that a code object and those inside it look up among the globals; not those of attributes."""
    found = {name for operation, name in names_read(code) if operation in OUTER_READS}
    for inner in inner_codes(code):
        found |= global_names(inner)
    return found


def all_names(code: CodeType) -> set[str]:
    """The names of globals and of attributes that a code object and those inside it use."""
    return set(code.co_names).union(*map(all_names, inner_codes(code)))


def changed_names(code: CodeType) -> set[str]:
    """The names outside a function that it sets, or whose lists and dicts it fills."""
    found, last, depth = set[str](), "", 0  # the name read last, and how many values were put above it
    for operation, name in names_read(code):
        if operation in CHANGES:
            found.add(name)
        if (operation in _SETS_ITEM and depth == 1) or (operation in ATTRIBUTES and name in _FILLING):
            found.add(last)
        if operation in OUTER_READS or operation in READS:
            last, depth = name, 0
        elif operation.startswith(_PUSHES):
            depth += operation.count("LOAD_")
        elif operation != "BUILD_TUPLE" or depth == 0:
            last, depth = "", 0
        else:
            depth = 1
    for inner in inner_codes(code):
        found |= changed_names(inner)
    return found - {""}


def constant_keys(code: CodeType) -> dict[str, set[Hashable]]:
    """The constant keys of ``name[key]``, for names that are read in no other way."""
    keys: dict[str, set[Hashable]] = {}
    others: set[str] = set()
    _collect_keys(code, keys, others)
    return {name: found for name, found in keys.items() if name not in others}


def _collect_keys(code: CodeType, keys: dict[str, set[Hashable]], others: set[str]) -> None:
    subscripted, key, has_key = "", None, False
    for (operation, name), (_, argument) in zip(names_read(code), _instructions(code), strict=True):
        if subscripted and not has_key and operation == "LOAD_CONST":
            key, has_key = code.co_consts[argument], True
            continue
        if subscripted and has_key and (operation, argument) == _SUBSCRIPT:
            keys.setdefault(subscripted, set()).add(key)
        elif subscripted:
            others.add(subscripted)
        is_read = operation in READS or operation in ATTRIBUTES
        subscripted, has_key = name if is_read else "", False
    if subscripted:
        others.add(subscripted)
    for inner in inner_codes(code):
        _collect_keys(inner, keys, others)


def inner_codes(code: CodeType) -> Iterator[CodeType]:
    """The code objects of functions, lambdas, comprehensions and classes inside a code object."""
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))


def _cells(code: CodeType) -> tuple[str, ...]:
    """The names of local variables, cells and free variables by the number that instructions give them."""
    inner = (name for name in code.co_cellvars if name not in code.co_varnames)
    return (*code.co_varnames, *inner, *code.co_freevars)


# How this Python spells the subscript of ``a[b]``, between the reads of both and the return.
_SUBSCRIPT = list(_instructions(compile("a[b]", "<subscript>", "eval")))[-2]
