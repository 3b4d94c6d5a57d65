"""The demo image: made from the host's own programs, so it needs no network.

From busybox when the host has one, else from its shell and coreutils with the libraries they link to.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import tarfile
from pathlib import Path

from engine.errors import NotSupported
from engine.model.image import ImageSettings

REFERENCE = "tuicon/demo:latest"
SETTINGS = ImageSettings(
    env=("PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",),
    command=("sh",),
    labels={"org.opencontainers.image.title": "tuicon demo"},
)
_APPLETS = """
sh ash cat ls cp mv rm mkdir rmdir ln chmod chown echo printf true false test sleep date env id hostname ps
top kill head tail wc sort uniq cut tr grep sed awk find xargs du df dd sync touch stat mount umount free
nproc ping nc wget ip ifconfig route netstat nslookup vi less more seq yes tee md5sum sha256sum uname whoami
which tar gzip pwd expr basename dirname readlink realpath mktemp usleep time timeout nice stty tty setsid
mknod
""".split()
_PROGRAMS = """
cat ls cp mv rm mkdir rmdir ln chmod chown echo printf true false sleep date env id head tail wc sort uniq
cut tr dd sync touch stat df du nproc seq yes tee sha256sum uname whoami pwd expr basename dirname readlink
realpath timeout hostname ps kill grep sed find stty tty
""".split()
_LOAD = b"""#!/bin/sh
# load cpu|memory|io [AMOUNT]: keeps one resource busy, with a line of log now and then.
what=${1:-cpu}
amount=${2:-20}
count=0
trap 'exit 0' TERM INT
case $what in
cpu)
    while :; do
        n=0
        while [ $n -lt 20000 ]; do n=$((n + 1)); done
        count=$((count + 1))
        [ $((count % 50)) = 0 ] && echo "cpu: $count rounds"
    done ;;
memory)
    while :; do
        size=$(((count % amount + 1) * 1048576))
        head -c $size /dev/zero >/dev/shm/load
        count=$((count + 1))
        [ $((count % 10)) = 0 ] && echo "memory: $((size / 1048576)) MiB"
        sleep 0.5
    done ;;
io)
    while :; do
        dd if=/dev/zero of=/tmp/load bs=65536 count=$((amount * 16)) oflag=direct 2>/dev/null ||
            dd if=/dev/zero of=/tmp/load bs=65536 count=$((amount * 16)) conv=fsync 2>/dev/null
        count=$((count + 1))
        echo "io: wrote $((count * amount)) MiB"
        [ $((count % 20)) = 0 ] && echo "io: $count rounds" >&2
        sleep 0.2
    done ;;
*)
    echo "load: unknown kind $what" >&2
    exit 2 ;;
esac
"""
_FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\n"
    b"nobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": b"root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/os-release": b'NAME="tuicon demo"\nID=tuicon-demo\nPRETTY_NAME="tuicon demo"\n',
}
_DIRECTORIES = {"": 0o755, "bin": 0o755, "dev": 0o755, "etc": 0o755, "proc": 0o555, "root": 0o700, "sys": 0o555,
    "tmp": 0o1777, "usr": 0o755, "usr/bin": 0o755, "usr/local": 0o755, "usr/local/bin": 0o755, "var": 0o755,
    "run": 0o755}  # fmt: skip


def root_archive(path: str | None = None) -> io.BytesIO:
    """Return a tar of the demo's root file system; the same programs give the same bytes.

    Args:
        path: Where to look for programs, as in PATH; None takes PATH and the system directories.

    Raises:
        NotSupported: The host has no shell.
    """
    search = (
        path
        if path is not None
        else os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin", "/sbin", "/bin"])
    )
    busybox = shutil.which("busybox", path=search)
    sources = _busybox_files(Path(busybox)) if busybox else _coreutils_files(search)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, mode in sorted(_parents(sources) | _DIRECTORIES.items()):
            _add(archive, name or ".", tarfile.DIRTYPE, mode)
        for name, source in sorted(sources.items()):
            _add(archive, name, tarfile.REGTYPE, 0o755, source.read_bytes())
        for name, content in sorted(_FILES.items()):
            _add(archive, name, tarfile.REGTYPE, 0o644, content)
        _add(archive, "usr/local/bin/load", tarfile.REGTYPE, 0o755, _LOAD)
        links = {f"bin/{applet}": "busybox" for applet in _APPLETS} if busybox else {"bin/sh": _shell_link(sources)}
        for name, target in sorted(links.items()):
            if name not in sources:
                _add(archive, name, tarfile.SYMTYPE, 0o777, link=target)
    buffer.seek(0)
    return buffer


def _add(archive: tarfile.TarFile, name: str, kind: bytes, mode: int, content: bytes = b"", link: str = "") -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(content), link
    archive.addfile(entry, io.BytesIO(content))


def _parents(sources: dict[str, Path]) -> set[tuple[str, int]]:
    found = set()
    for name in sources:
        for parent in Path(name).parents:
            text = str(parent)
            if text != "." and text not in _DIRECTORIES:
                found.add((text, 0o755))
    return found


def _busybox_files(busybox: Path) -> dict[str, Path]:
    return {"bin/busybox": busybox, **_libraries([busybox])}


def _coreutils_files(search: str) -> dict[str, Path]:
    shell = next(
        (found for name in ("dash", "busybox", "bash", "sh") if (found := shutil.which(name, path=search))), None
    )
    if shell is None:
        raise NotSupported("the demo image needs busybox or a shell on the host", hint="install busybox-static")
    programs = {"dash": Path(shell)} | {
        name: Path(found) for name in _PROGRAMS if (found := shutil.which(name, path=search))
    }
    return {f"bin/{name}": source for name, source in programs.items()} | _libraries(list(programs.values()))


def _shell_link(sources: dict[str, Path]) -> str:
    return next(name.removeprefix("bin/") for name in sources if name == "bin/dash")


def _libraries(programs: list[Path]) -> dict[str, Path]:
    """Return the interpreter and all shared libraries of programs, by their place in the image."""
    found: dict[str, Path] = {}
    waiting = list(programs)
    while waiting:
        interpreter, needed = elf_needs(waiting.pop().read_bytes())
        names = [Path(interpreter)] if interpreter else []
        names += [path for path in map(_find_library, needed) if path is not None]
        for path in names:
            place = str(path).lstrip("/")
            if place not in found:
                found[place] = path
                waiting.append(path)
    return found


def _find_library(name: str) -> Path | None:
    multiarch = f"{os.uname().machine}-linux-gnu"
    for directory in (f"/lib/{multiarch}", f"/usr/lib/{multiarch}", "/lib64", "/usr/lib64", "/lib", "/usr/lib"):
        path = Path(directory, name)
        if path.exists():
            return path
    return None


def elf_needs(data: bytes) -> tuple[str, list[str]]:
    """Return the interpreter and the needed libraries of a 64-bit little-endian ELF file; ("", []) for others."""
    if data[:6] != b"\x7fELF\x02\x01":
        return "", []
    offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    segments = [struct.unpack_from("<IIQQQQQQ", data, offset + number * size) for number in range(count)]
    interpreter, dynamic = "", b""
    for kind, _, start, _, _, length, _, _ in segments:
        if kind == 3:
            interpreter = data[start : start + length].rstrip(b"\0").decode()
        elif kind == 2:
            dynamic = data[start : start + length]
    entries = [struct.unpack_from("<QQ", dynamic, place) for place in range(0, len(dynamic) - 15, 16)]
    table = next((value for tag, value in entries if tag == 5), None)
    if table is None:
        return interpreter, []
    start = next((table - address + place for kind, _, place, address, _, length, _, _ in segments
        if kind == 1 and address <= table < address + length), table)  # fmt: skip
    names = [data[start + value : data.index(b"\0", start + value)].decode() for tag, value in entries if tag == 1]
    return interpreter, names
