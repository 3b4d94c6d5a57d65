"""Waits for a file to change (inotify(7))."""

from __future__ import annotations

import ctypes
import os
import select

_libc = ctypes.CDLL(None, use_errno=True)
_MODIFY, _CREATE, _MOVED, _DELETE_SELF = 0x2, 0x100, 0x80 | 0x40, 0x400
_NONBLOCK_CLOEXEC = 0o2004000


class Watch:
    """Watches directories; `wait` returns when something in one of them changed."""

    def __init__(self, *directories: str | os.PathLike[str]) -> None:
        self._fd = _libc.inotify_init1(_NONBLOCK_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "inotify")
        for directory in directories:
            if _libc.inotify_add_watch(self._fd, os.fsencode(directory), _MODIFY | _CREATE | _MOVED) < 0:
                number = ctypes.get_errno()
                os.close(self._fd)
                raise OSError(number, os.strerror(number), os.fspath(directory))

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; return whether something changed."""
        ready, _, _ = select.select([self._fd], [], [], timeout)
        if not ready:
            return False
        while True:
            try:
                if not os.read(self._fd, 1 << 16):
                    return True
            except BlockingIOError:
                return True

    def close(self) -> None:
        """Stop watching."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Watch:
        """Return the watch."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop watching."""
        self.close()
