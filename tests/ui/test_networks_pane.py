from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from engine.errors import Conflict, InvalidArgument
from engine.model.limits import Limits, LimitsChanged
from engine.model.network import Attachment, Network
from engine.model.reach import Reach, ReachStep
from engine.model.usage import Counters, InterfaceCounters, Usage
from tests.fake_networks import an_endpoint, with_networks
from tests.fakes import NOW, FakeBackend, a_container
from tests.ui.test_console import main_of, table, until, with_console
from tuicon.dialogs.ask import Confirm
from tuicon.dialogs.connect import ConnectForm
from tuicon.dialogs.document import Document
from tuicon.dialogs.network import NetworkForm, RatesForm
from tuicon.dialogs.reach import ReachForm
from tuicon.model.network_tables import rule_rows
from tuicon.model.reach import Target, mark_of, target_of
from tuicon.model.topology import Mark, keys_of, picture
from tuicon.model.traffic import Flow, Meter, readings_of
from tuicon.screens.detail import Detail
from tuicon.widgets.table import RecordTable
from tuicon.widgets.topology import Topology

P = Pilot[int]
MIB = 1 << 20


async def in_networks(
    body: Callable[[P, FakeBackend], Any], name: str = "backend", backend: FakeBackend | None = None,
    size: tuple[int, int] = (80, 40),
) -> None:  # fmt: skip
    """Run a test in the list of networks, with the cursor on one."""

    async def begin(pilot: P, backend: FakeBackend) -> None:
        await pilot.press("3")
        await until(pilot, lambda: len(table(pilot, "networks").rows) == len(backend.networks.items))
        await on_network(pilot, backend, name)
        await body(pilot, backend)

    await with_console(backend or with_networks(), begin, size)


async def on_network(pilot: P, backend: FakeBackend, name: str) -> None:
    table(pilot, "networks").cursor_key = next(one.id for one in backend.networks.items if one.name == name)
    await until(pilot, lambda: (found := main_of(pilot).chosen_network) and found.name == name)
    await until(pilot, lambda: any(line.place == f"bridge:{name}" for line in topology(pilot).lines))


def topology(pilot: P) -> Topology:
    return main_of(pilot).query_one(Topology)


def seen(pilot: P) -> str:
    return "\n".join(line.text for line in topology(pilot).lines)


def line_of(pilot: P, word: str) -> str:
    return next((line.text for line in topology(pilot).lines if word in line.text), "")


def said(pilot: P) -> str:
    return "\n".join(toast.message for toast in pilot.app._notifications)


async def dialog(pilot: P, kind: type[Any]) -> Any:
    await until(pilot, lambda: isinstance(pilot.app.screen, kind) and pilot.app.screen.is_mounted)
    return pilot.app.screen


async def on_member(pilot: P, name: str) -> None:
    await until(pilot, lambda: name in seen(pilot))
    topology(pilot).cursor_key = next(key for key in keys_of(topology(pilot).lines) if named(pilot, key) == name)
    await until(pilot, lambda: (member := main_of(pilot).chosen_member) is not None and member.name == name)


def named(pilot: P, key: str) -> str:
    container = main_of(pilot).snapshot.container(key.partition("/")[2])
    return container.name if container else ""


def wrong(screen: Any, field: str) -> str:
    line = screen.query_one(f"#field-{field}-wrong", Static)
    return str(line.render()) if line.has_class("-shown") else ""


# -- the picture -----------------------------------------------------------------------------------------


async def test_the_picture_leads_from_the_host_through_nat_and_bridge_to_the_members() -> None:
    async def body(pilot: P, _backend: FakeBackend) -> None:
        await until(pilot, lambda: "worker" in seen(pilot))
        places = [line.place.partition(":")[0] for line in topology(pilot).lines if line.place]
        assert places == ["uplink", "nat", "bridge", *["member"] * 5]
        assert "gateway 10.89.1.1/24" in line_of(pilot, "tu4be0c71d22")
        assert "10.89.1.3" in line_of(pilot, "database")
        assert "aka db, postgres · also in vault 10.89.2.2" in seen(pilot)
        assert "exit 2" in line_of(pilot, "migrate")

    await in_networks(body)


async def test_published_ports_and_limits_stand_beside_their_member() -> None:
    async def body(pilot: P, _backend: FakeBackend) -> None:
        await until(pilot, lambda: "≤8.00M" in line_of(pilot, "● gateway"))
        assert "0.0.0.0:8080→80/tcp, 0.0.0.0:8443→443/tcp" in seen(pilot)
        assert "2 ports published" in line_of(pilot, "NAT")
        assert "≤950K" in line_of(pilot, "● worker")

    await in_networks(body, "bridge")


async def test_each_kind_of_network_says_how_it_hangs_on_the_host() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        for network, words in (
            ("vault", "internal"), ("lan", "macvlan"), ("none", "no interface but lo"), ("spare", "c connects one"),
            ("host", "the host's own interfaces"),
        ):  # fmt: skip
            await on_network(pilot, backend, network)
            assert words in seen(pilot)
            assert ("NAT " in seen(pilot)) == (network == "spare")
        await pilot.press("c")
        await until(pilot, lambda: "cannot be connected to host" in said(pilot))

    await in_networks(body)


async def test_the_busiest_edge_is_the_heaviest_and_one_picture_shows_all_networks() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        def weight(name: str) -> int:
            return line_of(pilot, name).count("━")

        await until(pilot, lambda: weight("cache") > 0)
        assert weight("cache") >= weight("database") > weight("● gateway") > 0
        assert weight("migrate") == 0
        await pilot.press("a")
        await until(pilot, lambda: all(one.name in seen(pilot) for one in backend.networks.items))
        assert seen(pilot).count("gateway ") >= 2
        await pilot.press("a")
        await until(pilot, lambda: "vault  " not in seen(pilot))

    await in_networks(body)


async def test_the_cursor_walks_over_two_hundred_members_and_stays_in_sight() -> None:
    items = [
        a_container(number, endpoints=(an_endpoint("bridge", f"10.88.{number // 250}.{number % 250 + 2}", number),))
        for number in range(1, 201)
    ]

    async def body(pilot: P, _backend: FakeBackend) -> None:
        picture = topology(pilot)
        await until(pilot, lambda: len(keys_of(picture.lines)) == 200)
        await until(pilot, lambda: picture.show_vertical_scrollbar)
        assert max(len(line.text) for line in picture.lines) <= picture.scrollable_content_region.width
        await pilot.press("enter", "G")
        await until(pilot, lambda: picture.cursor_key == keys_of(picture.lines)[-1])
        last = next(number for number, line in enumerate(picture.lines) if line.key == picture.cursor_key)
        await until(pilot, lambda: picture.scroll_offset.y <= last < picture.scroll_offset.y + picture.size.height)
        await pilot.press("g")
        await until(pilot, lambda: picture.scroll_offset.y == 0)
        await pilot.press("j", "j")
        await until(pilot, lambda: picture.cursor_key == keys_of(picture.lines)[2])

    await in_networks(body, "bridge", FakeBackend(*items), (80, 24))


async def test_enter_on_a_member_goes_to_the_container() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await on_member(pilot, "worker")
        await pilot.press("enter")
        await until(pilot, lambda: main_of(pilot).focused is topology(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: main_of(pilot).pane == "containers")
        assert table(pilot).cursor_key == backend.containers.get("worker").id

    await in_networks(body)


# -- what is asked for -----------------------------------------------------------------------------------


async def test_a_container_is_found_and_connected_with_an_address_and_names() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await pilot.press("c")
        screen = await dialog(pilot, ConnectForm)
        shown = [row.cells[1].text for row in screen.query_one(RecordTable).rows]
        assert shown == ["metrics", "backup"]
        await pilot.press(*"back", "tab", *"10.89.1.300", "enter")
        await until(pilot, lambda: "10.89.1.300" in wrong(screen, "address"))
        screen.field("address").value = "10.89.1.30"
        screen.field("aliases").value = "dump archive"
        await pilot.press("enter")
        wanted = Attachment("backend", "10.89.1.30", aliases=("dump", "archive"))
        await until(pilot, lambda: backend.asked("connect") == [("connect", "backup", wanted)])
        await until(pilot, lambda: named(pilot, topology(pilot).cursor_key) == "backup")

    await in_networks(body)


async def test_disconnecting_asks_first_and_says_what_goes() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await on_member(pilot, "gateway")
        await pilot.press("C")
        question = await dialog(pilot, Confirm)
        assert question._question == "Disconnect gateway from bridge?"
        assert "and publishes 0.0.0.0:8080->80/tcp, 0.0.0.0:8443->443/tcp" in question._consequences
        assert "it stays in backend" in question._consequences
        await pilot.press("n")
        await until(pilot, lambda: pilot.app.screen is main_of(pilot))
        assert backend.asked("disconnect") == []
        await pilot.press("C")
        await dialog(pilot, Confirm)
        await pilot.press("y")
        await until(pilot, lambda: backend.asked("disconnect") == [("disconnect", "gateway", "bridge")])
        await until(pilot, lambda: "● gateway" not in seen(pilot))

    await in_networks(body, "bridge")


async def test_a_network_is_made_and_what_is_wrong_stands_beside_its_field() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await pilot.press("n")
        screen = await dialog(pilot, NetworkForm)
        await pilot.press("enter")
        await until(pilot, lambda: wrong(screen, "name") == "a name is needed")
        await pilot.press(*"shop")
        await until(pilot, lambda: wrong(screen, "name") == "")
        for field, value, why in (
            ("driver", "vxlan", "no driver vxlan"), ("subnet", "10.1.2.3/24", "host bits"), ("gateway", "x", "does not appear"),
            ("internal", "maybe", "yes or no"), ("options", "mtu", "no NAME=VALUE"),
        ):  # fmt: skip
            screen.field(field).value = value
            await pilot.press("enter")
            await until(pilot, lambda field=field, why=why: why in wrong(screen, field))  # type: ignore[misc]
            assert screen.focused is screen.field(field)
            screen.field(field).value = ""
        screen.field("subnet").value = "10.9.0.0/24"
        screen.field("internal").value = "yes"
        screen.field("options").value = "mtu=1400"
        await pilot.press("enter")
        await until(pilot, lambda: backend.asked("create_network"))
        name, given = backend.asked("create_network")[0][1:]
        assert name == "shop"
        assert {key: value for key, value in given.items() if value} == {
            "driver": "bridge", "subnet": "10.9.0.0/24", "internal": True, "options": {"mtu": "1400"},
        }  # fmt: skip
        await until(pilot, lambda: len(table(pilot, "networks").rows) == 8)
        backend.failures["create_network"] = Conflict("subnet 10.9.0.0/24 overlaps 10.9.0.0/16, of network shop")
        await pilot.press("n")
        await dialog(pilot, NetworkForm)
        await pilot.press(*"more", "enter")
        await until(pilot, lambda: "of network shop" in said(pilot))

    await in_networks(body)


async def test_removing_and_pruning_say_what_goes_and_who_would_miss_it() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await pilot.press("d")
        question = await dialog(pilot, Confirm)
        assert question._consequences == ["stopped, and will not start without it: migrate"]
        await pilot.press("y")
        await until(pilot, lambda: backend.asked("remove_network") == [("remove_network", "backend")])
        await until(pilot, lambda: len(table(pilot, "networks").rows) == 6)
        await pilot.press("D")
        question = await dialog(pilot, Confirm)
        assert question._consequences == ["spare  10.89.3.0/24"]
        await pilot.press("y")
        await until(pilot, lambda: backend.asked("remove_network")[1:] == [("remove_network", "spare")])
        await until(pilot, lambda: len(table(pilot, "networks").rows) == 5)
        await pilot.press("D")
        await until(pilot, lambda: "nothing to remove" in said(pilot))

    await in_networks(body)


# -- limits ----------------------------------------------------------------------------------------------


async def test_the_traffic_of_a_member_is_limited_and_let_go_again() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        await on_member(pilot, "cache")
        await pilot.press("t")
        screen = await dialog(pilot, RatesForm)
        await pilot.press(*"10x", "enter")
        await until(pilot, lambda: "bytes per second" in wrong(screen, "in"))
        screen.field("in").value = "2m"
        screen.field("out").value = "512k"
        await pilot.press("enter")
        await until(pilot, lambda: "≤2.00M" in line_of(pilot, "cache"))
        assert backend.containers.get("cache").limits == Limits(
            cpus=0.5, memory=256 << 20, net_rate_in=2 * MIB, net_rate_out=512 << 10
        )
        await pilot.press("t")
        screen = await dialog(pilot, RatesForm)
        assert (screen.field("in").value, screen.field("out").value) == ("2m", "512k")
        await pilot.press("escape", "u")
        await until(pilot, lambda: backend.containers.get("cache").limits == Limits(cpus=0.5, memory=256 << 20))
        await until(pilot, lambda: "≤2.00M" not in line_of(pilot, "cache"))

    await in_networks(body)


async def test_an_undo_that_comes_before_the_limit_is_reported_takes_it_back_all_the_same() -> None:
    gate = threading.Event()

    async def body(pilot: P, backend: FakeBackend) -> None:
        update = backend.containers.tuning.update

        def late(ref: str, change: Callable[[Limits], Limits], *, seconds: float = 0.0) -> LimitsChanged:
            changed = update(ref, change, seconds=seconds)
            gate.wait()
            return changed

        backend.containers.tuning.update = late  # type: ignore[method-assign]
        await on_member(pilot, "cache")
        await pilot.press("t")
        screen = await dialog(pilot, RatesForm)
        screen.field("out").value = "1m"
        await pilot.press("enter")
        await until(pilot, lambda: backend.containers.get("cache").limits.net_rate_out == MIB)
        await pilot.press("u")
        gate.set()
        await until(pilot, lambda: backend.containers.get("cache").limits.net_rate_out is None)

    await in_networks(body)


async def test_a_limit_that_the_kernel_refuses_is_said_and_leaves_nothing_to_undo() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        backend.failures["update"] = InvalidArgument("the kernel has no tbf")
        await on_member(pilot, "cache")
        await pilot.press("t")
        screen = await dialog(pilot, RatesForm)
        screen.field("in").value = "1m"
        await pilot.press("enter")
        await until(pilot, lambda: "the kernel has no tbf" in said(pilot))
        await pilot.press("u")
        await until(pilot, lambda: "no change of limits" in said(pilot))

    await in_networks(body)


# -- reachability ----------------------------------------------------------------------------------------


async def test_a_test_of_reachability_shows_each_hop_and_marks_where_it_stops() -> None:
    async def body(pilot: P, backend: FakeBackend) -> None:
        def shown() -> str:
            return str(pilot.app.screen.query_one("#reach-steps > Static", Static).render())

        await on_member(pilot, "cache")
        await pilot.press("r")
        screen = await dialog(pilot, ReachForm)
        await pilot.press(*"worker:x", "enter")
        await until(pilot, lambda: "x is no port" in wrong(screen, "target"))
        screen.field("target").value = "database:5432"
        await pilot.press("enter")
        await until(pilot, lambda: "cache reaches database:5432 (10.89.1.3)" in shown())
        assert "✓ ping           0.08 ms  10.89.1.3 answers" in shown()
        screen.field("target").value = "worker:81"
        await pilot.press("enter")
        await until(pilot, lambda: "cache does not reach worker:81" in shown())
        assert backend.asked("reach") == [("reach", "cache", "database", 5432), ("reach", "cache", "worker", 81)]
        await pilot.press("escape")
        await until(pilot, lambda: "stops here: cache → worker:81: tcp: nothing listens on port 81" in seen(pilot))
        places = [line.key for line in topology(pilot).lines]
        at = next(number for number, line in enumerate(topology(pilot).lines) if "stops here" in line.text)
        assert named(pilot, places[at]) == "worker"
        backend.failures["reach"] = InvalidArgument("invalid target 'a b': a container, host, an address or a name")
        await pilot.press("r")
        screen = await dialog(pilot, ReachForm)
        await pilot.press(*"a", "space", *"b", "enter")
        await until(pilot, lambda: "invalid target" in wrong(screen, "target"))

    await in_networks(body)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("db", Target("db")), ("db:80", Target("db", 80)), ("10.0.0.1:53", Target("10.0.0.1", 53)), ("fd00::1", Target("fd00::1")),
        ("[fd00::1]:80", Target("fd00::1", 80)), ("[fd00::1]", Target("fd00::1"))],
)  # fmt: skip
def test_targets_are_written_with_and_without_a_port(text: str, wanted: Target) -> None:
    assert target_of(text) == wanted
    assert target_of(wanted.text) == wanted


@pytest.mark.parametrize("text", ["", "db:", "db:0", "db:65536", "db:http", "db:-1", "db:²"])
def test_a_target_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|container"):
        target_of(text)


@pytest.mark.parametrize(
    ("step", "hop"),
    [("interface", "member:backend/{cache}"), ("firewall", "nat:backend"), ("neighbour", "bridge:backend"), ("route", "bridge:backend"),
        ("far port", "member:backend/{worker}"), ("tcp", "member:backend/{worker}")],
)  # fmt: skip
def test_each_step_that_fails_has_its_hop(step: str, hop: str) -> None:
    from tuicon.model.snapshot import Snapshot

    backend = with_networks()
    cache, worker = backend.containers.get("cache"), backend.containers.get("worker")
    found = Reach("cache", "worker", "10.89.1.5", 0, (ReachStep("name", True), ReachStep(step, False, "no")))
    mark = mark_of(found, cache, "backend", Snapshot(NOW, tuple(backend.items)))
    assert mark is not None
    assert mark.places[0] == hop.format(cache=cache.id, worker=worker.id)


# -- tables ----------------------------------------------------------------------------------------------


async def test_members_counters_and_rules_have_tabs() -> None:
    async def body(pilot: P, _backend: FakeBackend) -> None:
        main_of(pilot).query_one(Detail).tab = "members"
        await until(
            pilot, lambda: [row.cells[1].text for row in table(pilot, "members").rows][:2] == ["cache", "database"]
        )
        main_of(pilot).query_one(Detail).tab = "counters"
        await until(pilot, lambda: any("worker  eth1" in row.cells[0].text for row in table(pilot, "counters").rows))
        worker = next(row for row in table(pilot, "counters").rows if "worker" in row.cells[0].text)
        assert (worker.cells[6].text, worker.cells[6].style) == ("3", "bad")
        main_of(pilot).query_one(Detail).tab = "rules"
        await until(pilot, lambda: len(table(pilot, "rules").rows) == 6)
        assert [cell.text for cell in table(pilot, "rules").rows[5].cells] == [
            "chain postrouting", "31", "1.91K", 'ip saddr 10.88.0.0/16 oifname != "tuicon0" masquerade',
        ]  # fmt: skip
        main_of(pilot).query_one(Detail).focus_content()
        await pilot.press("enter")
        assert await dialog(pilot, Document)

    await in_networks(body)


def test_rules_without_counters_have_no_columns_for_them() -> None:
    columns, rows = rule_rows(('chain forward: iifname "tu1" accept', "something else"))
    assert [column.id for column in columns] == ["where", "rule"]
    assert [[cell.text for cell in row.cells] for row in rows] == [
        ["chain forward", 'iifname "tu1" accept'], ["", "something else"],
    ]  # fmt: skip


# -- what is computed ------------------------------------------------------------------------------------


def test_rates_come_from_two_readings_of_each_interface_and_never_go_backwards() -> None:
    def usage(second: int, rx: int, tx: int) -> dict[str, Usage]:
        counters = Counters(second * 10**9, interfaces=(InterfaceCounters("eth0", rx, tx), InterfaceCounters("eth1")))
        return {"a": Usage(counters)}

    meter = Meter()
    assert meter.flows(readings_of(usage(1, 500, 0))) == {("a", "eth0"): Flow(), ("a", "eth1"): Flow()}
    assert meter.flows(readings_of(usage(3, 2500, 10))) == {("a", "eth0"): Flow(1000.0, 5.0), ("a", "eth1"): Flow()}
    assert meter.flows(readings_of(usage(4, 100, 10)))[("a", "eth0")] == Flow()


@pytest.mark.parametrize("width", [24, 38, 52, 68, 76, 104, 158])
def test_no_line_is_wider_than_the_room(width: int) -> None:
    from tuicon.model.snapshot import Snapshot

    backend = with_networks()
    long = replace(backend.items[0], name="a" * 60 + "\x1b[31m", endpoints=backend.items[0].endpoints)
    backend.items[0] = long
    flows = {(item.id, one.interface): Flow(1e9, 1e9) for item in backend.items for one in item.endpoints}
    snapshot = Snapshot(NOW, tuple(backend.items), networks=tuple(backend.networks.items), flows=flows)
    marks = [Mark(("nowhere", "uplink"), "x" * 200), Mark((f"member:bridge/{long.id}",), "no answer")]
    for networks in (*((one,) for one in snapshot.networks), snapshot.networks):
        for mark in marks:
            lines = picture(networks, snapshot, width, is_roomy=True, mark=mark)
            assert [line.text for line in lines if len(line.text) > width] == []
            assert not any("\x1b" in line.text for line in lines)


def test_a_failed_hop_is_marked_where_it_is() -> None:
    from tuicon.model.snapshot import Snapshot

    backend = with_networks()
    network = next(one for one in backend.networks.items if one.name == "backend")
    snapshot = Snapshot(NOW, tuple(backend.items), networks=(network,))
    cache = backend.containers.get("cache")
    lines = picture((network,), snapshot, 80, mark=Mark((f"member:backend/{cache.id}",), "eth0 is down"))
    place = next(number for number, line in enumerate(lines) if "stops here: eth0 is down" in line.text)
    assert "cache" in lines[place - 1].text
    assert {piece.style for piece in lines[place - 1].pieces} == {"bad"}


def test_a_container_that_shares_anothers_network_stands_beside_it() -> None:
    from tuicon.model.snapshot import Snapshot

    owner = a_container(1, "pod", endpoints=(an_endpoint("bridge", "10.88.0.2", 1),))
    side = a_container(2, "sidecar", endpoints=())
    side = replace(side, spec=replace(side.spec, network="container:pod"))
    network = Network("1" * 64, "bridge", "bridge", NOW, subnet="10.88.0.0/16", bridge="tuicon0")
    text = "\n".join(line.text for line in picture((network,), Snapshot(NOW, (owner, side)), 80))
    assert "shared by sidecar" in text
    assert text.count("sidecar") == 1
