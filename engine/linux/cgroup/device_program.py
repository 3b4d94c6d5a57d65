"""Device rules as a BPF program of a v2 group (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE; uapi linux/bpf.h)."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from engine.linux import syscalls
from engine.linux.cgroup.layout import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.linux.cgroup.device_rules import Rule

_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_CGROUP_DEVICE_PROGRAM, _CGROUP_DEVICE = 15, 6
_ALLOW_MULTI, _REPLACE = 2, 4
_MOST_PROGRAMS = 64  # the kernel's limit for one group
_KINDS = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_EVERYTHING = 7

# Opcodes; _K compares or computes with the immediate, _X with a register.
_LOAD_WORD, _EXIT, _MOVE_K, _MOVE32_X = 0x61, 0x95, 0xB7, 0xBC
_AND32_K, _SHIFT_RIGHT32_K, _JUMP_IF_K, _JUMP_UNLESS_K = 0x54, 0x74, 0x15, 0x55
_RESULT, _CONTEXT, _KIND, _WANTED, _MAJOR, _MINOR = 0, 1, 2, 3, 4, 5


def assemble(rules: list[Rule]) -> bytes:
    """Return the program: last rule first, it takes off the wanted access what is allowed until nothing is left."""
    code = [
        _instruction(_LOAD_WORD, _KIND, _CONTEXT), _instruction(_AND32_K, _KIND, value=0xFFFF),
        _instruction(_LOAD_WORD, _WANTED, _CONTEXT), _instruction(_SHIFT_RIGHT32_K, _WANTED, value=16),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4), _instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8),
    ]  # fmt: skip
    for rule in reversed(rules):
        if rule.is_total():
            return b"".join((*code, *_return(rule.is_allowed)))
        code += _rule(rule)
    return b"".join((*code, *_return(False)))


def _rule(rule: Rule) -> list[bytes]:
    access = sum(_ACCESS[letter] for letter in set(rule.access))
    if rule.is_allowed:
        verdict = [
            _instruction(_AND32_K, _WANTED, value=_EVERYTHING & ~access),
            _instruction(_JUMP_UNLESS_K, _WANTED, jump=2),
        ]
    else:  # the context is read: its register is free
        verdict = [_instruction(_MOVE32_X, _CONTEXT, _WANTED), _instruction(_AND32_K, _CONTEXT, value=access),
            _instruction(_JUMP_IF_K, _CONTEXT, jump=2)]  # fmt: skip
    verdict += _return(rule.is_allowed)
    wanted = [(_MAJOR, rule.major), (_MINOR, rule.minor)]
    tests = ([(_KIND, _KINDS[rule.kind])] if rule.kind != "a" else []) + [item for item in wanted if item[1] >= 0]
    skips = [_instruction(_JUMP_UNLESS_K, register, value=value, jump=len(verdict) + len(tests) - 1 - index)
        for index, (register, value) in enumerate(tests)]  # fmt: skip
    return skips + verdict


def _return(is_allowed: bool) -> list[bytes]:
    return [_instruction(_MOVE_K, _RESULT, value=int(is_allowed)), _instruction(_EXIT)]


def _instruction(code: int, target: int = 0, source: int = 0, jump: int = 0, *, value: int = 0) -> bytes:
    return struct.pack("=BBhI", code, source << 4 | target, jump, value)


def attach(group_fd: int, rules: list[Rule]) -> None:
    """Put rules in force for a group, in place of the ones it has.

    Raises:
        CgroupError: The host does not allow BPF.
    """
    try:
        program = _load(assemble(rules))
        try:
            _swap(group_fd, program)
        finally:
            os.close(program)
    except OSError as error:
        text = f"linux.resources.devices needs a BPF program, which this host refuses: {error.strerror}"
        raise CgroupError(error.errno or errno.EPERM, text) from error


def _load(code: bytes) -> int:
    instructions, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"Apache-2.0")
    attributes = struct.pack("=IIQQIIQII", _CGROUP_DEVICE_PROGRAM, len(code) // 8, ctypes.addressof(instructions),
        ctypes.addressof(licence), 0, 0, 0, 0, 0)  # fmt: skip
    return syscalls.bpf(_PROG_LOAD, attributes)


def _swap(group_fd: int, program: int) -> None:
    """Replace the one program there is at once; of several, the old ones go after the new one has come."""
    old = [syscalls.bpf(_GET_FD_BY_ID, struct.pack("=I", number)) for number in _programs(group_fd)]
    try:
        flags = _ALLOW_MULTI | (_REPLACE if len(old) == 1 else 0)
        replaced = old[0] if len(old) == 1 else 0
        syscalls.bpf(_PROG_ATTACH, struct.pack("=5I", group_fd, program, _CGROUP_DEVICE, flags, replaced))
        for fd in old if len(old) > 1 else ():
            syscalls.bpf(_PROG_DETACH, struct.pack("=3I", group_fd, fd, _CGROUP_DEVICE))
    finally:
        for fd in old:
            os.close(fd)


def _programs(group_fd: int) -> list[int]:
    numbers = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    query = struct.pack("=IIIIQII", group_fd, _CGROUP_DEVICE, 0, 0, ctypes.addressof(numbers), _MOST_PROGRAMS, 0)
    attributes = ctypes.create_string_buffer(query, len(query))
    syscalls.bpf(_PROG_QUERY, attributes)
    return list(numbers[: struct.unpack_from("=I", attributes, 24)[0]])
