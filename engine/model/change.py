"""What a container changed, and what a copy moved."""

from __future__ import annotations

from engine.model.value import Value


class Change(Value, frozen=True):
    """A path that differs from the image.

    Attributes:
        kind: "A" for added, "C" for changed, "D" for deleted (with all that was below it).
        path: Absolute path inside the container.
    """

    kind: str
    path: str


class Copied(Value, frozen=True):
    """What a copy moved.

    Attributes:
        entries: How many files, directories, links and nodes.
        size: Bytes of regular files, without holes.
        warnings: Sentences about what was left out.
    """

    entries: int
    size: int
    warnings: tuple[str, ...] = ()
