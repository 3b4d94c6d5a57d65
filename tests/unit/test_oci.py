from __future__ import annotations

import pytest

from engine.errors import ImageError, InvalidArgument
from engine.linux.cgroup.plan import plan
from engine.model.container import ContainerSpec
from engine.model.image import ImageSettings
from engine.model.limits import DeviceRate, Limits
from engine.oci import manifest, resources, runtime_config
from engine.oci.digest import chain_ids, is_digest
from engine.oci.reference import familiar_text, parse
from engine.volumes.parse import parse_mount, parse_tmpfs, parse_volume

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("tuicon/demo", "docker.io/tuicon/demo:latest"),
        ("localhost/x:1", "localhost/x:1"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("my.registry/a/b/c:v1.0", "my.registry/a/b/c:v1.0"),
        ("index.docker.io/library/a", "docker.io/library/a:latest"),
        (f"a@{DIGEST}", f"docker.io/library/a@{DIGEST}"),
        (f"a:1@{DIGEST}", f"docker.io/library/a:1@{DIGEST}"),
    ],
)
def test_references_are_normalised_as_docker_does(text: str, full: str) -> None:
    assert str(parse(text)) == full


@pytest.mark.parametrize(
    "text", ["", "A", "a:", "a:b c", "a//b", "-a", "a@sha256:short", "a/../b", "a" * 300, "https://a/b"]
)
def test_malformed_references_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse(text)


def test_short_forms_are_dockers() -> None:
    assert familiar_text("docker.io/library/busybox:1") == "busybox:1"
    assert familiar_text("docker.io/tuicon/demo:latest") == "tuicon/demo:latest"
    assert familiar_text("ghcr.io/a/b:1") == "ghcr.io/a/b:1"


@pytest.mark.parametrize(
    "text", ["sha256:" + "g" * 64, "sha512:" + "a" * 128, "../../etc/passwd", "sha256:" + "a" * 64 + "/.."]
)
def test_only_sha256_digests_become_paths(text: str) -> None:
    assert not is_digest(text)


def test_chain_ids_are_those_of_the_specification() -> None:
    first, second = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    chain = chain_ids((first, second))
    assert chain[0] == first
    import hashlib

    assert chain[1] == "sha256:" + hashlib.sha256(f"{first} {second}".encode()).hexdigest()


def test_a_document_that_is_manifest_and_index_at_once_is_refused() -> None:
    """CVE-2021-41190."""
    both = b'{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}'
    with pytest.raises(ImageError, match="at once"):
        manifest.decode_manifest(both, "the manifest")


def numbers(_path: str) -> tuple[int, int]:
    return (8, 0)


def test_limits_become_resources() -> None:
    limits = Limits(cpus=1.5, memory=64 << 20, pids=10, device_write_bps=(DeviceRate("/dev/sda", 1000),))
    assert resources.resources(limits, numbers) == {
        "cpu": {"period": 100_000, "quota": 150_000},
        "memory": {"limit": 64 << 20},
        "pids": {"limit": 10},
        "blockIO": {"throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}]},
    }


def test_an_update_takes_away_what_is_no_longer_wanted() -> None:
    before = Limits(cpus=1.0, memory=64 << 20, pids=10, device_write_bps=(DeviceRate("/dev/sda", 1000),))
    assert resources.resources(Limits(), numbers, before) == {
        "cpu": {"period": 100_000, "quota": -1},
        "memory": {"limit": -1},
        "pids": {"limit": -1},
        "blockIO": {"throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]},
    }


def test_the_same_resources_on_both_versions() -> None:
    wanted = {
        "cpu": {"shares": 1024, "period": 100_000, "quota": 50_000},
        "memory": {"limit": 100, "swap": 150},
        "pids": {"limit": 5},
        "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 7}]},
    }
    assert plan(1, wanted) == [
        ("cpu", "cpu.shares", "1024"), ("cpu", "cpu.cfs_period_us", "100000"), ("cpu", "cpu.cfs_quota_us", "50000"),
        ("memory", "memory.limit_in_bytes", "100"), ("memory", "memory.memsw.limit_in_bytes", "150"),
        ("pids", "pids.max", "5"), ("blkio", "blkio.throttle.read_bps_device", "8:0 7"),
    ]  # fmt: skip
    assert plan(2, wanted) == [
        ("cpu", "cpu.weight", "100"), ("cpu", "cpu.max", "50000 100000"), ("memory", "memory.max", "100"),
        ("memory", "memory.swap.max", "50"), ("pids", "pids.max", "5"), ("io", "io.max", "8:0 rbps=7"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entrypoint", "command", "expected"),
    [
        ((), None, ("/entry", "default")),
        ((), ("x",), ("/entry", "x")),
        (("/other",), None, ("/other",)),
        (("/other",), ("x",), ("/other", "x")),
        (("",), ("x",), ("x",)),
    ],
)
def test_entrypoint_and_command_follow_dockers_rules(
    entrypoint: tuple[str, ...], command: tuple[str, ...] | None, expected: tuple[str, ...]
) -> None:
    settings = ImageSettings(entrypoint=("/entry",), command=("default",))
    assert runtime_config.command_of(ContainerSpec("x", entrypoint=entrypoint, command=command), settings) == expected


def test_capabilities_are_added_and_dropped() -> None:
    assert runtime_config.capabilities_of(ContainerSpec("x", cap_drop=("ALL",), cap_add=("NET_ADMIN",))) == (
        "CAP_NET_ADMIN",
    )
    assert "CAP_SYS_ADMIN" not in runtime_config.capabilities_of(ContainerSpec("x"))
    assert len(runtime_config.capabilities_of(ContainerSpec("x", privileged=True))) == 41


def test_mounts_are_parsed_in_dockers_words() -> None:
    assert parse_volume("/host:/c:ro").read_only
    assert parse_volume("name:/c").kind == "volume"
    assert parse_volume("/c").source == ""
    assert parse_mount("type=bind,src=/a,dst=/b,readonly").read_only
    assert parse_mount("type=tmpfs,target=/t,tmpfs-size=1m").options == ("size=1m",)
    assert parse_tmpfs("/t:size=1m,mode=700").options == ("size=1m", "mode=700")


@pytest.mark.parametrize("text", ["", "a:b", "name:/", "/a:/b:zz", "/a:/b:ro:x", "../x:/y", ":/x"])
def test_malformed_volumes_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_volume(text)
