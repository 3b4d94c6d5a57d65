"""Sockets without `socket`, which makes enums of each constant: the interpreter's own in C, with what callers need besides."""

from __future__ import annotations

import _socket
from _socket import *  # noqa: F403 - constants and functions, under the names that everybody knows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class socket(_socket.socket):  # type: ignore[no-redef] # noqa: N801 - the standard library's name
    """A socket that closes at the end of `with`; close-on-exec, as all are."""

    __slots__ = ()

    def __enter__(self) -> socket:
        """Return the socket."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def accept(self) -> tuple[socket, Any]:
        """Return a connection and where it comes from."""
        fd, address = self._accept()  # type: ignore[attr-defined] # typeshed leaves it out
        return socket(self.family, self.type, self.proto, fd), address

    def dup(self) -> socket:
        """Return another descriptor of the same socket."""
        return socket(self.family, self.type, self.proto, _socket.dup(self.fileno()))


def socketpair(family: int, kind: int, proto: int = 0) -> tuple[socket, socket]:  # type: ignore[no-redef]
    """Return two connected sockets."""
    one, other = _socket.socketpair(family, kind, proto)
    return socket(family, kind, proto, one.detach()), socket(family, kind, proto, other.detach())
