"""System calls that the standard library does not have; the engine's only use of the C library's syscall().

Every function raises OSError with the errno of the failed call. Numbers are those of the generic table,
which x86-64 and arm64 share for the calls since 2019; older ones differ and are looked up per machine.
Sources: the man pages of section 2, and the kernel's uapi headers.
"""

from __future__ import annotations

import ctypes
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

libc = ctypes.CDLL(None, use_errno=True)
_python = ctypes.PyDLL(None, use_errno=True)

_IS_X86 = os.uname().machine == "x86_64"
_PIVOT_ROOT = 155 if _IS_X86 else 41
_SETDOMAINNAME = 171 if _IS_X86 else 162
_KEYCTL = 250 if _IS_X86 else 219
_CAPSET = 126 if _IS_X86 else 91
_IOPRIO_SET = 251 if _IS_X86 else 30
_SCHED_SETATTR = 314 if _IS_X86 else 274
_BPF = 321 if _IS_X86 else 280
_SET_MEMPOLICY = 238 if _IS_X86 else 237
_RENAMEAT2 = 316 if _IS_X86 else 276
_OPEN_TREE, _MOVE_MOUNT = 428, 429
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLONE3, _CLOSE_RANGE, _OPENAT2, _MOUNT_SETATTR = 435, 436, 437, 442
_QUOTACTL_FD = 443

CLONE_NEWTIME, CLONE_NEWNS, CLONE_NEWCGROUP = 0x80, 0x20000, 0x2000000
CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER = 0x4000000, 0x8000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET, CLONE_INTO_CGROUP = 0x20000000, 0x40000000, 0x200000000
CLONE_PARENT = 0x8000

AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR_NOATIME, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR_NODIRATIME = 0x10, 0x20, 0x80
MOUNT_ATTR_ATIME_MASK, MOUNT_ATTR_IDMAP, MOUNT_ATTR_NOSYMFOLLOW = 0x70, 0x100000, 0x200000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_MOVE, MS_REC = 1024, 2048, 4096, 8192, 16384
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
MS_RELATIME, MS_STRICTATIME = 1 << 21, 1 << 24
MS_SYNCHRONOUS, MS_MANDLOCK, MS_DIRSYNC, MS_NOSYMFOLLOW = 16, 64, 128, 256
MS_SILENT, MS_POSIXACL, MS_I_VERSION, MS_LAZYTIME = 1 << 15, 1 << 16, 1 << 23, 1 << 25
MNT_DETACH = 2

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS = 0x01, 0x02, 0x04
RESOLVE_BENEATH, RESOLVE_IN_ROOT = 0x08, 0x10

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_CAPBSET_DROP = 1, 4, 8, 24
PR_SET_NO_NEW_PRIVS, PR_SET_NAME, PR_CAP_AMBIENT = 38, 15, 47
PR_SET_CHILD_SUBREAPER = 36
PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 2, 4


def _check(result: int, path: str = "") -> int:
    if result < 0:
        number = ctypes.get_errno()
        if path:
            raise OSError(number, os.strerror(number), path)
        raise OSError(number, os.strerror(number))
    return result


def _call(number: int, *arguments: object) -> int:
    return _check(int(libc.syscall(number, *arguments)))


def _long(value: int) -> ctypes.c_long:
    return ctypes.c_long(value)


def clone3(flags: int, *, cgroup_fd: int = -1, exit_signal: int = 17) -> int:
    """Fork with new namespaces; return 0 in the child and its pid in the parent.

    Only for single-threaded processes. With `cgroup_fd` (v2) the child is born in that cgroup.
    """
    if cgroup_fd >= 0:
        flags |= CLONE_INTO_CGROUP
    if flags & CLONE_PARENT:
        exit_signal = 0  # it takes over the caller's
    arguments = struct.pack("=11Q", flags, 0, 0, 0, exit_signal, 0, 0, 0, 0, 0, max(cgroup_fd, 0))
    buffer = ctypes.create_string_buffer(arguments, len(arguments))
    _python.PyOS_BeforeFork()
    pid = int(_python.syscall(_CLONE3, buffer, ctypes.c_size_t(len(arguments))))
    number = ctypes.get_errno()
    if pid == 0:
        _python.PyOS_AfterFork_Child()
        return 0
    _python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, os.strerror(number))
    return pid


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags` for new ones."""
    _check(libc.unshare(flags))


def setns(fd: int, flags: int) -> None:
    """Join a namespace by its fd, or with a pidfd all namespaces in `flags` at once."""
    _check(libc.setns(fd, flags))


def mount(source: str, target: str, fstype: str, flags: int = 0, data: str = "") -> None:
    """Mount a file system the classic way."""
    arguments = [text.encode() if text else None for text in (source, target, fstype)]
    _check(libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() if data else None), target)


def umount(target: str, flags: int = 0) -> None:
    """Unmount."""
    _check(libc.umount2(target.encode(), flags), target)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make `new_root` the root of the mount namespace."""
    _call(_PIVOT_ROOT, new_root.encode(), put_old.encode())


def open_tree(directory_fd: int, path: str, flags: int) -> int:
    """Open, or with OPEN_TREE_CLONE copy, the mount at a path; return an fd (close-on-exec)."""
    return _call(_OPEN_TREE, directory_fd, path.encode(), _long(flags | OPEN_TREE_CLOEXEC))


def move_mount(mount_fd: int, target_fd: int) -> None:
    """Attach the mount `mount_fd` on the file or directory `target_fd`."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    _call(_MOVE_MOUNT, mount_fd, b"", target_fd, b"", _long(flags))


def mount_setattr(
    fd: int, *, attr_set: int = 0, attr_clear: int = 0, propagation: int = 0, recursive: bool = False,
    userns_fd: int = -1,
) -> None:  # fmt: skip
    """Change the attributes of the mount `fd`; with `userns_fd`, map its owners as that user namespace does."""
    if userns_fd >= 0:
        attr_set |= MOUNT_ATTR_IDMAP
    attributes = struct.pack("=4Q", attr_set, attr_clear, propagation, max(userns_fd, 0))
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _call(_MOUNT_SETATTR, fd, b"", _long(flags), attributes, ctypes.c_size_t(len(attributes)))


def openat2(directory_fd: int, path: bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open a path under rules for its resolution; return an fd (close-on-exec)."""
    how = struct.pack("=3Q", flags | os.O_CLOEXEC, mode, resolve)
    return _call(_OPENAT2, directory_fd, path, how, ctypes.c_size_t(len(how)))


def exchange(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> None:
    """Give two paths each other's files, at once for everybody (rename(2), RENAME_EXCHANGE)."""
    here = _long(AT_FDCWD)
    _call(_RENAMEAT2, here, os.fsencode(first), here, os.fsencode(second), ctypes.c_uint(2))


def quotactl_fd(fd: int, command: int, quota_id: int, values: bytearray) -> None:
    """Read or change a quota of the file system of `fd`; `values` is the packed structure of the command."""
    buffer = (ctypes.c_char * len(values)).from_buffer(values)
    _call(_QUOTACTL_FD, fd, ctypes.c_uint(command), ctypes.c_uint(quota_id), buffer)


def prctl(option: int, argument: int = 0, argument3: int = 0) -> int:
    """Operate on the calling process."""
    return _check(libc.prctl(option, _long(argument), _long(argument3), _long(0), _long(0)))


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the calling thread's capability sets, each a bit mask."""
    low = (1 << 32) - 1
    header = struct.pack("=Ii", 0x20080522, 0)
    data = struct.pack("=6I", *(part for shift in (0, 32) for part in
        (effective >> shift & low, permitted >> shift & low, inheritable >> shift & low)))  # fmt: skip
    _call(_CAPSET, header, data)


def setfsid(uid: int, gid: int) -> None:
    """Set the ids with which the calling thread makes files; the calls say nothing of failure."""
    libc.setfsgid(gid)
    libc.setfsuid(uid)


def close_range_on_exec(first: int) -> None:
    """Mark all file descriptors from `first` on close-on-exec."""
    _call(_CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(0xFFFFFFFF), ctypes.c_uint(4))


def new_session_keyring() -> None:
    """Give the process a session keyring of its own."""
    _call(_KEYCTL, _long(1), None)


def set_domainname(name: str) -> None:
    """Set the NIS domain name of the UTS namespace."""
    encoded = name.encode()
    _call(_SETDOMAINNAME, encoded, ctypes.c_size_t(len(encoded)))


def fsmount(kind: str, options: Mapping[str, str], source: str = "", flags: int = 0) -> int:
    """Make a file system and return its detached mount's fd (close-on-exec).

    Args:
        kind: Its type, such as "tmpfs" or "proc".
        options: Its options; an empty value sets a flag.
        source: Its source.
        flags: MOUNT_ATTR_* of the mount.
    """
    context = _call(_FSOPEN, kind.encode(), _long(1))
    try:
        for name, value in (("source", source or kind), *options.items()):
            if value:
                _call(_FSCONFIG, context, _long(1), name.encode(), value.encode(), _long(0))
            else:
                _call(_FSCONFIG, context, _long(0), name.encode(), None, _long(0))
        _call(_FSCONFIG, context, _long(6), None, None, _long(0))
        return _call(_FSMOUNT, context, _long(1), _long(flags))
    finally:
        os.close(context)


def personality(domain: int) -> None:
    """Set the process execution domain."""
    _check(libc.personality(ctypes.c_ulong(domain)))


def ioprio_set(priority: int) -> None:
    """Set the I/O priority of the calling process; class << 13 | level."""
    _call(_IOPRIO_SET, _long(1), _long(0), _long(priority))


def sched_setattr(policy: int, flags: int, nice: int, priority: int, times: tuple[int, int, int]) -> None:
    """Set the scheduling policy of the calling thread; times are runtime, deadline and period in nanoseconds."""
    data = struct.pack("=IIQiI3Q", 48, policy, flags, nice, priority, *times)
    _call(_SCHED_SETATTR, _long(0), data, _long(0))


def set_mempolicy(mode: int, nodes: int) -> None:
    """Set the memory policy of the calling thread; nodes is a bit mask."""
    _call(_SET_MEMPOLICY, _long(mode), struct.pack("=Q", nodes), ctypes.c_ulong(64))


def bpf(command: int, attributes: bytes | ctypes.Array[ctypes.c_char]) -> int:
    """Run a command of the BPF system call; attributes are a packed union bpf_attr, a buffer where it answers."""
    return _call(_BPF, _long(command), attributes, ctypes.c_uint(len(attributes)))
