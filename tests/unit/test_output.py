"""What the command line prints in columns."""

from __future__ import annotations

import pytest

from tuicon.cli import output


def test_a_table_has_nothing_that_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("ID", "CREATED BY"), [["1", "RUN \x1b]0;x\x07\u202e echo"], ["22", "a\nb"]])
    assert capsys.readouterr().out.splitlines() == [
        "ID   CREATED BY",
        r"1    RUN \x1b]0;x\x07\u202e echo",
        r"22   a\x0ab",
    ]
