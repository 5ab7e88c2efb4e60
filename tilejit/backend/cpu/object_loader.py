"""Puts an object file into the process without LLVM: an ELF object for x86-64, as LLVM emits it.

The sections that a program needs are laid out in one mapping: code and constants first, which become
executable and read-only, then data, and a table of the addresses of what the process offers. References
within the object are relative; those to the process go through the table. What this loader does not know -
another format, processor or kind of reference - it leaves to LLVM's linker, and says so by returning None.

Source: System V Application Binary Interface, AMD64 Architecture Processor Supplement, 4.4 Relocation; ELF-64
Object File Format, version 1.5.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
from dataclasses import field
from functools import cache

from tilejit.diagnostics import InternalError
from tilejit.records import dataclass

_PAGE_BYTES = mmap.PAGESIZE
_SLOT_BYTES = 8

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_ELF64_LITTLE = b"\x7fELF\x02\x01\x01"
_RELOCATABLE, _X86_64 = 1, 62
_SYMBOL_TABLE, _RELOCATIONS, _NO_BITS = 2, 4, 8
_WRITABLE, _ALLOCATED, _THREAD_LOCAL = 1, 2, 0x400
_GLOBAL = 1
_R_64, _R_PC32, _R_PLT32, _R_GOTPCREL, _R_GOTPCRELX, _R_REX_GOTPCRELX = 1, 2, 4, 9, 41, 42
_THROUGH_TABLE = (_R_GOTPCREL, _R_GOTPCRELX, _R_REX_GOTPCRELX)
_UNWINDING = ".eh_frame"  # nothing unwinds through this code


class _UnknownFormError(Exception):
    """An object that this loader does not know."""


@dataclass(frozen=True)
class _Section:
    name: str
    kind: int
    flags: int
    offset: int
    size_bytes: int
    link: int
    info: int
    alignment: int

    @property
    def is_loaded(self) -> bool:
        return bool(self.flags & _ALLOCATED) and self.name != _UNWINDING

    @property
    def is_writable(self) -> bool:
        return bool(self.flags & _WRITABLE)


@dataclass
class _Layout:
    """Where things lie in the mapping. Units: bytes from its start."""

    sections: dict[int, int] = field(default_factory=dict)
    stubs: dict[str, int] = field(default_factory=dict)  # of functions of the process
    slots: dict[str, int] = field(default_factory=dict)  # of addresses of the process and of the object
    code_bytes: int = 0
    size_bytes: int = 0


class LoadedObject:
    """Code in the process; it stays there as long as this object lives."""

    def __init__(self, memory: mmap.mmap, address: int, symbols: dict[str, int]) -> None:
        self._memory = memory
        self._address = address
        self._symbols = symbols

    def __getitem__(self, symbol: str) -> int:
        """The address of an exported symbol."""
        return self._address + self._symbols[symbol]


def load_object(image: bytes) -> LoadedObject | None:
    """Load an object file; None where it is of a form that this loader does not know.

    Raises: InternalError where it needs what the process does not offer.
    """
    if sys.platform != "linux" or image[: len(_ELF64_LITTLE)] != _ELF64_LITTLE:
        return None
    try:
        return _Loader(image).load()
    except _UnknownFormError:
        return None
    except (struct.error, LookupError, ValueError, OverflowError, StopIteration, OSError) as error:
        raise InternalError(f"an object file is damaged: {error}") from None


class _Loader:
    def __init__(self, image: bytes) -> None:
        self.image = image
        header = _HEADER.unpack_from(image)
        if header[1] != _RELOCATABLE or header[2] != _X86_64:
            raise _UnknownFormError
        start, count, names_at = header[6], header[12], header[13]
        raw = [_SECTION.unpack_from(image, start + n * _SECTION.size) for n in range(count)]
        names = raw[names_at][4]
        self.sections = [
            _Section(self._text(names + r[0]), r[1], r[2], r[4], r[5], r[6], r[7], max(1, r[8])) for r in raw
        ]
        table = next(section for section in self.sections if section.kind == _SYMBOL_TABLE)
        strings = self.sections[table.link].offset
        content = image[table.offset : table.offset + table.size_bytes]
        self.symbols = [(self._text(strings + s[0]), *s[1:]) for s in _SYMBOL.iter_unpack(content)]
        self.layout = _Layout()

    def load(self) -> LoadedObject:
        relocations = self._relocations()
        self._lay_out(relocations)
        layout = self.layout
        memory = mmap.mmap(-1, layout.size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for number, place in layout.sections.items():
            section = self.sections[number]
            if section.kind != _NO_BITS:
                content = self.image[section.offset : section.offset + section.size_bytes]
                memory[place : place + section.size_bytes] = content
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self._fill_table(memory, address)
        for section_number, entries in relocations:
            for relocation in entries:
                self._relocate(memory, address, layout.sections[section_number], relocation)
        _make_executable(address, layout.code_bytes)
        exported = {
            name: layout.sections[section] + value
            for name, info, _, section, value, _ in self.symbols
            if info >> 4 == _GLOBAL and section in layout.sections
        }
        return LoadedObject(memory, address, exported)

    def _text(self, offset: int) -> str:
        return self.image[offset : self.image.index(b"\0", offset)].decode()

    def _relocations(self) -> list[tuple[int, list[tuple[int, int, int]]]]:
        """For each section that is loaded: where in it, kind and symbol in one number, addend."""
        found = []
        for section in self.sections:
            if section.kind == _RELOCATIONS and self.sections[section.info].is_loaded:
                content = self.image[section.offset : section.offset + section.size_bytes]
                found.append((section.info, list(_RELOCATION.iter_unpack(content))))
        return found

    def _lay_out(self, relocations: list[tuple[int, list[tuple[int, int, int]]]]) -> None:
        layout, at = self.layout, 0
        if any(section.flags & _THREAD_LOCAL for section in self.sections if section.is_loaded):
            raise _UnknownFormError
        at = self._place_sections(at, is_writable=False)
        called: dict[str, None] = {}
        tabled: dict[str, None] = {}
        for _, entries in relocations:
            for _, info, _ in entries:
                kind, (name, _, _, section, _, _) = info & 0xFFFFFFFF, self.symbols[info >> 32]
                if kind in _THROUGH_TABLE:
                    tabled[name] = None
                elif section == 0 and kind == _R_PLT32:
                    called[name] = None
                elif not self._is_in_object(section) or kind not in (_R_64, _R_PC32, _R_PLT32):
                    raise _UnknownFormError
        for name in called:
            layout.stubs[name] = at
            at += _SLOT_BYTES
        layout.code_bytes = at = _aligned(at, _PAGE_BYTES)
        for name in {**called, **tabled}:
            layout.slots[name] = at
            at += _SLOT_BYTES
        layout.size_bytes = max(_PAGE_BYTES, self._place_sections(at, is_writable=True))

    def _is_in_object(self, section: int) -> bool:
        """True for a section that is loaded; other numbers stand for symbols of other kinds."""
        return 0 < section < len(self.sections) and self.sections[section].is_loaded

    def _place_sections(self, at: int, *, is_writable: bool) -> int:
        for number, section in enumerate(self.sections):
            if section.is_loaded and section.is_writable is is_writable:
                self.layout.sections[number] = at = _aligned(at, section.alignment)
                at += section.size_bytes
        return at

    def _fill_table(self, memory: mmap.mmap, address: int) -> None:
        own = {name: (section, value) for name, _, _, section, value, _ in self.symbols if section}
        missing = []
        for name, slot in self.layout.slots.items():
            if name in own:
                section, value = own[name]
                target: int | None = address + self.layout.sections[section] + value
            else:
                target = address_in_process(name)
            if target is None:
                missing.append(name)
            else:
                memory[slot : slot + _SLOT_BYTES] = target.to_bytes(_SLOT_BYTES, "little")
        if missing:
            raise InternalError(
                f"generated code does not link: no symbol {', '.join(missing)} in this process"
            )
        for name, stub in self.layout.stubs.items():
            distance = self.layout.slots[name] - (stub + 6)
            memory[stub : stub + 6] = b"\xff\x25" + distance.to_bytes(4, "little", signed=True)  # jmp *slot

    def _relocate(
        self, memory: mmap.mmap, address: int, start: int, relocation: tuple[int, int, int]
    ) -> None:
        offset, info, addend = relocation
        kind, (name, _, _, section, value, _) = info & 0xFFFFFFFF, self.symbols[info >> 32]
        place = start + offset
        if kind in _THROUGH_TABLE:
            target = self.layout.slots[name]
        elif section == 0:
            target = self.layout.stubs[name]
        else:
            target = self.layout.sections[section] + value
        if kind == _R_64:
            memory[place : place + 8] = (address + target + addend).to_bytes(8, "little")
        else:
            memory[place : place + 4] = (target + addend - place).to_bytes(4, "little", signed=True)


def address_in_process(symbol: str) -> int | None:
    """The address of a function or variable that the process offers; None where it has none."""
    try:
        return ctypes.addressof(ctypes.c_char.in_dll(_process(), symbol))
    except ValueError:
        return None


@cache
def _process() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _make_executable(address: int, size_bytes: int) -> None:
    if size_bytes and _process().mprotect(
        ctypes.c_void_p(address), ctypes.c_size_t(size_bytes), mmap.PROT_READ | mmap.PROT_EXEC
    ):
        raise InternalError("the system does not let this process make memory executable")


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
