"""All that a kernel's code can depend on outside itself, as one digest: the manifest of what its trace reads.

From the functions' code it is known which globals and closed-over names they read, and which attributes of
them; these are looked up as the trace would, and what they hold goes into the digest by content: numbers,
texts, types, containers of them, the text and code of functions, and all that those read in turn. What lies
in tilejit itself counts by name, since its sources have a digest of their own. What has no content that can
be told - open files, functions written in C elsewhere, objects of unknown classes - has no digest, and a
kernel that reads it is not kept on disk.

Two processes, or two moments, with equal digests trace to the same program.
"""

from __future__ import annotations

import builtins
import cmath
import dataclasses
import enum
import functools
import hashlib
import itertools
import math
import operator
import textwrap
from collections.abc import Iterable
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    ModuleType,
)

import numpy as np

from tilejit.diagnostics import CompileError
from tilejit.frontend.bytecode import outside_reads
from tilejit.frontend.constexpr import Constexpr, unwrap
from tilejit.frontend.outside import OutsideValues
from tilejit.frontend.sameness import held_by
from tilejit.frontend.signature import KernelSource
from tilejit.frontend.traced_function import TracedFunction
from tilejit.ir.types import DType, PointerType
from tilejit.runtime.code_notes import CodeNotes

_MAX_ARRAY_BYTES = 1 << 20
_ATTACHED = frozenset({"src", "__wrapped__"})  # attributes of functions whose text is not that of their code
_REFUSED = {
    "IMPORT_NAME": "imports a module while it runs",
    "STORE_GLOBAL": "changes a global",
    "DELETE_GLOBAL": "changes a global",
    "LOAD_FROM_DICT_OR_GLOBALS": "reads names of a class body",
    "LOAD_FROM_DICT_OR_DEREF": "reads names of a class body",
}
# Builtins whose result depends on their arguments alone. Those that reach what no digest sees (globals, eval,
# open, ...) or differ between processes (id, hash) are not among them.
_PURE_BUILTINS = frozenset(
    {
        "abs", "all", "any", "bin", "bool", "bytes", "callable", "chr", "complex", "dict", "divmod",
        "enumerate", "filter", "float", "format", "frozenset", "getattr", "hasattr", "hex", "int",
        "isinstance", "issubclass", "iter", "len", "list", "map", "max", "min", "next", "object", "ord",
        "pow", "print", "range", "repr", "reversed", "round", "set", "slice", "sorted", "str", "sum", "super",
        "tuple", "type", "zip",
    }
)  # fmt: skip
# Tuples, since to make a union of types at each call takes longer than the rest of it.
_FUNCTIONS = (FunctionType, TracedFunction)
_BUILTINS = (BuiltinFunctionType, np.ufunc)
_TYPES = (DType, PointerType)
_ARRAYS = (np.ndarray, np.generic)
_WITH_CONTENT = (
    bool, int, float, str, bytes, tuple, list, dict, set, frozenset, *_ARRAYS, *_TYPES, enum.Enum,
    BuiltinFunctionType,
)  # fmt: skip
_PUT = (*_FUNCTIONS, bool, int, float, str, tuple, list, dict)
_PLAIN_KINDS = frozenset((type(None), type(Ellipsis), bool, int, str, complex))
_PURE_MODULES: tuple[ModuleType, ...] = (math, cmath, operator, itertools)
_CLASS_FURNITURE = frozenset(
    {
        "__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__firstlineno__",
        "__static_attributes__", "__dataclass_fields__", "__dataclass_params__",
        "__orig_bases__",
    }
)  # fmt: skip


class UndigestableError(Exception):
    """Something outside a kernel whose content cannot be told; the text names it."""


def digest_outside(
    source: KernelSource,
    constants: object = (),
    noted: OutsideValues | None = None,
    notes: CodeNotes | None = None,
) -> bytes:
    """The digest of a kernel's function, of what it reads, and of the constants that it is compiled for.

    ``noted`` gets the globals and closed-over constants among it, as a trace would note them; ``notes`` tell
    of code, and get what they did not know.
    Raises: UndigestableError.
    """
    digester = _Digester(OutsideValues() if noted is None else noted, CodeNotes() if notes is None else notes)
    digester.source(source)
    digester.value(constants, "a constant argument")
    return digester.digest()


class _Digester:
    """Lists values, each with its kind; functions and classes met before as their number."""

    def __init__(self, noted: OutsideValues, notes: CodeNotes) -> None:
        self._noted = noted
        self._notes = notes
        self._parts: list[str] = []
        self._seen: dict[int, int] = {}
        self._kept: list[object] = []  # an object that is gone could give its id to another
        self._open: set[int] = set()

    def digest(self) -> bytes:
        """The digest of all that was listed."""
        return hashlib.sha256("".join(self._parts).encode("utf-8", "surrogatepass")).digest()

    def add(self, kind: str, content: str | bytes = "") -> None:
        text = content if isinstance(content, str) else content.hex()
        self._parts.append(f"{kind} {len(text)}:{text}")

    def is_new(self, value: object) -> bool:
        """False, with a reference added, for an object that was met before."""
        number = self._seen.setdefault(id(value), len(self._seen))
        if number < len(self._kept):
            self.add("again", str(number))
            return False
        self._kept.append(value)
        return True

    def source(self, source: KernelSource) -> None:
        """A kernel or helper: its text, which is what a trace runs, and its function."""
        if self.is_new(source):
            self.add("text", source.text)
            self.add("parameters", repr([(p.name, p.is_constexpr, p.is_const) for p in source.parameters]))
            self.function(source.function, source.text)

    def function(self, function: FunctionType, text: str | None) -> None:
        """A function's code and defaults, and what its free names hold; ``text`` is what a trace inlines."""
        if not self.is_new(function):
            return
        self.add("function", function.__name__)
        self.add("code", self._notes.digest_of(function.__code__, _digest_of_code))
        self.value(function.__defaults__, f"a default of {function.__name__}")
        self.value(function.__kwdefaults__, f"a default of {function.__name__}")
        codes = [function.__code__]
        if text is not None and not _ATTACHED.isdisjoint(vars(function)):
            codes += _codes_in_text(text, function.__name__)
        self._free_names(function, [c for code in codes for c in _chains(code, function.__name__)])
        for code in codes:
            self._noted.note_reads(function, code)

    def _free_names(self, function: FunctionType, chains: Iterable[tuple[str, ...]]) -> None:
        closure = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        for chain in chains:
            name = chain[0]
            self.add("name", ".".join(chain))
            if name in closure and held_by(closure[name]) is closure[name]:
                self.add("empty")
            elif name in closure:
                self.chain(held_by(closure[name]), chain)
            elif name in function.__globals__:
                self.chain(function.__globals__[name], chain)
            elif name in _PURE_BUILTINS or _is_exception(name):
                self.add("builtin")
            elif name in vars(builtins):
                raise UndigestableError(f"{function.__name__} calls {name}()")
            else:
                self.add("unknown")

    def code(self, code: CodeType) -> None:
        """What a code object does, but not where its text lies."""
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        self.add("code", repr((code.co_name, counts, names)))
        self.add("bytes", code.co_code)
        self.add("handlers", code.co_exceptiontable)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self.code(constant)
            else:
                self.value(constant, "a constant")

    def chain(self, value: object, chain: tuple[str, ...]) -> None:
        """What ``a.b.c`` reads, ``value`` being what ``a`` holds; modules are only on the way there."""
        path = chain[0]
        for number, attribute in enumerate(chain[1:], 1):
            if isinstance(value, _FUNCTIONS) and not _is_ours(value):
                self.value(value, path)
            elif isinstance(value, ModuleType) and _is_our_module(value.__name__):
                value = _put_by_others(value, chain[number:])
                break
            elif _is_ours(value) or (not isinstance(value, ModuleType) and _has_content(unwrap(value))):
                break
            path = f"{path}.{attribute}"
            try:
                value = getattr(value, attribute)
            except AttributeError:
                self.add("missing", path)
                return
        self.value(value, path)

    def value(self, value: object, path: str) -> None:
        """Anything by its content. Raises: UndigestableError naming ``path``, where it was found."""
        if type(value) in _PLAIN_KINDS:
            self.add(type(value).__name__, repr(value))
            return
        value = unwrap(value) if isinstance(value, Constexpr) else value
        if isinstance(value, ModuleType):
            if not _is_our_module(value.__name__):
                raise UndigestableError(f"{path} is a module that is used as a value")
            self.add("ours", value.__name__)
        elif isinstance(value, TracedFunction):
            self.source(value.source)
        elif _is_ours(value):
            self.add("ours", f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}")
        elif isinstance(value, FunctionType):
            self._plain_function(value, path)
        elif isinstance(value, enum.Enum):
            self.value(type(value), path)
            self.add("member", value.name)
        elif isinstance(value, type):
            self._class(value, path)
        elif isinstance(value, _BUILTINS):
            self._builtin(value, path)
        elif not self._constant(value) and not self._container(value, path):
            self._instance(value, path)

    def _constant(self, value: object) -> bool:
        """Add a number, text or type; False for anything else."""
        if type(value) in _PLAIN_KINDS:
            self.add(type(value).__name__, repr(value))
        elif isinstance(value, float) and type(value) is float:
            self.add("float", value.hex())
        elif type(value) is bytes:
            self.add("bytes", value)
        elif isinstance(value, _TYPES):
            self.add("type", str(value))
        elif isinstance(value, range | slice):
            self.add("range", repr(value))
        elif isinstance(value, np.dtype):
            self.add("dtype", f"{value.str} {value}")
        else:
            return False
        return True

    def _container(self, value: object, path: str) -> bool:
        """Add a container and its items; False for anything else."""
        kind = type(value)
        if isinstance(value, _ARRAYS):
            self._array(np.asarray(value), path)
        elif kind in (tuple, list) or (isinstance(value, tuple) and "_fields" in vars(kind)):
            assert isinstance(value, tuple | list)
            self.add(kind.__name__, str(len(value)))
            if kind not in (tuple, list):
                self.value(kind, path)
            self._items(value, value, path)
        elif isinstance(value, dict | MappingProxyType) and kind in (dict, MappingProxyType):
            self.add("dict", str(len(value)))
            self._items(value, itertools.chain.from_iterable(value.items()), path)
        elif isinstance(value, set | frozenset) and kind in (set, frozenset):
            self.add("set", b"".join(sorted(_digest_alone(item, path) for item in value)))
        else:
            return False
        return True

    def _items(self, container: object, items: Iterable[object], path: str) -> None:
        """The items one by one, of a container that does not hold itself."""
        if id(container) in self._open:
            raise UndigestableError(f"{path} contains itself")
        self._open.add(id(container))
        for item in items:
            self.value(item, path)
        self._open.discard(id(container))

    def _array(self, array: np.ndarray, path: str) -> None:
        if array.dtype.hasobject or array.nbytes > _MAX_ARRAY_BYTES:
            raise UndigestableError(f"{path} is a large array")
        self.add("array", f"{array.dtype} {array.shape}")
        self.add("elements", array.tobytes())

    def _plain_function(self, function: FunctionType, path: str) -> None:
        """An undecorated function: a trace may run it, or inline its text."""
        if id(function) in self._seen:
            self.is_new(function)
            return
        text = None
        try:
            text = _text_of(function, function.__code__)
            self.add("text", text)
        except CompileError:  # no text to inline: it runs as it is
            self.add("no text")
        except TypeError:
            raise UndigestableError(f"{path} is a function that cannot be read") from None
        self.function(function, text)

    def _builtin(self, value: object, path: str) -> None:
        name = str(getattr(value, "__name__", ""))
        if isinstance(value, np.ufunc) and vars(np).get(name) is value:
            self.add("ufunc", name)
            return
        for module in _PURE_MODULES:
            if vars(module).get(name) is value:
                self.add("builtin", f"{module.__name__}.{name}")
                return
        if name in _PURE_BUILTINS and vars(builtins).get(name) is value:
            self.add("builtin", name)
            return
        raise UndigestableError(f"{path} is a function of another library")

    def _class(self, value: type, path: str) -> None:
        if vars(builtins).get(value.__name__) is value or issubclass(value, np.generic):
            self.add("class", value.__name__)
            return
        if vars(itertools).get(value.__name__) is value:
            self.add("class", f"itertools.{value.__name__}")
            return
        if type(value) not in (type, enum.EnumType):
            raise UndigestableError(f"{path} is a class with a metaclass")
        if not self.is_new(value):
            return
        self.add("class", value.__qualname__)
        for base in value.__bases__:
            if base not in (object, enum.Enum, enum.IntEnum):
                self.value(base, path)
        if isinstance(value, enum.EnumType):
            self.value([(name, member.value) for name, member in vars(value)["_member_map_"].items()], path)
        for name, item in vars(value).items():
            is_table = isinstance(value, enum.EnumType) and not _is_method(item)
            if name not in _CLASS_FURNITURE and not is_table and not _is_made_by_library(item):
                self.add("attribute", name)
                self._class_item(item, f"{path}.{name}")

    def _class_item(self, item: object, path: str) -> None:
        if isinstance(item, GetSetDescriptorType | MemberDescriptorType):
            self.add("slot")
        elif isinstance(item, staticmethod | classmethod):
            self.value(item.__func__, path)
        elif isinstance(item, property):
            for part in (item.fget, item.fset, item.fdel):
                self.value(part, path)
        elif isinstance(item, functools.cached_property):
            self.value(item.func, path)
        elif type(item).__name__ == "_tuplegetter":  # of a named tuple; its place is the order of the fields
            self.add("field")
        else:
            self.value(item, path)

    def _instance(self, value: object, path: str) -> None:
        """An instance of a frozen dataclass; others may hold what does not show."""
        kind = type(value)
        if not dataclasses.is_dataclass(kind) or not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            raise UndigestableError(f"{path} is an object of type {kind.__name__}")
        self.value(kind, path)
        fields = [field.name for field in dataclasses.fields(kind)]
        self.add("instance", " ".join(fields))
        self._items(value, [getattr(value, name) for name in fields], path)


def _digest_alone(value: object, path: str) -> bytes:
    digester = _Digester(OutsideValues(), CodeNotes())
    digester.value(value, path)
    return digester.digest()


def _digest_of_code(code: CodeType) -> bytes:
    digester = _Digester(OutsideValues(), CodeNotes())
    digester.code(code)
    return digester.digest()


def _has_content(value: object) -> bool:
    """True for values that are digested whole, whichever of their attributes is read."""
    return isinstance(value, _WITH_CONTENT)


def _is_ours(value: object) -> bool:
    """True for functions and classes of tilejit, told by where their globals lie and not by what they say."""
    if isinstance(value, FunctionType):
        return _is_our_module(str(value.__globals__.get("__name__", "")))
    return isinstance(value, type) and not isinstance(value, enum.EnumType) and _is_our_class(value)


def _put_by_others(module: ModuleType, attributes: tuple[str, ...]) -> object:
    """What others put into a module of tilejit under these names; the module itself where they did not."""
    value: object = module
    for attribute in attributes:
        if not isinstance(value, ModuleType) or not _is_our_module(value.__name__):
            break
        value = vars(value).get(attribute)  # what was not asked for yet is not loaded, and is ours
    if isinstance(value, type):
        return module if _is_our_module(value.__module__) else value
    return value if isinstance(value, _PUT) and not _is_ours(value) else module


def _is_our_class(value: type) -> bool:
    return _is_our_module(value.__module__) and issubclass(value, DType | PointerType | Constexpr)


def _is_our_module(name: str) -> bool:
    return name == "tilejit" or name.startswith("tilejit.")


def _is_method(item: object) -> bool:
    return isinstance(item, FunctionType | property | staticmethod | classmethod)


def _is_made_by_library(item: object) -> bool:
    """True for methods that ``enum`` and ``collections`` put into classes: the rest tells all of them."""
    function = item.__func__ if isinstance(item, staticmethod | classmethod) else item
    if not isinstance(function, FunctionType):
        return False
    home = str(function.__globals__.get("__name__", ""))
    return home in ("enum", "collections") or home.startswith("namedtuple_")


def _is_exception(name: str) -> bool:
    value = vars(builtins).get(name)
    return isinstance(value, type) and issubclass(value, BaseException)


@functools.lru_cache(maxsize=512)
def _text_of(function: FunctionType, code: CodeType) -> str:
    """The text of a function as long as it has this code."""
    del code
    return KernelSource.of(function).text


def _chains(code: CodeType, name: str) -> tuple[tuple[str, ...], ...]:
    """The free names that a function reads, each with the attributes read of it, in order.

    Raises: UndigestableError where the code reads or changes what names do not show.
    """
    reads = outside_reads(code)
    if reads.hiding:
        raise UndigestableError(f"{name} {_REFUSED[reads.hiding]}")
    return reads.chains


@functools.lru_cache(maxsize=512)
def _codes_in_text(text: str, name: str) -> tuple[CodeType, ...]:
    """The code of the functions in a text."""
    try:
        module = compile(textwrap.dedent(text), "<text>", "exec", dont_inherit=True)
    except SyntaxError:
        raise UndigestableError(f"{name} has a text that cannot be read") from None
    return tuple(constant for constant in module.co_consts if isinstance(constant, CodeType))
