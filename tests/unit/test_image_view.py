from __future__ import annotations

from datetime import timedelta

import pytest

from engine.api import parse_publish
from engine.model.transfer import Phase, Progress
from tests.fake_registries import LAYERS, MIB, an_image, some_images, some_steps
from tests.fakes import NOW, with_images
from tuicon.dialogs.form import FieldError
from tuicon.dialogs.run import spec_of
from tuicon.model.images import built_on, history_text, image_columns, image_rows, info_text, sharing, short, usage_text
from tuicon.model.snapshot import Snapshot
from tuicon.model.transfers import State, Tally, TransferProgress, bar, clock, summary, totals


def told(*news: tuple[float, Progress]) -> Tally:
    tally = Tally()
    for moment, item in news:
        tally.take(item, moment)
    return tally


def test_a_rate_is_that_of_the_last_seconds() -> None:
    steps = [(float(second), Progress("a", Phase.DOWNLOADING, second * 10, 1000)) for second in range(20)]
    steps += [(20.0 + second, Progress("a", Phase.DOWNLOADING, 190 + second * 40, 1000)) for second in range(10)]
    layer = told(*steps).layers(29.0)[0]
    assert layer.rate == pytest.approx(40.0)
    assert layer.seconds_left == pytest.approx((1000 - 550) / 40)


def test_a_rate_falls_while_nothing_comes() -> None:
    tally = told((0.0, Progress("a", Phase.DOWNLOADING, 0, 100)), (1.0, Progress("a", Phase.DOWNLOADING, 50, 100)))
    assert tally.layers(1.0)[0].rate == pytest.approx(50.0)
    assert tally.layers(10.0)[0].rate == pytest.approx(5.0)


def test_what_comes_from_the_disk_is_no_transfer() -> None:
    tally = told((0.0, Progress("a", Phase.UNPACKING, 0, 100)), (0.1, Progress("a", Phase.UNPACKING, 90, 100)))
    assert tally.layers(0.2)[0].rate == 0.0


def test_a_layer_that_starts_over_has_no_negative_rate() -> None:
    tally = told((0.0, Progress("a", Phase.DOWNLOADING, 80, 100)), (1.0, Progress("a", Phase.DOWNLOADING, 5, 100)))
    assert tally.layers(2.0)[0].rate == 0.0


def test_a_layer_that_has_ended_stays_ended() -> None:
    tally = told((0.0, Progress("a", Phase.PULLED, 100, 100)), (1.0, Progress("a", Phase.WAITING, 0, 100)))
    assert tally.layers(2.0)[0].phase is Phase.PULLED


def test_totals_leave_out_what_need_not_be_moved() -> None:
    tally = told(
        (0.0, Progress("a", Phase.EXISTS, 500, 500)), (0.0, Progress("b", Phase.MOUNTED, 70, 70)),
        (0.0, Progress("c", Phase.WAITING, 0, 30)), (0.0, Progress("d", Phase.PULLED, 20, 20)),
    )  # fmt: skip
    assert totals(tally.layers(1.0)) == (20, 50, 0.0)


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "░░░░"), (0.5, "██░░"), (1.0, "████"), (2.0, "████"), (0.375, "█▌░░"), (None, "····")]
)
def test_a_bar_has_eighths(share: float | None, text: str) -> None:
    assert bar(share, 4) == text


@pytest.mark.parametrize(("seconds", "text"), [(8.2, "0:08"), (75, "1:15"), (3723, "1:02:03"), (None, ""), (1e9, "")])
def test_a_clock_reads_as_people_write_it(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text


def test_a_summary_tells_how_far_it_is_and_how_it_ended() -> None:
    running = TransferProgress("1", "pull", "a:1", State.RUNNING, "", 4.0, (), 25 * MIB, 100 * MIB, 5.0 * MIB)
    assert summary(running) == "pulling a:1 · 25% of 100M · 5.00M/s · 0:15 left"
    assert summary(TransferProgress("1", "push", "a:1", seconds=3.0)) == "pushing a:1 · for 0:03"
    assert summary(TransferProgress("1", "pull", "a:1", State.FAILED, "no such image")) == "no such image"


def test_images_built_on_another_have_its_layers_below_their_own() -> None:
    base, child, alone = an_image(1, layers=1), an_image(2, layers=3), an_image(3, layers=1, size=1)
    other = an_image(4, layers=1)
    images = (base, child, alone, other)
    assert built_on(base, images) == (child,)
    assert built_on(child, images) == ()
    assert built_on(an_image(9, layers=0), images) == ()


def test_images_that_share_layers_are_told_with_these() -> None:
    first, second = an_image(1, layers=3), an_image(2, layers=2)
    third = an_image(3, layers=0)
    assert sharing(first, (first, second, third)) == ((second, LAYERS[:2]),)


def test_a_label_with_line_ends_cannot_draw_lines_of_its_own() -> None:
    image = some_images()[0]
    image.settings.labels["evil"] = "x\nNames        trusted:1\r\x1b[2Jy"
    lines = info_text(image, NOW).splitlines()
    assert not any(line.startswith("Names        trusted") for line in lines)


def test_usage_counts_what_is_its_own_alone() -> None:
    backend = with_images()
    snapshot = Snapshot(NOW, backend.containers.list(), {}, backend.images.list())
    sizes = {step.layer: step.size for step in some_steps() if step.layer}
    text = usage_text(snapshot.images[1], snapshot, sizes)
    assert "12.0MiB of 212MiB" in text
    assert "gateway" in text


def test_a_history_keeps_whole_commands() -> None:
    text = history_text(some_steps(), NOW + timedelta(hours=1))
    assert "apt-get install -y --no-install-recommends nginx python3 ca-certificates && rm -rf" in text


@pytest.mark.parametrize("width", [20, 40, 58, 80, 200])
def test_the_columns_fit_and_leave_room_for_the_name(width: int) -> None:
    columns = image_columns(width)
    fixed = sum(column.width or 0 for column in columns) + len(columns) + 1
    assert {"name", "tag", "size"} <= {column.id for column in columns}
    assert width - fixed >= 18 or width < 58
    rows = image_rows(Snapshot(images=tuple(some_images())), columns)
    assert all(len(row.cells) == len(columns) for row in rows)


@pytest.mark.parametrize(
    ("full", "text"),
    [("docker.io/library/busybox:latest", "busybox:latest"), ("docker.io/a/b:1", "a/b:1"), ("localhost:5000/a:1", "localhost:5000/a:1")],
)  # fmt: skip
def test_names_are_shown_as_docker_shows_them(full: str, text: str) -> None:
    assert short(full) == text


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [("image", "", "image"), ("env", "=x", "NAME=VALUE"), ("command", "'a", "malformed"), ("cpus", "many", "no number"),
        ("memory", "much", "size"), ("pids", "x", "no number"), ("ports", "80:x", "80:x"), ("networks", "host shop", "host excludes")],
)  # fmt: skip
def test_a_form_names_the_field_that_is_wrong(field: str, value: str, why: str) -> None:
    names = ("image", "name", "command", "env", "networks", "ports", "cpus", "memory", "pids")
    values = dict.fromkeys(names, "") | {"image": "a", field: value}
    with pytest.raises(FieldError, match=why) as refused:
        spec_of(values, parse_publish)
    assert refused.value.field == field
