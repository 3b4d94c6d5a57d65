from __future__ import annotations

import shlex

from engine.containers.boot import systemd_unit


def test_paths_in_a_unit_are_words_whose_specifiers_mean_nothing() -> None:
    unit = systemd_unit("/usr/bin/tuicon", "/srv/a b%c", "/run/x$y")
    start = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    words = shlex.split(start.removeprefix("ExecStart="))
    assert words == ["/usr/bin/tuicon", "--root", "/srv/a b%%c", "--run-root", "/run/x$$y", "system", "boot"]


def test_a_plain_unit_needs_no_quotes() -> None:
    unit = systemd_unit("/usr/bin/tuicon", "/var/lib/tuicon", "/run/tuicon")
    assert "ExecStop=/usr/bin/tuicon --root /var/lib/tuicon --run-root /run/tuicon system shutdown\n" in unit
