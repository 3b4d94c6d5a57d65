from __future__ import annotations

from pathlib import Path

import pytest

from engine.containers.groups import Names, classified
from engine.linux import psi
from engine.model.groups import GroupDetail, GroupFile, GroupLimits, GroupReading, HostGroup, cpu_shares, effective
from engine.model.usage import Pressure
from tuicon.model import groups

ID = "ab" * 32
UID = "2f9e4a50-8d0a-4f0e-9b4c-0d6c1b7f6a11"

# systemd.slice(5), docker's and podman's cgroup drivers, and kubelet's container manager name groups so.
PATHS = [
    ("/", "root", "", "host"),
    ("/system.slice", "slice", "systemd", "system.slice"),
    ("/system.slice/ssh.service", "service", "systemd", "ssh.service"),
    ("/user.slice/user-1000.slice/session-3.scope", "scope", "systemd", "session-3.scope"),
    (f"/docker/{ID}", "container", "docker", ID[:12]),
    (f"/system.slice/docker-{ID}.scope", "container", "docker", ID[:12]),
    (f"/machine.slice/libpod-{ID}.scope", "container", "podman", ID[:12]),
    (f"/machine.slice/libpod-conmon-{ID}.scope", "scope", "systemd", f"libpod-conmon-{ID}.scope"),
    (f"/libpod_parent/libpod-{ID}", "container", "podman", ID[:12]),
    ("/kubepods.slice/kubepods-burstable.slice", "slice", "kubernetes", "kubepods-burstable.slice"),
    (f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice", "pod", "kubernetes", UID),
    (f"/kubepods/besteffort/pod{UID}", "pod", "kubernetes", UID),
    (f"/kubepods/besteffort/pod{UID}/{ID}", "container", "kubernetes", ID[:12]),
    (f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-{ID}.scope", "container", "kubernetes", ID[:12]),
    ("/tuicon", "group", "tuicon", "tuicon"),
    (f"/tuicon_12ab9f/{ID}", "container", "tuicon", ID[:12]),
    (f"/somewhere/{ID}", "container", "", ID[:12]),
    ("/init.scope", "scope", "systemd", "init.scope"),
    ("/lxc.payload.web", "group", "", "lxc.payload.web"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "kind", "owner", "name"), PATHS)
def test_a_path_says_what_a_group_is(path: str, kind: str, owner: str, name: str) -> None:
    found = classified(HostGroup(path))
    assert (found.kind, found.owner, found.name) == (kind, owner, name)
    assert bool(found.container_id) == (kind == "container")


def test_pods_and_their_containers_get_the_names_that_kubelet_gives_their_logs(tmp_path: Path) -> None:
    pods, logs = tmp_path / "pods", tmp_path / "logs"
    pods.joinpath(f"shop_web-7d9f-x2x_{UID}").mkdir(parents=True)
    logs.mkdir()
    logs.joinpath(f"web-7d9f-x2x_shop_nginx-{ID}.log").touch()
    names = Names((), (), pods, logs)
    assert names.of(classified(HostGroup(f"/kubepods/pod{UID}"))) == "shop/web-7d9f-x2x"
    assert names.of(classified(HostGroup(f"/kubepods/pod{UID}/{ID}"))) == "web-7d9f-x2x/nginx"
    assert names.of(classified(HostGroup(f"/kubepods/pod{UID}/{'cd' * 32}"))) == ""


def test_names_are_not_taken_from_what_is_no_record(tmp_path: Path) -> None:
    config = tmp_path / "containers" / ID / "config.v2.json"
    config.parent.mkdir(parents=True)
    config.write_text("[1, 2")
    tmp_path.joinpath("overlay-containers").mkdir()
    tmp_path.joinpath("overlay-containers", "containers.json").write_text('{"id": 1}')
    names = Names((tmp_path,), (tmp_path,), tmp_path / "no", tmp_path / "no")
    assert names.of(classified(HostGroup(f"/docker/{ID}"))) == ""
    assert names.of(classified(HostGroup(f"/libpod_parent/libpod-{ID}"))) == ""


def a_tree() -> tuple[HostGroup, ...]:
    def group(path: str, weight: int, tasks: int = 1, **limits: float) -> HostGroup:
        return classified(HostGroup(path, tasks=tasks, limits=GroupLimits(cpu_weight=weight, **limits)))  # type: ignore[arg-type]

    return (
        classified(HostGroup("/", tasks=9)), group("/a", 100, cpus=2.0), group("/a/x", 300, memory=64 << 20),
        group("/a/y", 100, cpus=4.0, memory=128 << 20), group("/a/z", 100, 0), group("/b", 300, memory=96 << 20), group("/b/x", 100),
    )  # fmt: skip


def test_shares_are_products_of_weights_among_groups_that_have_tasks() -> None:
    shares = cpu_shares(a_tree())
    assert shares["/"] == 1.0
    assert shares["/a"] == 0.25
    assert shares["/a/x"] == 0.25 * 300 / 400
    assert shares["/b/x"] == 0.75
    assert shares["/a/z"] == 0.25 * 100 / 500


def test_the_tightest_limit_on_the_way_up_is_in_force() -> None:
    groups_by_path = {group.path: group for group in a_tree()}
    assert effective(groups_by_path, "/a/y") == GroupLimits(2.0, 128 << 20, cpu_weight=100)
    assert effective(groups_by_path, "/b/x").memory == 96 << 20
    assert effective(groups_by_path, "/gone") == GroupLimits()


def shown(**more: object) -> list[str]:
    found = groups.uses(None, GroupReading(0, 2, a_tree()))
    return [row.key for row in groups.tree_rows(found, groups.columns_for(200), **more)]  # type: ignore[arg-type]


def test_the_tree_is_folded_filtered_and_sorted() -> None:
    assert shown() == ["/", "/a", "/a/x", "/a/y", "/a/z", "/b", "/b/x"]
    assert shown(folded={"/a"}) == ["/", "/a", "/b", "/b/x"]
    assert shown(folded={"/"}) == ["/"]
    assert shown(folded={"/b"}, pattern="/b/") == ["/", "/b", "/b/x"]
    assert shown(pattern="!x") == ["/", "/a", "/a/y", "/a/z", "/b"]
    assert shown(hides_idle=True) == ["/", "/a", "/a/x", "/a/y", "/b", "/b/x"]
    assert shown(sort_by="share")[:3] == ["/", "/b", "/b/x"]


def test_every_width_has_columns_that_fit() -> None:
    for width in range(60, 200):
        columns = groups.columns_for(width)
        assert sum(column.width or 26 for column in columns) + len(columns) + 1 <= width, width


def test_rates_come_from_two_readings_and_a_counter_that_goes_back_is_zero() -> None:
    def reading(second: int, cpu: int, moved: int, stalled: int) -> GroupReading:
        group = HostGroup(
            "/a",
            cpu_ns=cpu,
            memory_bytes=moved,
            devices=(("8:0", moved, moved),),
            io_pressure=Pressure(some_total_us=stalled),
        )
        return GroupReading(second * 10**9, 2, (group,))

    use = groups.uses(reading(1, 10**9, 1000, 0), reading(3, 4 * 10**9, 5000, 500_000))["/a"]
    assert (use.cpu_percent, use.io_rate, use.growth, use.io_pressure) == (150.0, 4000.0, 2000.0, 25.0)
    back = groups.uses(reading(1, 10**9, 1000, 900), reading(3, 0, 0, 0))["/a"]
    assert (back.cpu_percent, back.io_rate, back.io_pressure) == (0.0, 0.0, 0.0)


def test_pressure_files_of_all_kernels_are_read() -> None:
    some = "some avg10=1.50 avg60=0.75 avg300=0.25 total=12345"
    full = "full avg10=0.50 avg60=0.00 avg300=0.00 total=678"
    assert psi.parse(f"{some}\n{full}") == Pressure(1.5, 0.75, 0.25, 12345, 0.5, 0.0, 0.0, 678)
    assert psi.parse(some) == Pressure(1.5, 0.75, 0.25, 12345)
    assert psi.parse("") is None


def test_a_detail_obeys_nothing_of_what_it_shows() -> None:
    text = groups.detail_text(GroupDetail("/a\x1b[2J", (GroupFile("", "x", "one\x1b[2J\ntwo"), GroupFile("", "y", ""))))
    assert "\x1b" not in text
    assert "(empty)" in text
