from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine.store.actor import actor
from engine.store.journal import Journal, _place_of

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def a_long_journal(tmp_path: Path) -> Journal:
    lines = (
        f'{{"time": "{(BEGAN + timedelta(seconds=number)).isoformat()[:19]}.000000000Z", "type": "container", "action": "start",'
        f' "id": "{number}", "name": "n", "attributes": {{}}}}\n'
        for number in range(5000)
    )
    torn = '{"time": "2026-\n'
    tmp_path.joinpath("events.jsonl").write_text(
        "".join(torn + line if number % 500 == 7 else line for number, line in enumerate(lines))
    )
    return Journal(tmp_path / "events.jsonl", tmp_path / "lock")


def test_events_since_a_moment_are_found_without_reading_the_journal_whole(tmp_path: Path) -> None:
    journal = a_long_journal(tmp_path)
    whole = journal.between()
    assert len(whole) == 5000
    for second in (0, 1, 499, 2500, 4998, 4999):
        since = BEGAN + timedelta(seconds=second)
        assert journal.between(since) == whole[second:], second
    assert journal.between(BEGAN - timedelta(days=1)) == whole
    assert journal.between(BEGAN + timedelta(days=1)) == ()
    size = tmp_path.joinpath("events.jsonl").stat().st_size
    assert _place_of(tmp_path / "events.jsonl", BEGAN + timedelta(seconds=4990)) > size - (128 << 10)
    assert _place_of(tmp_path / "none", BEGAN) == 0


def test_what_is_asked_for_names_who_asked_and_what_is_not_does_not(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "events.jsonl", tmp_path / "lock")
    journal.append("container", "stop", "c", "web", signal="15")
    journal.write("container", "die", "c", "web", {"exitCode": "0"})
    asked, unasked = journal.between()
    assert asked.attributes == {"signal": "15", **actor()}
    assert unasked.attributes == {"exitCode": "0"}
