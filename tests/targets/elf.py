"""What an object file in ELF form needs from outside."""

from __future__ import annotations

import struct

from llvmlite import binding

_SYMBOL = struct.Struct("<IBBHQQ")  # Elf64_Sym: name, info, other, section, value, size


def undefined_symbols(image: bytes) -> set[str]:
    """The names that a 64-bit little-endian object refers to and does not define.

    Source: Tool Interface Standard, ELF specification 1.2, symbol table; section 0 is "undefined".
    """
    sections = {
        section.name(): section.data() for section in binding.ObjectFileRef.from_data(image).sections()
    }
    names = sections[b".strtab"]
    found = set()
    for name, _, _, section, _, _ in _SYMBOL.iter_unpack(sections[b".symtab"]):
        if name and not section:
            found.add(names[name : names.index(b"\0", name)].decode())
    return found


def machine_of(image: bytes) -> str:
    """The architecture that an object is for.

    Source: System V Application Binary Interface, e_machine: 62 is x86-64, 183 AArch64.
    """
    return {62: "x86_64", 183: "aarch64"}[int.from_bytes(image[18:20], "little")]
