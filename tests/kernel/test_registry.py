from __future__ import annotations

import gzip
import io
import json
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.api import Engine
from engine.errors import EngineError, ImageError, NotAuthorized, NotFound, RegistryError
from engine.images import demo
from engine.images.registry import push, transport
from engine.images.registry.client import Client
from engine.images.registry.config import Endpoint
from engine.model.container import ContainerSpec
from engine.model.transfer import Phase, Progress, RegistryOptions
from tests.kernel.registries import (
    HTPASSWD,
    OCI_INDEX,
    OCI_MANIFEST,
    WAITS,
    Cutter,
    Page,
    TokenServer,
    Told,
    certificate,
    digest_of,
    docker_registry,
)
from tests.kernel.test_images import docker_archive, entry, oci_layout, tar_of
from tuicon.cli import main as command_line
from tuicon.cli import parser

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as name:
        yield name


@pytest.fixture(autouse=True)
def own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests away from the files of whoever runs them."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))


@pytest.fixture
def other(root: Path) -> Iterator[Engine]:
    """A second engine with a store of its own, which has nothing."""
    with Engine(root / "other") as opened:
        yield opened
        opened.system.reset()


@pytest.fixture
def told() -> Iterator[Told]:
    server = Told()
    yield server
    server.close()


@contextmanager
def cutter(target: str) -> Iterator[Cutter]:
    proxy = Cutter(target)
    yield proxy
    proxy.close()


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def skopeo(*arguments: str | Path) -> str:
    done = subprocess.run(["skopeo", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def digest_by_skopeo(reference: str) -> str:
    document = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{reference}"))
    return str(document["Digest"])


def pushed(engine: Engine, reference: str, *layers: bytes) -> str:
    engine.images.load(io.BytesIO(docker_archive(*layers, tag=reference)))
    return engine.registries.push(reference).digest


def blobs(engine: Engine) -> set[str]:
    return {path.name for path in engine.root.joinpath("blobs/sha256").iterdir()}


def test_an_image_goes_to_a_registry_and_comes_back_the_same_and_runs(
    engine: Engine, other: Engine, registry: str
) -> None:
    reference = f"{registry}/round/trip:1"
    digest = pushed(engine, reference, demo.root_archive().getvalue(), tar_of(entry("a", content=b"hello\n")))
    assert digest == digest_by_skopeo(reference)
    pulled = other.registries.pull(reference)
    assert (pulled.digest, pulled.is_new, pulled.image.id) == (digest, True, engine.images.get(reference).id)
    assert not other.registries.pull(reference).is_new
    assert other.images.inspect(reference)["RepoDigests"] == [f"{registry}/round/trip@{digest}"]
    assert other.images.get(f"{registry}/round/trip@{digest}").id == pulled.image.id
    container = other.containers.run(ContainerSpec(reference, network="none"))
    assert other.containers.wait(container.id, timeout=WAITS) == 0
    assert [item.text for item in other.containers.logs(container.id)] == ["hello\n"]
    other.containers.remove(container.id)
    other.images.remove(reference)
    assert blobs(other) == set()
    assert not any(path.name.startswith(("layer-", "blob-")) for path in other.root.joinpath("locks").iterdir())


@pytest.mark.parametrize("kind", ["gzip", "zstd", "plain"])
def test_a_layer_keeps_its_bytes_on_the_way_however_it_is_compressed(
    engine: Engine, other: Engine, registry: str, root: Path, kind: str
) -> None:
    compressors: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress, "zstd": zstd.compress, "plain": bytes,
    }  # fmt: skip
    media = {"gzip": "+gzip", "zstd": "+zstd", "plain": ""}[kind]
    archive = root / "layout.tar"
    archive.write_bytes(oci_layout(tar_of(entry("file", content=noise(5000))), media=media, compress=compressors[kind]))
    reference = f"{registry}/kinds:{kind}"
    skopeo(
        "copy",
        "--preserve-digests",
        "--dest-tls-verify=false",
        f"oci-archive:{archive}:layout:1",
        f"docker://{reference}",
    )
    digest = digest_by_skopeo(reference)
    assert engine.registries.pull(reference).digest == digest
    again = f"{registry}/kinds-again:{kind}"
    engine.images.tag(reference, again)
    assert engine.registries.push(again).digest == digest
    assert other.registries.pull(again).digest == digest


def test_only_missing_layers_are_fetched_and_blobs_are_mounted_from_other_repositories(
    engine: Engine, other: Engine, registry: str
) -> None:
    base, first, second = (tar_of(entry(name, content=noise(9000))) for name in ("base", "first", "second"))
    pushed(engine, f"{registry}/share/one:1", base, first)
    pushed(engine, f"{registry}/share/two:1", base, second)
    other.registries.pull(f"{registry}/share/one:1")
    seen: list[Progress] = []
    other.registries.pull(f"{registry}/share/two:1", watch=seen.append)
    assert sorted(news.phase for news in seen if news.phase in (Phase.EXISTS, Phase.PULLED)) == [
        Phase.EXISTS,
        Phase.PULLED,
    ]
    other.images.tag(f"{registry}/share/one:1", f"{registry}/share/three:1")
    seen.clear()
    other.registries.push(f"{registry}/share/three:1", watch=seen.append)
    assert {news.phase for news in seen} == {Phase.WAITING, Phase.MOUNTED}
    assert other.registries.tags(f"{registry}/share/three") == ("1",)


def test_the_platform_chooses_from_an_index(engine: Engine, other: Engine, registry: str) -> None:
    images = {}
    for architecture in ("amd64", "arm64"):
        layer = tar_of(entry(architecture, content=b"x"))
        archive = docker_archive(layer, tag=f"{registry}/many:{architecture}")
        engine.images.load(io.BytesIO(archive.replace(b'"amd64"', f'"{architecture}"'.encode())))
        images[architecture] = engine.registries.push(f"{registry}/many:{architecture}")
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": one.digest, "size": one.size, "platform": {"os": "linux", "architecture": name}}
        for name, one in images.items()
    ]}).encode()  # fmt: skip
    with Client(Endpoint(registry, "many", registry, is_insecure=True)) as client:
        client.put_manifest("latest", index, OCI_INDEX)
    ours = other.registries.pull(f"{registry}/many")
    assert (ours.digest, ours.image.digest) == (digest_of(index), images["amd64"].digest)
    assert ours.digest == other.registries.manifest(f"{registry}/many")["digest"]
    theirs = other.registries.pull(f"{registry}/many", platform="linux/arm64/v8")
    assert (theirs.image.architecture, theirs.image.digest) == ("arm64", images["arm64"].digest)
    with pytest.raises(ImageError, match="no image for linux/s390x"):
        other.registries.pull(f"{registry}/many", platform="s390x")
    with pytest.raises(ImageError, match=r"is for linux/amd64, not for linux/arm64"):
        other.registries.pull(f"{registry}/many:amd64", platform="arm64")


def test_a_cut_download_goes_on_where_it_was(engine: Engine, other: Engine, registry: str) -> None:
    pushed(engine, f"{registry}/cut:1", tar_of(entry("big", content=noise(600_000))))
    with cutter(registry) as proxy:
        proxy.cut_after, proxy.cuts = 250_000, 2
        seen: list[Progress] = []
        other.registries.pull(f"{proxy.name}/cut:1", watch=seen.append)
        assert [news.note for news in seen if news.phase is Phase.RETRYING] == [f"{proxy.name} cut the connection"] * 2
        ranges = [head for head in proxy.seen if "range: bytes=" in head.lower()]
        assert len(ranges) == 2
    assert other.images.get(f"{proxy.name}/cut:1").id == engine.images.get(f"{registry}/cut:1").id


def test_a_cut_upload_goes_on_where_it_was_in_pieces(
    engine: Engine, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "_PIECE", 100_000)
    with cutter(registry) as proxy:
        reference = f"{proxy.name}/upload:1"
        engine.images.load(io.BytesIO(docker_archive(tar_of(entry("big", content=noise(350_000))), tag=reference)))
        proxy.cut_requests_after, proxy.cuts = 250_000, 1
        seen: list[Progress] = []
        digest = engine.registries.push(reference, watch=seen.append).digest
        assert [news.phase for news in seen].count(Phase.RETRYING) == 1
        assert sum(head.startswith("PATCH") for head in proxy.seen) >= 3
    assert digest_by_skopeo(f"{registry}/upload:1") == digest


def test_a_killed_pull_is_continued_and_leaves_nothing_that_counts(
    engine: Engine, other: Engine, registry: str
) -> None:
    pushed(engine, f"{registry}/killed:1", tar_of(entry("big", content=noise(900_000))))
    other.images.list()
    with cutter(registry) as proxy:
        proxy.pause = 0.02
        process = subprocess.Popen(
            [sys.executable, "-m", "tuicon", "--root", other.root, "pull", "-q", f"{proxy.name}/killed:1"], cwd=ROOT
        )
        deadline = time.monotonic() + WAITS
        while not (partial := [*other.root.glob("blobs/sha256/*.partial")]) or partial[0].stat().st_size < 100_000:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
        proxy.pause = 0
        assert other.images.list() == ()
        other.registries.pull(f"{proxy.name}/killed:1")
        assert any("range: bytes=" in head.lower() for head in proxy.seen)
        other.images.remove(f"{proxy.name}/killed:1")
    assert blobs(other) == set()


def test_an_interrupted_pull_ends_at_once_and_what_it_got_is_collected(
    engine: Engine, other: Engine, registry: str
) -> None:
    pushed(engine, f"{registry}/interrupted:1", *(tar_of(entry(f"f{n}", content=noise(400_000 + n))) for n in range(3)))
    with cutter(registry) as proxy:
        proxy.pause = 0.05
        process = subprocess.Popen(
            [
                "env",
                "--default-signal=INT",
                sys.executable,
                "-m",
                "tuicon",
                "--root",
                other.root,
                "pull",
                "-q",
                f"{proxy.name}/interrupted:1",
            ],
            cwd=ROOT,
        )
        deadline = time.monotonic() + WAITS
        while not [*other.root.glob("blobs/sha256/*.partial")]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=WAITS) == 130
    other.images.collect()
    assert blobs(other) == set()
    assert [*other.root.joinpath("layers").iterdir()] == []


def test_two_pulls_of_one_blob_wait_for_each_other(other: Engine, told: Told) -> None:
    layer = tar_of(entry("file", content=noise(300_000)))
    manifest = told.put_image("twice", layer, gzip.compress(layer))
    failed: list[EngineError] = []

    def pull() -> None:
        try:
            other.registries.pull(f"{told.name}/twice:1")
        except EngineError as error:
            failed.append(error)

    threads = [threading.Thread(target=pull) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    wanted = f"/v2/twice/blobs/{manifest['layers'][0]['digest']}"
    assert sum(path == wanted for _, path, _ in told.requests) == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("blob", "digest or size is wrong"),
        ("size", "digest or size is wrong"),
        ("diff_id", "another digest"),
        ("both", "at once"),
        ("media type", "unexpected media type"),
        ("other media type", "was given as"),
        ("layer type", "unknown media type"),
        ("artifact", "no image but an artifact"),
        ("number", "another number of layers"),
        ("descriptor", "malformed descriptor"),
        ("schema", "schema version"),
        ("no json", "is damaged"),
    ],
)
def test_what_a_registry_must_not_answer_is_refused_and_nothing_is_kept(
    other: Engine, told: Told, wrong: str, said: str
) -> None:
    layer = tar_of(entry("file", content=b"content"))
    blob = gzip.compress(layer)
    described = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": digest_of(blob),
        "size": len(blob),
    }
    changes: dict[str, dict[str, object]] = {
        "size": {"layers": [{**described, "size": len(blob) - 1}]},
        "both": {"manifests": []},
        "media type": {"mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws"},
        "layer type": {"layers": [{**described, "mediaType": "application/x-evil"}]},
        "artifact": {"config": {**described, "mediaType": "application/vnd.oci.empty.v1+json"}},
        "number": {"layers": [described, described]},
        "descriptor": {"layers": [{**described, "digest": "sha256:../../etc/passwd"}]},
        "schema": {"schemaVersion": 1},
    }
    told.put_image("bad", layer if wrong != "diff_id" else b"other", blob, **changes.get(wrong, {}))
    page = told.pages["/v2/bad/manifests/1"]
    if wrong == "blob":
        told.pages[f"/v2/bad/blobs/{digest_of(blob)}"] = Page(
            gzip.compress(tar_of(entry("evil"))).ljust(len(blob), b"\0")
        )
    if wrong == "other media type":
        page.kind = "application/vnd.docker.distribution.manifest.v2+json"
    if wrong == "no json":
        page.body = b"<html>"
    with pytest.raises(ImageError, match=said):
        other.registries.pull(f"{told.name}/bad:1")
    assert other.images.list() == ()
    assert [*other.root.joinpath("layers").iterdir()] == []
    assert blobs(other) == set()


def test_a_manifest_that_is_not_what_its_digest_says_is_refused(other: Engine, told: Told) -> None:
    wanted = digest_of(b"something else")
    layer = tar_of(entry("file"))
    told.put_image("bad", layer, gzip.compress(layer))
    told.pages[f"/v2/bad/manifests/{wanted}"] = told.pages["/v2/bad/manifests/1"]
    with pytest.raises(ImageError, match="gave a manifest with the digest"):
        other.registries.pull(f"{told.name}/bad@{wanted}")


def test_layer_urls_are_not_followed(other: Engine, told: Told) -> None:
    layer = tar_of(entry("file"))
    blob = gzip.compress(layer)
    elsewhere = Told({"/blob": Page(blob)})
    foreign = {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": digest_of(blob),
        "size": len(blob), "urls": [f"http://{elsewhere.name}/blob"]}  # fmt: skip
    told.put_image("foreign", layer, blob, layers=[foreign])
    other.registries.pull(f"{told.name}/foreign:1")
    assert elsewhere.requests == []
    elsewhere.close()


def test_credentials_are_not_sent_on_after_a_redirect(other: Engine, told: Told) -> None:
    layer = tar_of(entry("file"))
    blob = gzip.compress(layer)
    elsewhere = Told({"/stored": Page(blob)})
    told.put_image("moved", layer, blob)
    told.pages[f"/v2/moved/blobs/{digest_of(blob)}"] = Page(
        status=307, headers={"Location": f"http://{elsewhere.name}/stored"}
    )
    plain = told.page

    def asks(path: str, authorization: str) -> Page:
        return plain(path, "") if authorization else Page(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    told.page = asks  # type: ignore[method-assign]
    with pytest.raises(NotAuthorized, match="wants credentials"):
        other.registries.pull(f"{told.name}/moved:1")
    other.registries.pull(f"{told.name}/moved:1", options=RegistryOptions(credentials=("user", "secret")))
    assert [path for _, path, _ in elsewhere.requests] == ["/stored"]
    assert "authorization" not in elsewhere.requests[0][2]
    elsewhere.close()


def test_tls_needs_the_registrys_authority_and_its_client_certificate(
    engine: Engine, root: Path, tmp_path: Path
) -> None:
    authority = certificate(tmp_path, "authority")
    server = certificate(tmp_path, "server", authority)
    client = certificate(tmp_path, "client", authority)
    section = f"  tls:\n    certificate: {server}.crt\n    key: {server}.key\n    clientcas: [{authority}.crt]\n"
    with docker_registry(tmp_path / "registry", section) as name:
        reference = f"{name}/tls:1"
        engine.images.load(io.BytesIO(docker_archive(tar_of(entry("file")), tag=reference)))
        with pytest.raises(RegistryError, match="is not trusted"):
            engine.registries.push(reference, options=RegistryOptions(verify_tls=True))
        files = tmp_path / "files"
        files.mkdir()
        files.joinpath("ca.crt").write_bytes(Path(f"{authority}.crt").read_bytes())
        with pytest.raises(RegistryError, match=r"TLS with|cut the connection"):
            engine.registries.push(reference, options=RegistryOptions(verify_tls=True, certificates=files))
        files.joinpath("client.cert").write_bytes(Path(f"{client}.crt").read_bytes())
        with pytest.raises(EngineError, match=r"has no client\.key"):
            engine.registries.push(reference, options=RegistryOptions(certificates=files))
        files.joinpath("client.key").write_bytes(Path(f"{client}.key").read_bytes())
        digest = engine.registries.push(reference, options=RegistryOptions(verify_tls=True, certificates=files)).digest
        told = skopeo("inspect", "--cert-dir", files, "--format", "{{.Digest}}", f"docker://{reference}")
        assert told.strip() == digest


def test_basic_login_is_kept_as_docker_keeps_it(engine: Engine, tmp_path: Path) -> None:
    htpasswd = tmp_path / "htpasswd"
    htpasswd.write_text(HTPASSWD + "\n")
    auth = f"auth:\n  htpasswd:\n    realm: tests\n    path: {htpasswd}\n"
    with docker_registry(tmp_path / "registry", auth=auth) as name:
        reference = f"{name}/basic:1"
        engine.images.load(io.BytesIO(docker_archive(tar_of(entry("file")), tag=reference)))
        with pytest.raises(NotAuthorized, match="wants credentials"):
            engine.registries.push(reference)
        with pytest.raises(NotAuthorized, match="refuses the credentials"):
            engine.registries.login(name, "user", "wrong")
        kept = tmp_path / "docker/config.json"
        assert not kept.exists()
        assert engine.registries.login(f"https://{name}/", "user", "secret") == str(kept)
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert json.loads(kept.read_text()) == {"auths": {name: {"auth": "dXNlcjpzZWNyZXQ="}}}
        digest = engine.registries.push(reference).digest
        told = skopeo(
            "inspect", "--tls-verify=false", "--authfile", kept, "--format", "{{.Digest}}", f"docker://{reference}"
        )
        assert told.strip() == digest
        assert engine.registries.logout(name)
        assert json.loads(kept.read_text()) == {"auths": {}}
        assert not engine.registries.logout(name)
        with pytest.raises(NotAuthorized):
            engine.registries.tags(f"{name}/basic")


def test_tokens_are_fetched_for_what_is_done(engine: Engine, other: Engine, tmp_path: Path) -> None:
    key = certificate(tmp_path, "tokens", key="rsa")
    server = TokenServer(key, {"user": "secret"})
    auth = (
        f"auth:\n  token:\n    realm: http://{server.name}/token\n    service: tests\n    issuer: tests\n"
        f"    rootcertbundle: {key}.crt\n"
    )
    with docker_registry(tmp_path / "registry", auth=auth) as name:
        reference = f"{name}/token:1"
        engine.images.load(io.BytesIO(docker_archive(tar_of(entry("file")), tag=reference)))
        with pytest.raises(NotAuthorized):
            engine.registries.push(reference)
        with pytest.raises(NotAuthorized):
            engine.registries.login(name, "user", "wrong")
        engine.registries.login(name, "user", "secret")
        digest = engine.registries.push(reference).digest
        assert any("scope=repository%3Atoken%3Apull%2Cpush" in path for _, path, _ in server.requests)
        engine.registries.logout(name)
        assert other.registries.pull(reference).digest == digest  # anybody may pull
    server.close()


def test_mirrors_are_asked_first_and_stand_in_for_their_registry(
    engine: Engine, other: Engine, registry: str, told: Told, tmp_path: Path
) -> None:
    digest = pushed(engine, f"{registry}/mirrored/app:1", tar_of(entry("file", content=b"m")))
    tmp_path.joinpath("registries.conf").write_text(f"""
[[registry]]
prefix = "example.invalid/team"
location = "example.invalid/team"
[[registry.mirror]]
location = "{told.name}/nothing"
[[registry.mirror]]
location = "{registry}/mirrored"
[[registry]]
prefix = "blocked.invalid"
blocked = true
""")
    pulled = other.registries.pull("example.invalid/team/app:1")
    assert pulled.digest == digest
    assert pulled.image.repo_digests == (f"example.invalid/team/app@{digest}",)
    assert told.requests[-1][1] == "/v2/nothing/app/manifests/1"
    with pytest.raises(RegistryError, match="is blocked"):
        other.registries.pull("blocked.invalid/x")


def test_a_newer_image_is_noticed_without_fetching_it(engine: Engine, other: Engine, registry: str) -> None:
    reference = f"{registry}/newer:1"
    first = pushed(engine, reference, tar_of(entry("one", content=b"1")))
    other.registries.pull(reference)
    assert not other.registries.check(reference).is_available
    second = pushed(engine, reference, tar_of(entry("two", content=b"2")))
    update = other.registries.check(reference)
    assert (update.is_available, update.local, update.remote) == (True, first, second)


def test_referrers_are_found_by_the_tag_that_stands_in_for_the_api(engine: Engine, registry: str) -> None:
    reference = f"{registry}/signed:1"
    digest = pushed(engine, reference, tar_of(entry("file", content=b"s")))
    with Client(Endpoint(registry, "signed", registry, is_insecure=True)) as client:
        image = client.manifest("1")
        signature = {"mediaType": OCI_MANIFEST, "digest": image.digest, "size": len(image.data),
            "artifactType": "application/vnd.example.signature"}  # fmt: skip
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [signature]}).encode()
        client.put_manifest(digest.replace(":", "-"), index, OCI_INDEX)
    assert [item.kind for item in engine.registries.referrers(reference)] == ["application/vnd.example.signature"]


@pytest.mark.parametrize("form", ["docker", "oci", "oci-dir"])
def test_what_is_saved_others_read_and_we_read_again(engine: Engine, other: Engine, root: Path, form: str) -> None:
    layers = (tar_of(entry("base", content=noise(3000))), tar_of(entry("top", content=b"top")))
    engine.images.load(io.BytesIO(docker_archive(*layers, tag="saved:1")))
    target = root / "saved"
    engine.images.save(("saved:1", "tuicon/demo"), target, form=form)
    for name in ("saved:1", "tuicon/demo"):
        tag = name.partition(":")[2] or "latest"
        sources = {
            "docker": f"docker-archive:{target}:{name}",
            "oci": f"oci-archive:{target}:{tag}",
            "oci-dir": f"oci:{target}:{tag}",
        }
        copy = root / f"copy-{tag}"
        skopeo("--tmpdir", root, "copy", sources[form], f"dir:{copy}")
        manifest = json.loads(copy.joinpath("manifest.json").read_text())
        assert manifest["config"]["digest"] == engine.images.get(name).id
    loaded = other.images.load(target)
    assert {image.id for image in loaded} == {engine.images.get("saved:1").id, engine.images.get("tuicon/demo").id}
    assert other.images.get("saved:1").references == ("docker.io/library/saved:1",)
    if form != "oci-dir":
        again = io.BytesIO()
        other.images.save(("saved:1", "tuicon/demo"), again, form=form)
        assert again.getvalue() == target.read_bytes()
    with pytest.raises(NotFound):
        engine.images.save(("nosuch",), root / "never")
    assert not root.joinpath("never").exists()


def test_a_prune_shows_what_goes_and_takes_nothing_that_is_used(engine: Engine) -> None:
    def load(tag: str, content: bytes) -> str:
        layers = (demo.root_archive().getvalue(), tar_of(entry("file", content=content)))
        return engine.images.load(io.BytesIO(docker_archive(*layers, tag=tag)))[0].id

    old, used, named = load("app:1", b"old"), load("used:1", b"used"), load("named:1", b"named" * 1000)
    load("app:1", b"new")  # takes the name away from the first
    engine.containers.create(ContainerSpec("used:1", network="none"))
    plan = engine.images.plan_prune()
    assert [item.image.id for item in plan.images] == [old]
    assert 0 < plan.size < 5000  # the base is shared
    assert engine.images.prune(plan)[0] == f"Deleted: {old}"
    plan = engine.images.plan_prune(takes_unused=True)
    assert named in [item.image.id for item in plan.images]
    assert used not in [item.image.id for item in plan.images]
    engine.images.tag("named:1", "kept:1")  # meanwhile, somebody gives it a name
    engine.images.prune(plan)
    assert {image.id for image in engine.images.list()} == {used, named}


def test_nothing_is_collected_while_an_image_is_on_its_way(engine: Engine, other: Engine, registry: str) -> None:
    pushed(engine, f"{registry}/beside:1", *(tar_of(entry(f"f{n}", content=noise(300_000 + n))) for n in range(2)))
    with cutter(registry) as proxy:
        proxy.pause = 0.01
        thread = threading.Thread(target=other.registries.pull, args=(f"{proxy.name}/beside:1",))
        thread.start()
        while thread.is_alive():
            other.images.collect()
    assert other.images.get(f"{proxy.name}/beside:1").id == engine.images.get(f"{registry}/beside:1").id


def test_the_command_line_pulls_pushes_and_logs_in(
    engine: Engine, registry: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def tuicon(*words: str | Path) -> str:
        assert command_line.run(engine, parser.build().parse_args([*map(str, words)])) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    reference = f"{registry}/cli/demo:1"
    tuicon("tag", "tuicon/demo", reference)
    digest = tuicon("push", reference).splitlines()[-1].split()[2]
    assert digest == digest_by_skopeo(reference)
    tuicon("rmi", reference)
    listed = tmp_path / "list"
    listed.write_text(f"# what we need\n{reference}\n")
    lines = tuicon("pull", "--from", listed).splitlines()
    assert lines[-3:] == [f"Digest: {digest}", f"Status: Downloaded newer image for {reference}", reference]
    assert tuicon("image", "tags", f"{registry}/cli/demo") == "1\n"
    assert json.loads(tuicon("manifest", "inspect", reference))["digest"] == digest
    assert digest in tuicon("images", "--digests", f"{registry}/cli/demo")
    assert "up to date" in tuicon("images", "--check", f"{registry}/cli/demo")
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret\n"))
    assert tuicon("login", "-u", "anybody", "--password-stdin", registry) == "Login Succeeded\n"
    assert "Removed" in tuicon("logout", registry)
    assert tuicon("search", f"{registry}/cli", "--format", "{{.Name}}") == f"{registry}/cli/demo\n"
    assert "import of a root file system" in tuicon("history", reference)


def test_a_full_disk_is_one_sentence_and_nothing_is_left_on_it(engine: Engine, registry: str, root: Path) -> None:
    pushed(engine, f"{registry}/large:1", *(tar_of(entry(f"f{n}", content=noise(900_000 + n))) for n in range(3)))
    small = root / "small"
    small.mkdir()
    script = """
    mount -t tmpfs -o size=4m none "$1" && shift && "$@"
    code=$?; find "$0/blobs" "$0/layers" -type f; exit $code"""
    pull: list[str | Path] = [
        sys.executable,
        "-m",
        "tuicon",
        "--root",
        small / "state",
        "pull",
        "-q",
        f"{registry}/large:1",
    ]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, small / "state", small, *pull],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("No space left on device\n")
    assert len(done.stderr.splitlines()) == 1


def test_a_registry_that_hangs_is_given_up(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PATIENCE", 0.3)
    hole = socket.create_server(("127.0.0.1", 0))  # takes connections and never answers
    with hole, pytest.raises(RegistryError, match="has been silent for too long"):
        engine.registries.pull(f"127.0.0.1:{hole.getsockname()[1]}/x")


def test_a_missing_image_is_pulled_to_run(engine: Engine, registry: str) -> None:
    reference = f"{registry}/wanted:1"
    engine.images.tag("tuicon/demo", reference)
    engine.registries.push(reference)
    engine.images.remove(reference)
    run: list[str | Path] = [sys.executable, "-m", "tuicon", "--root", engine.root, "run", "--rm", "--network", "none"]
    never = subprocess.run(
        [*run, "--pull", "never", reference, "true"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (never.returncode, never.stderr.splitlines()[0]) == (125, f"tuicon: no such image: {reference}")
    done = subprocess.run([*run, reference, "echo", "ran"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr


def test_what_cannot_be_reached_is_one_sentence(engine: Engine) -> None:
    with pytest.raises(RegistryError, match=r"^127.0.0.1:1 refuses connections$"):
        engine.registries.pull("127.0.0.1:1/x")
    with pytest.raises(RegistryError, match="cannot be found"):
        engine.registries.pull("nosuch.invalid/x")
