"""nftables through libnftables by ctypes, or through the nft program where the library is missing."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import threading

_LIBRARY = "libnftables.so.1"
_SELECTABLE = 1000  # the library waits with select(2), and its socket must be below FD_SETSIZE: 1024
_lock = threading.Lock()


class RulesRefused(OSError):
    """nftables refused rules, or neither the library nor the program is there."""


def run(commands: str) -> str:
    """Run nft commands as one transaction; return what they print.

    Raises:
        RulesRefused: With nft's own words; nothing was changed.
    """
    with _lock:
        try:
            return _run_library(commands)
        except _NoLibrary:
            return _run_program(commands)


class _NoLibrary(Exception):
    """libnftables cannot be loaded, or not be used in a process with so many open files."""


def _next_descriptor() -> int:
    fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
    os.close(fd)
    return fd


def _run_library(commands: str) -> str:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise _NoLibrary from error
    if _next_descriptor() >= _SELECTABLE:
        raise _NoLibrary
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    context = ctypes.c_void_p(library.nft_ctx_new(0))
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        failed = library.nft_run_cmd_from_buffer(context, commands.encode())
        if failed:
            raise RulesRefused(errno.EINVAL, (library.nft_ctx_get_error_buffer(context) or b"").decode().strip())
        return (library.nft_ctx_get_output_buffer(context) or b"").decode()
    finally:
        library.nft_ctx_free(context)


def _run_program(commands: str) -> str:
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(
            ["nft", "-f", "-"], input=commands, capture_output=True, text=True, check=False, env=environment
        )
    except FileNotFoundError as error:
        raise RulesRefused(errno.ENOENT, "neither libnftables nor nft is installed") from error
    if done.returncode:
        raise RulesRefused(errno.EINVAL, done.stderr.strip())
    return done.stdout


def delete_table(family: str, name: str) -> None:
    """Delete a table; it is fine when there is none."""
    run(f"table {family} {name} {{}}\ndelete table {family} {name}\n")


def foreign_drops(own_table: str) -> tuple[str, ...]:
    """Return the tables of others whose forward chain drops by policy."""
    found: list[str] = []
    table = ""
    for line in run("list ruleset").splitlines():
        words = line.split()
        if words[:1] == ["table"]:
            table = " ".join(words[1:3])
        elif "hook forward" in line and "policy drop" in line and own_table not in table:
            found.append(table)
    return tuple(found)
