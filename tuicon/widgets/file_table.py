"""The files of an image as a tree; only the rows that are seen are made."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar, overload

from textual.binding import Binding, BindingType
from textual.geometry import Size

from engine.model.contents import Change, FileEntry
from tuicon.model import units
from tuicon.model.filetree import MARKS, FileTree, mode_text, name_text, owner_text
from tuicon.model.rows import Cell, Column, Row
from tuicon.widgets.table import RecordTable

_NARROW = 64
_MARK, _SIZE, _NAME = Column("mark", "", 1), Column("size", "SIZE", 7, "right"), Column("name", "FILE", None)
_WIDE = (_MARK, Column("mode", "MODE", 10), Column("owner", "OWNER", 9), _SIZE, _NAME)
_STYLES = {
    Change.ADDED: "ok",
    Change.CHANGED: "warn",
    Change.REMOVED: "bad",
    Change.INSIDE: "warn",
    Change.UNCHANGED: "",
}


class _Rows(Sequence[Row]):
    """The rows of a tree, each made when it is asked for."""

    def __init__(self, tree: FileTree, places: list[int], opened: Collection[str] | None, *, is_wide: bool) -> None:
        self._tree = tree
        self._places = places
        self._opened = opened
        self._is_wide = is_wide

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, number: int) -> Row: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Row]: ...
    def __getitem__(self, number: int | slice) -> Row | Sequence[Row]:
        if isinstance(number, slice):
            return [self._row(place) for place in self._places[number]]
        return self._row(self._places[number])

    def _row(self, place: int) -> Row:
        entry = self._tree.entries[place]
        style = _STYLES[entry.change]
        fold = " "
        if self._tree.has_children(place):
            fold = "▾" if self._opened is None or entry.path in self._opened else "▸"
        name = Cell(
            f"{'  ' * self._tree.depths[place]}{fold} {name_text(entry)}",
            "" if entry.change is Change.INSIDE else style,
        )
        size = Cell(units.short_size(entry.size), "muted" if not entry.size else "")
        between = (Cell(mode_text(entry), "muted"), Cell(owner_text(entry), "muted")) if self._is_wide else ()
        return Row(entry.path, (Cell(MARKS[entry.change], style), *between, size, name))


class FileTable(RecordTable):
    """Shows a tree of files; a row's key is its path."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "choose", "fold", show=False)]

    def __init__(self, *, id: str | None = None, empty: str = "no files") -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id, empty=empty)
        self._tree = FileTree(())
        self._lines: list[int] = []
        self._opened: Collection[str] | None = ()

    @property
    def entry(self) -> FileEntry | None:
        """The entry under the cursor."""
        return self._tree.entries[self._lines[self.cursor]] if self.cursor >= 0 else None

    def show_files(self, tree: FileTree, lines: list[int], opened: Collection[str] | None) -> None:
        """Show some of the entries of a tree.

        Args:
            tree: The tree.
            lines: The places of those entries.
            opened: The directories that are unfolded, None for all.
        """
        place = self.cursor
        self._tree, self._lines, self._opened = tree, lines, opened
        self._places = {tree.entries[line].path: number for number, line in enumerate(lines)}
        self._lay_out()
        if self.cursor_key not in self._places:
            self.cursor_key = tree.entries[lines[min(max(place, 0), len(lines) - 1)]].path if lines else ""
        else:
            self.watch_cursor_key(self.cursor_key)

    def on_resize(self) -> None:
        """Choose the columns anew."""
        self._lay_out()

    def _lay_out(self) -> None:
        is_wide = self.size.width >= _NARROW
        self._columns = _WIDE if is_wide else (_MARK, _SIZE, _NAME)
        self._rows = _Rows(self._tree, self._lines, self._opened, is_wide=is_wide)
        self.virtual_size = Size(self.size.width, len(self._lines) + self._header)
        self.refresh()
