"""Attacks by what an image says: digests that are paths, documents that are two things, settings that steer the host."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.api import Engine
from engine.errors import EngineError, ImageError, InvalidArgument, NotFound
from engine.images import demo
from engine.oci.digest import of_bytes
from tests.attacks.world import entry, finish, spec, tar_of

_LAYER = tar_of(entry("file", content=b"x"))
_BLOB = gzip.compress(_LAYER)
Document = dict[str, Any]


def layout(change: Document | None = None, *, extra: tuple[tuple[Any, bytes], ...] = ()) -> bytes:
    """Return an OCI layout with one thing changed: "layer", "config" and "manifest" descriptors, or document fields."""
    change = change or {}
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [of_bytes(_LAYER)]},
        **change.get("config fields", {})}).encode()  # fmt: skip
    kind = "application/vnd.oci.image."
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": f"{kind}manifest.v1+json",
        "config": {"mediaType": f"{kind}config.v1+json", "digest": of_bytes(config), "size": len(config)} | change.get("config", {}),
        "layers": [{"mediaType": f"{kind}layer.v1.tar+gzip", "digest": of_bytes(_BLOB), "size": len(_BLOB)} | change.get("layer", {})],
        **change.get("manifest fields", {}),
    }).encode()  # fmt: skip
    top = {"mediaType": f"{kind}manifest.v1+json", "digest": of_bytes(manifest), "size": len(manifest)}
    index = json.dumps(
        {"schemaVersion": 2, "manifests": [top | change.get("manifest", {})], **change.get("index fields", {})}
    )
    files = [
        entry("index.json", content=index.encode()),
        entry("oci-layout", content=b'{"imageLayoutVersion":"1.0.0"}'),
    ]
    files += [entry(f"blobs/sha256/{of_bytes(data)[7:]}", content=data) for data in (config, manifest, _BLOB)]
    return tar_of(*files, *extra)


_BAD_DIGESTS = ("sha256:../../../../etc/passwd", "sha256:" + "../" * 21 + "x", "sha256:" + "A" * 64, "sha256:" + "a" * 63,
    "sha256:" + "a" * 64 + "/../x", "sha512:" + "a" * 128, "md5:" + "a" * 32, "", "/etc/passwd", "sha256:" + "a" * 63 + "\n")  # fmt: skip


def test_the_layout_of_these_tests_loads_when_nothing_is_changed(engine: Engine) -> None:
    assert len(engine.images.load(io.BytesIO(layout()))) == 1


@pytest.mark.parametrize("place", ["layer", "config", "manifest", "diff_id"])
def test_a_digest_is_checked_before_it_becomes_a_path(engine: Engine, place: str) -> None:
    """CVE-2024-3727."""
    before = engine.images.list()
    for digest in _BAD_DIGESTS:
        change: Document = {place: {"digest": digest}}
        if place == "diff_id":
            change = {"config fields": {"rootfs": {"type": "layers", "diff_ids": [digest]}}}
        with pytest.raises(ImageError):
            engine.images.load(io.BytesIO(layout(change)))
    assert engine.images.list() == before
    assert list(engine.root.joinpath("trash").iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"index fields": {"layers": []}},
        {"index fields": {"config": {"digest": "sha256:" + "a" * 64}}},
        {"manifest fields": {"manifests": []}},
        {"manifest fields": {"mediaType": "application/vnd.oci.image.index.v1+json"}},
        {"manifest fields": {"layers": []}},
        {"layer": {"digest": of_bytes(b"another")}},
        {"config fields": {"rootfs": {"type": "layers", "diff_ids": [of_bytes(b"another")]}}},
        {"config fields": {"rootfs": {"type": "layers", "diff_ids": [of_bytes(_LAYER)] * 2}}},
    ],
)
def test_a_document_that_is_two_things_or_lies_is_refused(engine: Engine, change: Document) -> None:
    """CVE-2021-41190: manifest and index at once; and digests that belong to something else."""
    with pytest.raises(ImageError):
        engine.images.load(io.BytesIO(layout(change)))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../../../etc/passwd", "fifo"])
@pytest.mark.parametrize("name", ["index.json", "manifest.json", "oci-layout"])
def test_a_layout_directory_leads_nowhere(engine: Engine, root: Path, name: str, target: str) -> None:
    """Documents that are links to the host's files, or pipes that never end."""
    directory = root / "layout"
    directory.mkdir()
    if target == "fifo":
        os.mkfifo(directory / name)
    else:
        (directory / name).symlink_to(target)
    with pytest.raises(ImageError) as caught:
        engine.images.load(directory)
    assert "root:" not in str(caught.value)


def test_an_archives_members_stay_in_its_scratch_directory(engine: Engine, root: Path) -> None:
    """A docker archive whose layer and config are named by paths and links of the host."""
    outside = root / "outside"
    outside.mkdir()
    outside.joinpath("secret").write_bytes(_LAYER)
    for name in (str(outside / "secret"), "../" * 12 + str(outside / "secret").lstrip("/"), "way/secret", "soft"):
        manifest = json.dumps([{"Config": name, "RepoTags": ["a:1"], "Layers": [name]}]).encode()
        archive = tar_of(
            entry("way", b"2", link=str(outside)), entry("soft", b"2", link=f"{outside}/secret"),
            entry("../" * 12 + str(outside / "made").lstrip("/"), content=b"x"), entry("way/made", content=b"x"),
            entry("manifest.json", content=manifest),
        )  # fmt: skip
        with pytest.raises(ImageError):
            engine.images.load(io.BytesIO(archive))
    assert sorted(os.listdir(outside)) == ["secret"]


def test_references_and_names_are_never_paths(engine: Engine) -> None:
    before = sorted(path for path in engine.root.rglob("*") if "locks" not in path.parts)
    for name in (
        "../../etc",
        "..",
        ".",
        "a/../../b",
        "/etc/passwd",
        "a\0b",
        "sha256:../../x",
        "x" * 5000,
        "-rf",
        "a\nb",
    ):
        for refused in (
            lambda name=name: engine.containers.create(spec("true", name=name)),
            lambda name=name: engine.containers.get(name),
            lambda name=name: engine.volumes.create(name),
            lambda name=name: engine.volumes.remove(name),
            lambda name=name: engine.networks.create(name),
            lambda name=name: engine.networks.remove(name),
            lambda name=name: engine.images.remove(name),
        ):
            with pytest.raises((InvalidArgument, NotFound)):
                refused()
    assert sorted(path for path in engine.root.rglob("*") if "locks" not in path.parts) == before


def test_what_an_image_says_never_steers_the_host(engine: Engine, root: Path) -> None:
    """CVE-2026-53488, CVE-2022-0811 and CVE-2026-53492: labels, annotations and settings are no options."""
    base = demo.root_archive().getvalue()
    settings = {
        "Cmd": ["sh", "-c", "grep CapEff /proc/self/status; cat /proc/sys/kernel/shm_rmid_forced; ls /data /etc/hosts; env"],
        "Labels": {"privileged": "true", "io.containerd.runc.hooks": "/bin/x", "org.opencontainers.image.stopSignal": "9",
            "run.oci.hooks.stderr": str(root / "hook"), "io.kubernetes.cri-o.Devices": "/dev/sda", "devices": "/dev/sda"},
        "Annotations": {"run.oci.systemd.force_cgroup_v1": "/x", "io.podman.annotations.privileged": "TRUE"},
        "Volumes": {"/data": {"source": "/etc", "driver_opts": {"device": "/etc"}}, "/../../../climb": {}},
        "HostConfig": {"Privileged": True, "Binds": ["/:/host"], "CapAdd": ["ALL"]}, "Privileged": True,
        "Env": ["LD_PRELOAD=/evil.so", "PATH=/bin", "BASH_ENV=/evil", "NOTIFY_SOCKET=/x", "=x", "novalue"],
        "Sysctls": {"kernel.shm_rmid_forced": "1"}, "Hooks": {"prestart": [{"path": "/bin/x"}]},
    }  # fmt: skip
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": settings, "hooks": {"prestart": [{"path": "/bin/x"}]},
        "rootfs": {"type": "layers", "diff_ids": [of_bytes(base)]}}).encode()  # fmt: skip
    manifest = json.dumps([{"Config": "c", "RepoTags": ["steer:1"], "Layers": ["l"]}]).encode()
    engine.images.load(
        io.BytesIO(
            tar_of(entry("manifest.json", content=manifest), entry("c", content=config), entry("l", content=base))
        )
    )
    container = engine.containers.run(spec(image="steer:1", command=None))
    engine.containers.wait(container.id, timeout=60)
    text = "".join(item.text for item in engine.containers.logs(container.id))
    assert "CapEff:\t00000000a80425fb" in text
    assert text.splitlines()[1] == "0"
    assert "passwd" not in text
    document = json.loads(engine.root.joinpath("containers", container.id, "config.json").read_text())
    assert document.get("annotations", {}) == {}
    assert "hooks" not in document
    sources = [mount["source"] for mount in document["mounts"] if mount["type"] == "bind"]
    assert all(source.startswith(str(engine.root)) for source in sources)


@pytest.mark.parametrize(
    "settings",
    [
        {"WorkingDir": "../../.."}, {"WorkingDir": "/proc/self/fd/9"}, {"Cmd": ["a\0b"]}, {"Env": ["A=\0"]}, {"User": "\0"},
        {"Volumes": {"": {}}}, {"Volumes": {"relative": {}}}, {"Volumes": {"/proc": {}}}, {"Volumes": {"/": {}}},
        {"Volumes": {"/dev": {}}}, {"Volumes": {"/a\0b": {}}}, {"StopSignal": "../x"}, {"Entrypoint": [""]},
        {"WorkingDir": "/" + "d/" * 2000}, {"Volumes": {"/x" * 2500: {}}},
    ],
)  # fmt: skip
def test_odd_settings_of_an_image_end_in_one_sentence(engine: Engine, settings: Document) -> None:
    base = demo.root_archive().getvalue()
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["true"], **settings},
        "rootfs": {"type": "layers", "diff_ids": [of_bytes(base)]}}).encode()  # fmt: skip
    manifest = json.dumps([{"Config": "c", "RepoTags": ["odd:1"], "Layers": ["l"]}]).encode()
    archive = tar_of(entry("manifest.json", content=manifest), entry("c", content=config), entry("l", content=base))
    with contextlib.suppress(EngineError):
        engine.images.load(io.BytesIO(archive))
        finish(engine, spec(image="odd:1", command=None))
