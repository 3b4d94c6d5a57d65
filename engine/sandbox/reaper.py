"""Process 1 of a container that asked for one (--init): it passes signals on, reaps orphans, and ends as its child does.

It is a static program of our own of a few hundred bytes, so that it runs with any image, and it is executed from a sealed
file in memory: a container that reaches it through /proc/1/exe finds nothing of the host, and nothing that it could write
to (CVE-2019-5736). The instructions are those of reaper_MACHINE.s beside this module.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from engine.linux import syscalls
from engine.linux.light import signal

_CODE = {
    "x86_64": """
        6aff6a0031db488d7c240831f631d241ba08000000b8800000000f0585c078e683f811741189c68b3d51000000b83e00
        00000f05ebd048c7c7ffffffff4889e6ba010000004531d2b83d0000000f0585c07e0f3b052500000075db8b2c24ffc3
        ebd485db74a00fb7fdc1ef0883e57f74068dbd80000000b8e70000000f0500000000""",
    "aarch64": """
        09008092ff27bfa914008052e0230091010080d2020080d2030180d2281180d2010000d41f0000712bffff541f440071
        c0000054e103002a20030018281080d2010000d4f2ffff1700008092e1030091220080d2030080d2882080d2010000d4
        1f000071ed000054a10100181f00016bc1feff54f30340b934008052f3ffff1774fcff34603e0853611a007240000054
        20000211c80b80d2010000d400000000""",
}
_ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
_ADDRESS = 0x400000
_HEADERS = 64 + 2 * 56
_LOAD, _STACK, _EXECUTE, _WRITE, _READ = 1, 0x6474E551, 1, 2, 4
_ADD_SEALS, _ALL_SEALS = 1033, 0xF
_MFD_EXEC = 0x10
NAME = "/sbin/tuicon-init"


def is_available() -> bool:
    """Return whether there is a program for this machine."""
    return os.uname().machine in _CODE


def code_of(machine: str) -> bytes:
    """Return the instructions; the last four bytes are the child's pid."""
    return bytes.fromhex(_CODE[machine])


def program(machine: str, child: int) -> bytes:
    """Return the program that is process 1 of a child: an ELF file (elf(5)) with one readable, executable segment."""
    content = code_of(machine)[:-4] + struct.pack("<i", child)
    size = _HEADERS + len(content)
    header = struct.pack("<4s5B7xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0, 2, _ELF_MACHINES[machine], 1,
        _ADDRESS + _HEADERS, 64, 0, 0, 64, 56, 2, 0, 0, 0)  # fmt: skip
    load = struct.pack("<IIQQQQQQ", _LOAD, _READ | _EXECUTE, 0, _ADDRESS, _ADDRESS, size, size, 1 << 16)
    stack = struct.pack("<IIQQQQQQ", _STACK, _READ | _WRITE, 0, 0, 0, 0, 0, 16)
    return header + load + stack + content


def open_program() -> int:
    """Return an fd of the file in memory that the program will be written to; opened while we are root."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(NAME.rpartition("/")[2], flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a kernel before 6.3, where all can be executed
            raise
        return os.memfd_create(NAME.rpartition("/")[2], flags)


def stay_behind(program_fd: int, arguments: list[str], variables: dict[str, str], *, has_terminal: bool) -> None:
    """Fork the process that becomes the command, and be its process 1; returns in that process only.

    Args:
        program_fd: The file in memory.
        arguments: The command's, for lists of processes.
        variables: The environment.
        has_terminal: Whether stdin is the controlling terminal, whose foreground the command gets.
    """
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)  # in a pid namespace that it is not the first process of
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child:
        os.write(program_fd, program(os.uname().machine, child))
        fcntl.fcntl(program_fd, _ADD_SEALS, _ALL_SEALS)
        os.execve(program_fd, [NAME, "--", *arguments], variables)
    os.close(writing)
    os.read(reading, 1)  # until the other half is no longer this interpreter
    os.close(reading)
    os.setpgid(0, 0)
    if has_terminal:
        os.tcsetpgrp(0, os.getpgrp())
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
