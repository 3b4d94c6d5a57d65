from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from engine.errors import InvalidArgument
from engine.model.contents import Change, FileEntry
from engine.model.volume import Volume, VolumeUse
from engine.volumes.quota import parse_size
from tuicon.model.volumes import file_columns, file_rows, info_text, sorted_files

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def entry(path: str, kind: str = "-", size: int = 0, mtime: int = 0) -> FileEntry:
    return FileEntry(path, kind, size, 0, 0o644, 0, 0, mtime, "", Change.UNCHANGED, 0)


def test_files_have_an_order_each_and_measured_directories_count_by_what_they_hold() -> None:
    files = [entry("/b", size=5, mtime=1), entry("/d", "d", mtime=2), entry("/a", size=9, mtime=3)]
    sizes = {"/d": 7}
    orders = {by: [found.path for found in sorted_files(files, sizes, by)] for by in ("name", "size", "time")}
    assert orders == {"name": ["/d", "/a", "/b"], "size": ["/a", "/d", "/b"], "time": ["/a", "/d", "/b"]}


def test_times_that_no_calendar_has_and_names_that_a_terminal_would_obey_are_shown() -> None:
    columns = file_columns(100)
    row = file_rows([entry("/\x1b[31m", mtime=1 << 60)], {}, columns)[0]
    cells = dict(zip([column.id for column in columns], [cell.text for cell in row.cells], strict=True))
    assert (cells["time"], cells["name"]) == ("out of range", "\\x1b[31m")


def test_the_text_of_a_volume_says_who_uses_it_and_how_much_it_may_hold() -> None:
    volume = Volume("data", "local", "/v", NOW - timedelta(days=2), labels={"a": "\x1b]0;x"}, quota=1 << 30)
    text = info_text(volume, [VolumeUse("1", "web", "/srv", True, False)], [], 1 << 20, NOW)
    assert "1.00MiB of 1.00GiB" in text
    assert "web: /srv, read only (does not run)" in text
    assert "a=\\x1b]0;x" in text


@pytest.mark.parametrize(
    ("text", "size"), [("1024", 1024), ("1k", 1024), ("1.5G", 3 << 29), ("2TiB", 2 << 40), ("3mb", 3 << 20)]
)
def test_sizes_are_dockers(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1x", "g", "1e3", "0.1"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid volume size"):
        parse_size(text)
