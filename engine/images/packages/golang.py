"""Go's modules: the build information that the linker puts into a program (Go's debug/buildinfo)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from engine.model.packages import Package

_MAGIC = b"\xff Go buildinf:"
_HEADER = 32
_LONGEST = 16 << 20
_SEARCHED = 1 << 20
_MOST_TABLE_ENTRIES = 1024
_LARGEST_TABLE_ENTRY = 128
_SECTION = b".go.buildinfo"


class _Span(NamedTuple):
    """A part of the file and the address at which it is loaded."""

    address: int
    offset: int
    size: int


def parse(file: BinaryIO) -> Iterator[Package]:
    """Yield the standard library and the modules of a program; nothing when Go did not make it."""
    try:
        version, modules = _build_info(file)
    except (struct.error, OverflowError, ValueError):
        return  # an ELF file that is cut or lies about itself was not made by Go's linker
    if version.startswith("go"):
        yield Package("golang", "stdlib", version.removeprefix("go").split()[0])
    yield from _modules(modules)


def _modules(text: str) -> Iterator[Package]:
    """Yield the modules of "mod", "dep" and "=>" lines; "=>" replaces the line before it."""
    waiting: Package | None = None
    for line in text.splitlines():
        word, *values = line.split("\t")
        if word not in ("mod", "dep", "=>") or len(values) < 2:
            continue
        if word != "=>" and waiting:
            yield waiting
        waiting = Package("golang", values[0], values[1]) if values[0] else None
    if waiting:
        yield waiting


def _build_info(file: BinaryIO) -> tuple[str, str]:
    """Return the version of Go and the text of the modules, empty when there is none.

    Raises:
        ValueError: The file is no ELF file, or is malformed.
    """
    ident = file.read(16)
    if len(ident) < 16 or ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        return "", ""
    order = "<" if ident[5] == 1 else ">"
    segments, data = _tables(file, is_64=ident[4] == 2, order=order)
    found = _find(file, data) if data else None
    if found is None:
        return "", ""
    place, header = found
    if header[15] & 2:  # strings follow the header, each after its length (Go 1.18 and newer)
        version, place = _string(file, place + _HEADER)
        text, _ = _string(file, place)
    else:
        version, text = (_pointed(file, segments, header, number) for number in range(2))
    return version, text[16:-16] if len(text) > 32 and text[-17] == "\n" else ""


def _tables(file: BinaryIO, *, is_64: bool, order: str) -> tuple[list[_Span], _Span | None]:
    """Return the loaded segments, and the section with build information, else the first writable segment (elf(5))."""
    form = f"{order}HHIQQQIHHHHHH" if is_64 else f"{order}HHIIIIIHHHHHH"
    fields = struct.unpack(form, file.read(struct.calcsize(form)))
    program_at, sections_at = fields[4], fields[5]
    program_size, programs, section_size, sections, names = fields[8:13]
    segments, writable = [], None
    for entry in _entries(file, program_at, program_size, programs):
        kind, flags, span = _segment(entry, is_64=is_64, order=order)
        if kind == 1:
            segments.append(span)
            writable = writable or (span if flags & 2 and span.size else None)
    headers = [
        struct.unpack_from(f"{order}IIQQQQ" if is_64 else f"{order}IIIIII", entry)
        for entry in _entries(file, sections_at, section_size, sections)
    ]
    if names < len(headers):
        _, _, _, _, start, size = headers[names]
        table = _at(file, start, min(size, _SEARCHED))
        for name, _, _, address, offset, length in headers:
            if table[name : name + len(_SECTION) + 1] == _SECTION + b"\0":
                return segments, _Span(address, offset, length)
    return segments, writable


def _entries(file: BinaryIO, offset: int, size: int, count: int) -> list[bytes]:
    if not offset or count > _MOST_TABLE_ENTRIES or size > _LARGEST_TABLE_ENTRY:
        return []
    data = _at(file, offset, size * count)
    return [data[place * size : (place + 1) * size] for place in range(count)]


def _segment(entry: bytes, *, is_64: bool, order: str) -> tuple[int, int, _Span]:
    if is_64:
        kind, flags, offset, address, _, size = struct.unpack_from(f"{order}IIQQQQ", entry)
    else:
        kind, offset, address, _, size, _, flags = struct.unpack_from(f"{order}IIIIIII", entry)
    return kind, flags, _Span(address, offset, size)


def _find(file: BinaryIO, span: _Span) -> tuple[int, bytes] | None:
    """Return where the build information begins and its header; it is aligned to 16 bytes."""
    data = _at(file, span.offset, min(span.size, _SEARCHED))
    place = data.find(_MAGIC)
    while place >= 0 and place % 16:
        place = data.find(_MAGIC, place + 1)
    header = data[place : place + _HEADER]
    return (span.offset + place, header) if place >= 0 and len(header) == _HEADER else None


def _string(file: BinaryIO, place: int) -> tuple[str, int]:
    """Return a string whose length is a varint before it, and where it ends."""
    length = shift = 0
    for number, byte in enumerate(_at(file, place, 10), 1):
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return _text(file, place + number, length), place + number + length
    raise ValueError("a length that does not end")


def _pointed(file: BinaryIO, segments: list[_Span], header: bytes, number: int) -> str:
    """Return the string that a pointer of the header leads to (before Go 1.18)."""
    size, order = header[14], ">" if header[15] & 1 else "<"
    form = f"{order}{'Q' if size == 8 else 'I'}"
    (pointer,) = struct.unpack_from(form, header, 16 + number * size)
    descriptor = _at(file, _offset(segments, pointer), 2 * size)
    address, length = struct.unpack(f"{order}2{form[1]}", descriptor)
    return _text(file, _offset(segments, address), length)


def _offset(segments: list[_Span], address: int) -> int:
    for span in segments:
        if span.address <= address < span.address + span.size:
            return span.offset + address - span.address
    raise ValueError("an address that is not loaded")


def _text(file: BinaryIO, place: int, length: int) -> str:
    if length > _LONGEST:
        raise ValueError("a text that is too long")
    return _at(file, place, length).decode(errors="replace")


def _at(file: BinaryIO, place: int, length: int) -> bytes:
    file.seek(place)
    return file.read(length)
