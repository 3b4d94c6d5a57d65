"""The door to seccomp: OCI filters compiled by libseccomp, and loaded as the BPF program that comes out.

Sources: seccomp(2), runtime-spec config-linux.md ("Seccomp"), seccomp_rule_add(3), the kernel's uapi
linux/filter.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from engine.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

_SECCOMP = 317 if os.uname().machine == "x86_64" else 277
_SET_MODE_FILTER = 1
_NEW_LISTENER = 8
_LIBRARY = "libseccomp.so.2"
_ENOSYS, _EPERM = 38, 1
_NO_SUCH_SYSCALL = -1
_ATTRIBUTE_NNP, _ATTRIBUTE_OPTIMIZE = 3, 8
_BINARY_TREE = 2
_X32_BIT = 0x40000000

_ACTIONS = {
    "SCMP_ACT_KILL": 0, "SCMP_ACT_KILL_THREAD": 0, "SCMP_ACT_KILL_PROCESS": 0x80000000, "SCMP_ACT_TRAP": 0x30000,
    "SCMP_ACT_ERRNO": 0x50000, "SCMP_ACT_NOTIFY": 0x7FC00000, "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000, "SCMP_ACT_ALLOW": 0x7FFF0000,
}  # fmt: skip
_WITH_NUMBER = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_OPERATORS = {
    "SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}  # fmt: skip
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1, "SECCOMP_FILTER_FLAG_LOG": 2, "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}  # fmt: skip
_ARCHITECTURES = ("X86", "X86_64", "X32", "ARM", "AARCH64", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64",
    "MIPSEL64N32", "PPC", "PPC64", "PPC64LE", "S390", "S390X", "PARISC", "PARISC64", "RISCV64",
    "LOONGARCH64")  # fmt: skip

ACTIONS, OPERATORS, FLAGS = tuple(_ACTIONS), tuple(_OPERATORS), tuple(_FLAGS)
ARCHITECTURES = tuple(f"SCMP_ARCH_{name}" for name in _ARCHITECTURES)

_REVISION = 1  # of compile_filter: what it returns for the same input

_library: ctypes.CDLL | None = None


class SeccompError(ValueError):
    """A filter cannot be compiled; str() is a sentence that names the field."""


def _libseccomp() -> ctypes.CDLL:
    global _library  # noqa: PLW0603 - loaded once, when first needed
    if _library is None:
        try:
            library = ctypes.CDLL(_LIBRARY, use_errno=True)
        except OSError as error:
            raise SeccompError(f"linux.seccomp needs {_LIBRARY}, which is not installed") from error
        library.seccomp_init.restype = ctypes.c_void_p
        library.seccomp_init.argtypes = [ctypes.c_uint32]
        library.seccomp_release.argtypes = [ctypes.c_void_p]
        library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
        library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
        library.seccomp_rule_add_array.argtypes = [
            ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p]  # fmt: skip
        library.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
        library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
        _library = library
    return _library


def is_available() -> bool:
    """Return whether filters can be compiled and loaded here."""
    try:
        _libseccomp()
    except SeccompError:
        return False
    return os.path.exists("/proc/sys/kernel/seccomp/actions_avail")


def version() -> str:
    """Return the version of libseccomp and of the way we use it; a filter compiled by another is not the same."""
    library = _libseccomp()
    library.seccomp_version.restype = ctypes.POINTER(ctypes.c_uint * 3)
    found = library.seccomp_version().contents
    return f"{found[0]}.{found[1]}.{found[2]}/{_REVISION}"


def compile_filter(seccomp: Document) -> bytes:
    """Return an OCI `linux.seccomp` as an array of struct sock_filter.

    System calls that this host's libseccomp does not know are left out. Calls newer than all that the profile
    names fail with ENOSYS, so that programs fall back as on an older kernel.

    Raises:
        SeccompError: A value is unknown, or libseccomp is missing or refuses the filter.
    """
    library = _libseccomp()
    default = _action(seccomp.get("defaultAction"), seccomp.get("defaultErrnoRet"), "linux.seccomp.defaultAction")
    context = library.seccomp_init(default)
    if not context:
        raise SeccompError(f"linux.seccomp.defaultAction {seccomp.get('defaultAction')!r} is refused by libseccomp")
    try:
        tokens = [_token(name) for name in seccomp.get("architectures") or ()]
        for token in tokens:
            _checked(library.seccomp_arch_add(context, token), "linux.seccomp.architectures", errno.EEXIST)
        library.seccomp_attr_set(context, _ATTRIBUTE_NNP, 0)
        library.seccomp_attr_set(context, _ATTRIBUTE_OPTIMIZE, _BINARY_TREE)
        for index, rule in enumerate(seccomp.get("syscalls") or ()):
            _add_rule(library, context, rule, default, f"linux.seccomp.syscalls[{index}]")
        program = _export(library, context)
    finally:
        library.seccomp_release(context)
    if seccomp.get("defaultAction") in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG"):
        return program
    return _refuse_newer(library, seccomp, tokens) + program


def _action(name: object, number: object, field: str) -> int:
    if name not in _ACTIONS:
        raise SeccompError(f"{field}: unknown action {name!r}")
    code = _ACTIONS[str(name)]
    if name in _WITH_NUMBER:
        code |= (_EPERM if number is None else int(number)) & 0xFFFF  # type: ignore[call-overload]
    return code


def _token(name: object) -> int:
    short = str(name).removeprefix("SCMP_ARCH_")
    if short not in _ARCHITECTURES:
        raise SeccompError(f"linux.seccomp.architectures: unknown architecture {name!r}")
    return int(_libseccomp().seccomp_arch_resolve_name(short.lower().encode()))


def _checked(result: int, field: str, *fine: int) -> None:
    if result < 0 and -result not in fine:
        raise SeccompError(f"{field}: libseccomp refuses it ({os.strerror(-result)})")


def _add_rule(library: ctypes.CDLL, context: int, rule: Document, default: int, field: str) -> None:
    action = _action(rule.get("action"), rule.get("errnoRet"), f"{field}.action")
    if action == default:
        return
    arguments = [_comparison(item, f"{field}.args") for item in rule.get("args") or ()]
    indexes = [item["index"] for item in rule.get("args") or ()]
    # libseccomp takes each argument once in a rule: several conditions on one are alternatives, as in runc.
    groups = [[item] for item in arguments] if len(set(indexes)) < len(indexes) else [arguments]
    for name in rule.get("names") or ():
        number = library.seccomp_syscall_resolve_name(str(name).encode())
        if number == _NO_SUCH_SYSCALL:
            continue
        for group in groups:
            result = library.seccomp_rule_add_array(context, action, number, len(group), b"".join(group))
            _checked(result, f"{field} ({name})", errno.EDOM, errno.EEXIST)


def _comparison(argument: Document, field: str) -> bytes:
    operator = _OPERATORS.get(str(argument.get("op")))
    if operator is None:
        raise SeccompError(f"{field}: unknown operator {argument.get('op')!r}")
    mask = (1 << 64) - 1
    values = (int(argument.get(name) or 0) & mask for name in ("value", "valueTwo"))
    return struct.pack("=IIQQ", int(argument["index"]), operator, *values)


def _export(library: ctypes.CDLL, context: int) -> bytes:
    fd = os.memfd_create("filter", os.MFD_CLOEXEC)
    try:
        _checked(library.seccomp_export_bpf(context, fd), "linux.seccomp")
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _refuse_newer(library: ctypes.CDLL, seccomp: Document, tokens: list[int]) -> bytes:
    """Return instructions before the filter: ENOSYS for numbers beyond all that the rules name."""
    names = {str(name).encode() for rule in seccomp.get("syscalls") or () for name in rule.get("names") or ()}
    x32 = int(library.seccomp_arch_resolve_name(b"x32"))
    program = b""
    for token in dict.fromkeys(tokens):
        numbers = [library.seccomp_syscall_resolve_name_arch(token, name) for name in names]
        largest = max((number for number in numbers if 0 <= number < _X32_BIT), default=0)
        if token == x32 or not largest:
            continue
        program += _instruction(0x20, 0, 0, 4)  # load the architecture
        program += _instruction(0x15, 0, 4, token)
        program += _instruction(0x20, 0, 0, 0)  # load the number
        program += _instruction(0x35, 2, 0, _X32_BIT)
        program += _instruction(0x25, 0, 1, largest)
        program += _instruction(0x06, 0, 0, _ACTIONS["SCMP_ACT_ERRNO"] | _ENOSYS)
    return program


def _instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def filter_flags(seccomp: Document) -> int:
    """Return SECCOMP_FILTER_FLAG_* of a filter.

    Raises:
        SeccompError: A flag is unknown.
    """
    flags = 0
    for name in seccomp.get("flags") or ():
        if name not in _FLAGS:
            raise SeccompError(f"linux.seccomp.flags: unknown flag {name!r}")
        flags |= _FLAGS[name]
    return flags | (_NEW_LISTENER if seccomp.get("listenerPath") else 0)


def load(program: bytes, flags: int) -> int:
    """Put a filter on the calling thread; return the listener's fd, or 0."""
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    result = int(syscalls.libc.syscall(_SECCOMP, _SET_MODE_FILTER, ctypes.c_ulong(flags), fprog))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"the seccomp filter is refused: {os.strerror(number)}")
    return result
