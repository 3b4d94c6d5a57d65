from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.color import Color
from textual.theme import Theme

from engine.model.limits import Limits
from tests.fakes import a_container, eight
from tuicon import config, themes
from tuicon.cli import output, parser
from tuicon.cli.failure import Usage
from tuicon.commands.registry import COMMANDS
from tuicon.model import limit_flags, rows, tuning, units
from tuicon.model.history import History
from tuicon.model.snapshot import Snapshot
from tuicon.terminal import parse_detach_keys
from tuicon.widgets import plot
from tuicon.widgets.log_view import clean
from tuicon.widgets.plot import Series
from tuicon.widgets.table import sparkline

anything = st.floats(allow_nan=True, allow_infinity=True)


@pytest.mark.parametrize(
    ("text", "number"),
    [("512", 512), ("1k", 1024), ("64m", 64 << 20), ("1.5G", 3 << 29), ("10MiB", 10 << 20), ("7b", 7)],
)
def test_sizes_are_dockers(text: str, number: int) -> None:
    assert units.parse_size(text) == number


@pytest.mark.parametrize("text", ["", "m", "1x", "1 2", "0x10", "1e3"])
def test_malformed_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        units.parse_size(text)


def test_moments_are_durations_times_or_dates() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert units.parse_moment("90m", now) == datetime(2026, 1, 1, 10, 30, tzinfo=UTC)
    assert units.parse_moment("1767225600", now) == datetime(2026, 1, 1, tzinfo=UTC)
    assert units.parse_moment("2026-01-01T01:02:03Z", now) == datetime(2026, 1, 1, 1, 2, 3, tzinfo=UTC)


@settings(max_examples=40, deadline=None)
@given(st.lists(anything, max_size=60), st.one_of(st.none(), anything), st.integers(0, 90), st.integers(0, 30))
def test_no_numbers_break_the_plot(values: list[float], limit: float | None, width: int, height: int) -> None:
    series = Series("x", values)
    top = plot.scale_of([series], limit, 1.0)
    assert math.isfinite(top)
    color = (1, 2, 3)
    drawn = plot.draw(
        [(series, color)],
        size=(width, height),
        top=top,
        window=60,
        limit=None if limit is None else (limit, color),
        ticks=[(0, "0")],
    )
    assert drawn


@given(st.lists(anything, max_size=40), st.integers(1, 20), st.one_of(st.none(), st.floats(0, 1e18)))
def test_a_sparkline_has_its_width_whatever_the_values(values: list[float], width: int, maximum: float | None) -> None:
    assert len(sparkline(values, width, maximum)) == width


@given(st.text())
def test_output_cannot_move_the_cursor(text: str) -> None:
    cleaned = clean(text)
    assert not any(ord(character) < 32 and character != "\x1b" for character in cleaned)


@pytest.mark.parametrize(
    "hostile", ["\x1b[2Jx", "\x1b]0;title\x07x", "\x1b[10;10Hx", "a\rx", "\x1bPq#0\x1b\\x", "\x1b[?1049hx", "\x07x"]
)
def test_escapes_but_colours_are_taken_out(hostile: str) -> None:
    assert clean(hostile) == "x"


def test_colours_stay() -> None:
    assert clean("\x1b[31mred\x1b[0m\n") == "\x1b[31mred\x1b[0m"


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160, 300])
def test_columns_leave_room_for_the_name(width: int) -> None:
    columns = rows.container_columns(width)
    assert {"status", "name", "cpu"} <= {column.id for column in columns}
    if width >= 60:
        assert sum(column.width or 12 for column in columns) + len(columns) + 1 <= width


def test_filters_take_words_and_exclude_others() -> None:
    snapshot = Snapshot(containers=eight().containers.list())
    found = rows.container_rows(snapshot, History(), rows.container_columns(160))

    def names(pattern: str) -> list[str]:
        return [row.cells[1].text for row in found if rows.matches(row, pattern)]

    assert names("exit") == ["migrate", "backup"]
    assert names("running !gate") == ["database", "worker", "metrics"]


def test_a_knob_goes_from_unlimited_to_above_the_use() -> None:
    knobs = {one.id: one for one in tuning.tunables(4, 8 << 30, ())}
    cpu, memory = knobs["cpus"], knobs["memory"]
    assert tuning.stepped(cpu, None, 1, 0.5) is None
    below = tuning.stepped(cpu, None, -1, 0.5)
    assert isinstance(below, float)
    assert 0.5 < below < 1.0
    assert tuning.stepped(cpu, 0.05, -5, 0) == 0.05
    assert tuning.stepped(cpu, 4.0, 5, 0) == 4.0
    grown = tuning.stepped(memory, 64 << 20, 1, 0)
    assert isinstance(grown, float)
    assert grown > 64 << 20


def test_a_limit_set_by_a_knob_is_the_one_read_back() -> None:
    values: dict[str, tuning.Value] = {"cores": 1.5, "tasks": 77.0, "switch": 1.0, "list": "0-1", "percent": 60.0}
    for tunable in tuning.tunables(4, 8 << 30, ("/dev/sda", "/dev/sdb")):
        value = values.get(tunable.unit, float(1 << 28 if tunable.unit.startswith("B") else 700))
        changed = tuning.change_to(tunable, value)(Limits(cpus=2.0, memory=1 << 26))
        assert tuning.value_of(changed, tunable) == value
        assert tuning.value_of(tuning.change_to(tunable, None)(changed), tunable) is None
        assert tunable.unit in ("list", "switch") or isinstance(tuning.stepped(tunable, value, -1, 0.0), float)


def contrast(one: str, other: str) -> float:
    def light(text: str) -> float:
        parts = [channel / 255 for channel in Color.parse(text).rgb]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((light(one), light(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", themes.load(themes.directories())[0], ids=lambda theme: theme.name)
def test_themes_can_be_read(theme: Theme) -> None:
    colors = theme.to_color_system().generate()
    least = 7.0 if "contrast" in theme.name else 4.5
    for name in ("foreground", "primary", "success", "warning", "error", "accent"):
        assert contrast(colors[name], colors["background"]) >= least, name
    assert contrast(theme.variables["muted"], colors["background"]) >= least


@pytest.mark.parametrize(
    "text", ["", "primary = 7", "primary = 'nocolour'", "primary = '#fff'\nunknown = 1", "= broken"]
)
def test_a_bad_theme_is_said_and_not_fatal(tmp_path: Path, text: str) -> None:
    tmp_path.joinpath("bad.toml").write_text(text)
    found, problems = themes.load((tmp_path,))
    assert found == ()
    assert len(problems) == 1
    assert "bad.toml" in problems[0]


def test_one_colour_makes_a_theme(tmp_path: Path) -> None:
    tmp_path.joinpath("mine.toml").write_text("primary = '#336699'")
    assert [theme.name for theme in themes.load((tmp_path,))[0]] == ["tuicon-mine"]


def test_the_keymap_knows_its_commands_and_doubles(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[keys]\nstop = "x"\nstart = "x"\nfly = "f"\n')
    found = config.load(tmp_path, {command.id for command in COMMANDS})
    assert found.keys == {}
    assert any("fly" in problem for problem in found.problems)
    assert any("'x'" in problem for problem in found.problems)
    path.write_text("= nonsense")
    assert len(config.load(tmp_path, set()).problems) == 1
    path.unlink()
    assert config.load(tmp_path, set()) == config.Config()


def test_default_keys_do_not_clash() -> None:
    for pane in ("containers", "images", "networks", "volumes"):
        keys = [key for command in COMMANDS if command.pane in ("", pane) for key in command.keys.split(",") if key]
        assert len(keys) == len(set(keys))


def test_detach_keys_are_dockers() -> None:
    assert parse_detach_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert parse_detach_keys("ctrl-@,a") == b"\x00a"
    with pytest.raises(ValueError, match="detach"):
        parse_detach_keys("alt-x")


def test_update_flags_change_only_what_they_name() -> None:
    arguments = parser.build(["update"]).parse_args(["update", "--cpus", "0.5", "--pids-limit", "-1", "x"])
    before = Limits(memory=64 << 20, pids=5, cpu_quota=1000)
    assert limit_flags.change_of(arguments)(before) == Limits(memory=64 << 20, cpus=0.5)


def test_flags_that_we_do_not_have_are_refused() -> None:
    with pytest.raises(Usage):
        parser.build(["run"]).parse_args(["run", "--gpus", "all"])


def test_every_verb_has_a_function() -> None:
    from tuicon.cli.main import _FUNCTIONS

    built = parser.build()
    verbs = next(
        action.choices
        for action in built._actions
        if action.dest == "COMMAND" or (hasattr(action, "choices") and action.choices)
    )
    assert verbs is not None
    for name, sub in dict(verbs).items():
        verb = sub.get_default("verb")
        assert verb.endswith(" --help") or verb in _FUNCTIONS, name


def test_templates_are_filled() -> None:
    record = {"A": {"B": True}, "C": [1]}
    assert output.fill("{{.A.B}} {{json .C}}", record) == "true [1]"
    with pytest.raises(Usage):
        output.fill("{{.Nope}}", record)


def test_status_words_are_dockers() -> None:
    from tuicon.cli.listing import status_text

    container = a_container(1)
    assert container.started_at is not None
    assert (
        status_text(container, container.started_at.replace(minute=container.started_at.minute + 5)) == "Up 5 minutes"
    )
