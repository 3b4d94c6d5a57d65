"""Java's packages: pom.properties and manifests in archives, and archives in those."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

from engine.images.packages.tree import Unreadable
from engine.model.packages import Package

SUFFIXES = (".jar", ".war", ".ear", ".jpi", ".hpi")
_DEEPEST = 3
_LARGEST_ENTRY = 64 << 20
_LARGEST_TEXT = 1 << 20
_LARGEST_INDEX = 16 << 20
_END = b"PK\5\6"
_FILE_NAME = re.compile(r"(?P<name>.+?)-(?P<version>\d[\w.+-]*)")


class Budget:
    """How many bytes may still be unpacked from all archives of an image."""

    def __init__(self, left: int = 4 << 30) -> None:
        self.left = left

    def read(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> bytes:
        """Return the content of an entry.

        Raises:
            Unreadable: It is larger than the limit, or too much was unpacked.
        """
        with archive.open(entry) as stream:
            data = stream.read(min(limit, self.left) + 1)
        if len(data) > min(limit, self.left):
            raise Unreadable(f"has the entry {entry.filename[:100]!r}, which unpacks to too much")
        self.left -= len(data)
        return data


def parse(file: BinaryIO, name: str, budget: Budget) -> Iterator[Package]:
    """Yield the packages of an archive.

    Args:
        file: The archive.
        name: Its file name, which often says what the manifest does not.
        budget: How much may be unpacked.

    Raises:
        Unreadable: It is damaged or unpacks to too much.
    """
    yield from _archive(file, name, budget, 0)


def _archive(file: BinaryIO, name: str, budget: Budget, depth: int) -> Iterator[Package]:
    _check_index(file)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            yield from _own(archive, entries, name, budget)
            if depth < _DEEPEST:
                for entry in entries:
                    if entry.filename.endswith(SUFFIXES):
                        inner = BytesIO(budget.read(archive, entry, _LARGEST_ENTRY))
                        yield from _archive(inner, entry.filename.rpartition("/")[2], budget, depth + 1)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise Unreadable(f"is damaged: {error}") from error


def _check_index(file: BinaryIO) -> None:
    """Refuse a list of entries that is larger than memory should be (APPNOTE.TXT 4.3.16)."""
    size = file.seek(0, 2)
    file.seek(max(0, size - (1 << 16) - 22))
    tail = file.read()
    place = tail.rfind(_END)
    if place < 0 or len(tail) - place < 22:
        raise Unreadable("is no archive")
    (length,) = struct.unpack_from("<I", tail, place + 12)
    if length > _LARGEST_INDEX:
        raise Unreadable(f"lists more entries than fit into {_LARGEST_INDEX >> 20} MiB")


def _own(
    archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], name: str, budget: Budget
) -> Iterator[Package]:  # fmt: skip
    """Yield what an archive says of itself: its pom.properties, else its manifest and file name."""
    poms = [entry for entry in entries if _is_pom(entry.filename)]
    found = [package for entry in poms if (package := _pom(_text(archive, entry, budget)))]
    if found:
        yield from found
        return
    manifest = next((entry for entry in entries if entry.filename.upper() == "META-INF/MANIFEST.MF"), None)
    fields = _manifest(_text(archive, manifest, budget)) if manifest else {}
    package = _described(fields, name)
    if package:
        yield package


def _is_pom(path: str) -> bool:
    return path.startswith("META-INF/maven/") and path.endswith("/pom.properties")


def _text(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: Budget) -> str:
    return budget.read(archive, entry, _LARGEST_TEXT).decode(errors="replace")


def _pom(text: str) -> Package | None:
    values = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.startswith("#"):
            values[name.strip()] = value.strip()
    group, artifact, version = (values.get(name, "") for name in ("groupId", "artifactId", "version"))
    return Package("maven", f"{group}:{artifact}", version) if group and artifact and version else None


def _manifest(text: str) -> dict[str, str]:
    """Return the main section of a manifest; a line that begins with a space continues the last (JAR specification)."""
    fields: dict[str, str] = {}
    for line in text.replace("\r\n ", "").replace("\n ", "").splitlines():
        if not line:
            break
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    return fields


def _described(fields: dict[str, str], name: str) -> Package | None:
    stem = name.rpartition(".")[0]
    match = _FILE_NAME.fullmatch(stem)
    symbolic = fields.get("Bundle-SymbolicName", "").partition(";")[0].strip()
    artifact = match["name"] if match else fields.get("Implementation-Title", "") or symbolic
    version = (
        (match["version"] if match else "")
        or fields.get("Implementation-Version", "")
        or fields.get("Bundle-Version", "")
    )
    if not artifact or not version or " " in artifact:
        return None
    group = fields.get("Implementation-Vendor-Id", "") or symbolic.removesuffix(f".{artifact}") or artifact
    licence = fields.get("Bundle-License", "")
    return Package("maven", f"{group}:{artifact}", version, licenses=(licence,) if licence else ())
