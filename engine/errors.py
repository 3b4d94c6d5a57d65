"""The error tree of the engine.

EngineError                     str() is one plain sentence; .hint says what to do; .exit_code is docker's
├── NotFound                    no container, image, network, volume, snapshot or file of that name
├── Ambiguous                   a prefix that fits several
├── Conflict                    the name is taken, or the object is in a state that forbids the action
├── InvalidArgument             a value the caller gave is wrong
├── NotPermitted                a privilege is missing
├── NotSupported                this kernel cannot do it
├── ImageError                  an archive, manifest or layer is damaged, hostile or of an unknown kind
├── CopyFailed                  a file cannot be read or written while it is copied
├── RegistryError               a registry cannot be reached, refuses, or answers what it must not
│   └── NotAuthorized           it wants credentials, or others than it got
├── Cancelled                   the caller called it off
├── StartFailed                 the container's process could not be started
│   ├── CommandNotFound         exit code 127
│   └── CommandNotExecutable    exit code 126
├── LauncherLost                the launcher or a monitor went away in the middle of a request
└── StoreError                  the state root cannot be used
"""

from __future__ import annotations


class EngineError(Exception):
    """Anything the engine reports to its caller.

    Attributes:
        hint: What the caller can do about it, one sentence, or an empty string.
        exit_code: The exit code the command line gives it, as docker does.
    """

    exit_code = 125

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class NotFound(EngineError):
    """There is no object of that name.

    Attributes:
        kind: "container", "image", "network", "volume", "snapshot" or "file".
        name: The reference that was looked up.
    """

    exit_code = 1

    def __init__(self, kind: str, name: str, *, hint: str = "") -> None:
        super().__init__(f"no such {kind}: {name}", hint=hint)
        self.kind = kind
        self.name = name


class Ambiguous(EngineError):
    """A prefix fits several objects."""

    exit_code = 1

    def __init__(self, kind: str, name: str, matches: tuple[str, ...]) -> None:
        super().__init__(f"{kind} prefix {name!r} fits several: {', '.join(matches)}")
        self.kind = kind
        self.name = name
        self.matches = matches


class Conflict(EngineError):
    """The name is taken, or the object's state forbids the action."""

    exit_code = 1


class InvalidArgument(EngineError):
    """A value that the caller gave is wrong."""


class NotPermitted(EngineError):
    """A privilege is missing."""


class NotSupported(EngineError):
    """This kernel or this host cannot do what was asked."""


class ImageError(EngineError):
    """An archive, manifest or layer is damaged, hostile or of an unknown kind."""

    exit_code = 1


class CopyFailed(EngineError):
    """A file cannot be read or written while it is copied into or out of a container."""

    exit_code = 1


class RegistryError(EngineError):
    """A registry cannot be reached, refuses, or answers what it must not.

    Attributes:
        status: The HTTP status, or 0 when there was no answer.
    """

    exit_code = 1

    def __init__(self, message: str, *, status: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class NotAuthorized(RegistryError):
    """A registry wants credentials, or others than it got."""


class Cancelled(EngineError):
    """The caller called it off; nothing of it is left."""


class StartFailed(EngineError):
    """The container's process could not be started.

    Attributes:
        container_id: The full id, or an empty string when there is none yet.
        errno: The errno of the call that failed, or 0.
    """

    def __init__(self, message: str, *, container_id: str = "", errno: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.container_id = container_id
        self.errno = errno


class CommandNotFound(StartFailed):
    """The command does not exist in the container."""

    exit_code = 127


class CommandNotExecutable(StartFailed):
    """The command exists and cannot be executed."""

    exit_code = 126


class LauncherLost(EngineError):
    """The launcher or a monitor went away in the middle of a request."""


class StoreError(EngineError):
    """The state root cannot be used."""
