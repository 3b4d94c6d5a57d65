"""The files of an image as a tree of lines: what is folded, filtered and sorted; pure, and quick with 100,000 files."""

from __future__ import annotations

import stat
from collections.abc import Collection, Sequence

from engine.model.contents import Change, FileEntry
from tuicon.model import units
from tuicon.model.text import printable

MARKS = {Change.UNCHANGED: " ", Change.ADDED: "A", Change.CHANGED: "C", Change.REMOVED: "D", Change.INSIDE: "·"}
"""docker diff's letters, and a dot for directories in which something changed."""


class FileTree:
    """Entries with their places: a directory comes before what is in it.

    Attributes:
        entries: The paths.
        depths: How deep each of them is, 0 for the top.
    """

    def __init__(self, entries: Sequence[FileEntry]) -> None:
        self.entries = entries
        self.depths = [entry.path.count("/") - 1 for entry in entries]
        self._top: list[int] = []
        self._children: dict[int, list[int]] = {}
        self._kept: tuple[tuple[str, bool], Collection[int]] = ("", False), range(len(entries))
        above: list[int] = []
        for place, depth in enumerate(self.depths):
            del above[depth:]
            siblings = self._children.setdefault(above[-1], []) if above else self._top
            siblings.append(place)
            above.append(place)

    def has_children(self, place: int) -> bool:
        """Return whether something is below a path."""
        return place in self._children

    def directories(self) -> list[str]:
        """Return the paths that have something below them."""
        return [self.entries[place].path for place in self._children]

    def lines(
        self, *, opened: Collection[str] | None = None, pattern: str = "", changed_only: bool = False,
        by_size: bool = False, depth: int | None = None,
    ) -> list[int]:  # fmt: skip
        """Return the places of the entries that are seen, in their order.

        Args:
            opened: The directories that are unfolded; None for all.
            pattern: Words that all occur in the path; a leading ! excludes a word. Parents of what fits stay.
            changed_only: Leave out what did not change.
            by_size: The largest first, instead of by name.
            depth: How many levels to show, None for all.
        """
        kept = self._select(pattern, changed_only=changed_only)
        entries, depths, found = self.entries, self.depths, []
        waiting = self._ordered(self._top, by_size=by_size)
        while waiting:
            place = waiting.pop()
            if place not in kept:
                continue
            found.append(place)
            is_open = opened is None or entries[place].path in opened
            if is_open and place in self._children and (depth is None or depths[place] + 1 < depth):
                waiting += self._ordered(self._children[place], by_size=by_size)
        return found

    def _ordered(self, places: list[int], *, by_size: bool) -> list[int]:
        """Return siblings, the first one last."""
        if by_size:
            return sorted(places, key=lambda place: self.entries[place].size, reverse=False)
        return places[::-1]

    def _select(self, pattern: str, *, changed_only: bool) -> Collection[int]:
        if self._kept[0] == (pattern, changed_only):
            return self._kept[1]
        words = [(word.lstrip("!"), word.startswith("!")) for word in pattern.lower().split() if word != "!"]
        kept: Collection[int] = range(len(self.entries))
        if words or changed_only:
            kept = self._with_parents(words, changed_only=changed_only)
        self._kept = (pattern, changed_only), kept
        return kept

    def _with_parents(self, words: list[tuple[str, bool]], *, changed_only: bool) -> set[int]:
        kept: set[int] = set()
        above: list[int] = []
        for place, (entry, depth) in enumerate(zip(self.entries, self.depths, strict=True)):
            del above[depth:]
            above.append(place)
            if changed_only and entry.change is Change.UNCHANGED:
                continue
            path = entry.path.lower() if words else ""
            if all((word in path) != is_excluded for word, is_excluded in words):
                for one in reversed(above):
                    if one in kept:
                        break
                    kept.add(one)
        return kept


def mode_text(entry: FileEntry) -> str:
    """Return kind and permissions as ls shows them."""
    return entry.kind + stat.filemode(entry.mode)[1:]


def owner_text(entry: FileEntry) -> str:
    """Return user and group, as numbers: an image's names are not ours."""
    return f"{entry.uid}:{entry.gid}"


def name_text(entry: FileEntry) -> str:
    """Return the last part of the path, and where a link leads."""
    name = printable(entry.path.rpartition("/")[2])
    return f"{name} -> {printable(entry.link)}" if entry.link else name


def hexdump(data: bytes) -> str:
    """Return bytes sixteen a line: place, numbers, characters."""
    lines = []
    for start in range(0, len(data), 16):
        part = data[start : start + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:08x}  {part.hex(' '):<47}  {letters}")
    return "\n".join(lines)


def content_text(data: bytes) -> str:
    """Return a file's content as text, or as numbers when it is none."""
    if b"\0" in data:
        return hexdump(data[: 64 << 10])
    return data.decode("utf-8", "replace")


def summary(size: int, count: int) -> str:
    """Return "12 files, 1.2MiB"."""
    return f"{count} {'file' if count == 1 else 'files'}, {units.size(size)}"
