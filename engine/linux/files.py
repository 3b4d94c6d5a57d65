"""Durable files: atomic writes, appended lines, locks, trees removed without following links."""

from __future__ import annotations

import errno
import fcntl
import os
import time

_TRIES = 10
_temporary = 0


def write_atomic(path: str | os.PathLike[str], data: bytes, mode: int = 0o600, *, durable: bool = False) -> None:
    """Write a file whole or not at all: readers see the old content or the new.

    Args:
        path: The file; its directory must exist.
        data: The content.
        mode: Permissions.
        durable: Whether to wait until the content is on disk.
    """
    global _temporary  # noqa: PLW0603 - a counter, unique with the pid
    _temporary += 1
    name = os.fspath(path)
    temporary = f"{name}.{os.getpid()}.{_temporary}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(fd, data)
        if durable:
            os.fsync(fd)
        os.rename(temporary, name)
    except BaseException:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def append_line(path: str | os.PathLike[str], data: bytes) -> None:
    """Append one line in a single write, which the kernel does not mix with others' writes."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data.rstrip(b"\n") + b"\n")
    finally:
        os.close(fd)


def read_file(path: str | os.PathLike[str], limit: int = 16 << 20) -> bytes:
    """Return the content of a file, at most `limit` bytes of it."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while limit > 0 and (part := os.read(fd, min(limit, 1 << 20))):
            parts.append(part)
            limit -= len(part)
        return b"".join(parts)
    finally:
        os.close(fd)


class FileLock:
    """A lock on a file, held between enter and exit; the kernel frees it when its last holder dies.

    A process that is given the descriptor holds the lock too, until it closes its own.
    """

    def __init__(self, path: str | os.PathLike[str], *, blocking: bool = True, shared: bool = False) -> None:
        self.path = os.fspath(path)
        self._operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if blocking else fcntl.LOCK_NB)
        self._fd = -1

    def fileno(self) -> int:
        """Return the descriptor that holds the lock."""
        return self._fd

    def __enter__(self) -> FileLock:
        """Take the lock.

        Raises:
            BlockingIOError: Somebody else holds it and the lock is non-blocking.
        """
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, self._operation)
                if _is_still(self.path, fd):
                    self._fd = fd
                    return self
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # the file was removed meanwhile: lock its successor

    def __exit__(self, *_: object) -> None:
        """Free the lock."""
        os.close(self._fd)
        self._fd = -1


def lock_directory(path: str | os.PathLike[str]) -> int:
    """Lock a directory; return the descriptor that holds the lock.

    Raises:
        BlockingIOError: Somebody else holds it.
        FileNotFoundError: It is gone.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(fd)
        raise
    if not _is_still(os.fspath(path), fd):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "it was removed meanwhile", os.fspath(path))
    return fd


def _is_still(path: str, fd: int) -> bool:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    opened = os.fstat(fd)
    return (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Remove a file or a directory with everything in it; never follows a link or enters another mount.

    A path that does not exist is fine, and so is somebody else who removes it at the same time.
    """
    name = os.fspath(path)
    try:
        status = os.lstat(name)
        if (status.st_mode & 0o170000) != 0o040000:
            os.unlink(name)
            return
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        for tries_left in range(_TRIES, -1, -1):
            try:
                _empty(fd, status.st_dev)
                _remove(name, None, is_directory=True)
            except OSError as error:  # somebody wrote into it meanwhile, such as a monitor its last line
                if error.errno != errno.ENOTEMPTY or not tries_left:
                    raise
            else:
                return
    finally:
        os.close(fd)


def _remove(name: str, directory: int | None, *, is_directory: bool) -> None:
    try:
        if is_directory:
            os.rmdir(name, dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return


def remove_at(directory: int, name: str) -> None:
    """Remove what an open directory has by a name, with everything in it, as `remove_tree` does."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except NotADirectoryError:
        os.unlink(name, dir_fd=directory)
        return
    try:
        _empty(fd, os.fstat(fd).st_dev)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=directory)


def _empty(directory: int, device: int, above: int = -1) -> list[str]:
    """Remove what is in a directory; deeper directories are moved up first, so depth costs no stack and no fds.

    Args:
        directory: The directory.
        device: The number of its file system.
        above: Where its subvolumes are moved to instead, if not -1.

    Returns:
        The names that they have there.
    """
    moved = 0
    lifted: list[str] = []
    waiting = _remove_files(directory)
    prefix = os.urandom(8).hex()
    while waiting:
        name = waiting.pop()
        try:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        except FileNotFoundError:
            continue
        try:
            if os.fstat(fd).st_dev != device:
                if above < 0:
                    waiting += _remove_subvolume(directory, name)
                else:
                    lifted.append(f"{prefix}.{len(lifted)}.subvolume")
                    os.rename(name, lifted[-1], src_dir_fd=directory, dst_dir_fd=above)
                continue
            for inner in _remove_files(fd):
                moved += 1
                try:
                    os.rename(inner, f"{prefix}.{moved}", src_dir_fd=fd, dst_dir_fd=directory)
                except FileNotFoundError:
                    continue
                waiting.append(f"{prefix}.{moved}")
        finally:
            os.close(fd)
        _remove(name, directory, is_directory=True)
    return lifted


def _remove_subvolume(directory: int, name: str) -> list[str]:
    """Remove a subvolume of btrfs; return those that were in it, which are moved to its directory first.

    Raises:
        OSError: EBUSY when it is none but a mount.
    """
    from engine.linux import btrfs, syscalls

    resolve = syscalls.RESOLVE_NO_XDEV | syscalls.RESOLVE_NO_SYMLINKS
    try:
        btrfs.delete(directory, name)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise OSError(errno.EBUSY, "something is mounted there", name) from error
    else:
        return []
    fd = syscalls.openat2(directory, os.fsencode(name), os.O_RDONLY | os.O_DIRECTORY, 0, resolve)
    try:
        lifted = _empty(fd, os.fstat(fd).st_dev, directory)
    finally:
        os.close(fd)
    _remove(name, directory, is_directory=True)
    return lifted


def _remove_files(directory: int) -> list[str]:
    """Remove all but directories; return the names of those."""
    with os.scandir(directory) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in names:
        if not is_directory:
            _remove(name, directory, is_directory=False)
    return [name for name, is_directory in names if is_directory]


def copy_attributes(source: int, target: int, *, may_fail: tuple[int, ...] = (), without: str = "") -> None:
    """Copy owner, mode, extended attributes and times; the owner first, for a change of it drops bits and capabilities.

    Args:
        source: What has them.
        target: What gets them.
        may_fail: The error numbers with which an extended attribute may be refused, and is left out then.
        without: The beginning of the names of extended attributes that are not copied; empty for none.
    """
    found = os.fstat(source)
    os.fchown(target, found.st_uid, found.st_gid)
    os.fchmod(target, found.st_mode & 0o7777)
    for name in os.listxattr(source):
        if without and name.startswith(without):
            continue
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in may_fail:
                raise
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def rfc3339(nanoseconds: int) -> str:
    """Return a time since the epoch as RFC 3339 in UTC with nanoseconds."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def boot_id() -> str:
    """Return an id that changes with every boot."""
    return read_file("/proc/sys/kernel/random/boot_id", 64).decode().strip()
