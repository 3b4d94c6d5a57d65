from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from engine.errors import ImageError, InvalidArgument, RegistryError
from engine.images.registry.auth import parse_challenges
from engine.images.registry.config import RegistryConfig, certificates, is_loopback
from engine.images.registry.credentials import Credentials, CredentialStore
from engine.images.registry.registries import registry_name
from engine.images.registry.transport import Transport, _proxy
from engine.model.transfer import Phase, Progress, RegistryOptions
from engine.oci import manifest
from engine.oci.reference import parse
from tuicon.cli.progress import Board


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="a, b"', [("basic", {"realm": "a, b"})]),
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        ('Bearer realm=x, Basic realm="y\\"z"', [("bearer", {"realm": "x"}), ("basic", {"realm": 'y"z'})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("", []),
        ('="', []),
    ],
)
def test_challenges_are_read_as_rfc_9110_writes_them(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(header) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.1.2.3:80", True),
        ("[::1]:5000", True),
        ("example.com", False),
        ("10.0.0.1:5000", False),
    ],
)
def test_only_this_machine_may_speak_plain_http_undeclared(name: str, expected: bool) -> None:
    assert is_loopback(name) == expected
    assert RegistryConfig(files=()).origin(parse(f"{name}/x")).is_insecure == expected


def config(tmp_path: Path, text: str, options: RegistryOptions | None = None) -> RegistryConfig:
    path = tmp_path / "registries.conf"
    path.write_text(text)
    return RegistryConfig(options, (path,))


def test_the_longest_prefix_counts_and_mirrors_come_first(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        """
unqualified-search-registries = ["docker.io"]
[[registry]]
location = "example.com"
insecure = true
[[registry]]
prefix = "example.com/team"
location = "store.example.com/other"
[[registry.mirror]]
location = "m1:5000/x"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "m2"
insecure = true
[[registry]]
prefix = "*.wild.io"
[[registry.mirror]]
location = "cache/wild"
""",
    )
    assert found.origin(parse("example.com/a")).is_insecure
    assert not found.origin(parse("example.community/a")).is_insecure
    places = found.endpoints(parse("example.com/team/app:1"))
    assert [(place.host, place.repository, place.is_insecure, place.is_mirror) for place in places] == [
        ("m2", "app", True, True),
        ("store.example.com", "other/app", False, False),
    ]
    by_digest = found.endpoints(parse("example.com/team/app@sha256:" + "a" * 64))
    assert [place.host for place in by_digest] == ["m1:5000", "m2", "store.example.com"]
    assert [(p.host, p.repository) for p in found.endpoints(parse("a.wild.io/b/c"))] == [
        ("cache", "wild/b/c"),
        ("a.wild.io", "b/c"),
    ]
    assert found.origin(parse("busybox")).host == "registry-1.docker.io"


def test_a_caller_may_insist_or_give_in(tmp_path: Path) -> None:
    assert not config(tmp_path, "", RegistryOptions(verify_tls=True)).origin(parse("localhost/x")).is_insecure
    assert config(tmp_path, "", RegistryOptions(verify_tls=False)).origin(parse("example.com/x")).is_insecure


@pytest.mark.parametrize(
    "text",
    ["[[registry]]\ninsecure = true", "[registries.search]\nregistries = []", "[[registry]]\nlocation = 5",
     "[[registry]]\nlocation = 'https://x'", "[[registry]]\nlocation = 'x'\ninsecure = 'yes'", "not toml",
     "[[registry]]\nlocation = 'x'\n[[registry.mirror]]\ninsecure = true",
     "[[registry]]\nlocation = 'x'\n[[registry.mirror]]\nlocation = 'y'\npull-from-mirror = 'maybe'"],
)  # fmt: skip
def test_a_malformed_configuration_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"registries\.conf"):
        config(tmp_path, text)


def test_certificates_come_from_the_first_directory_that_has_any(tmp_path: Path) -> None:
    for name in ("empty", "full"):
        tmp_path.joinpath(name).mkdir()
    for name in ("a.crt", "b.crt", "c.cert", "c.key", "README"):
        tmp_path.joinpath("full", name).touch()
    full = tmp_path / "full"
    found = certificates((tmp_path / "none", tmp_path / "empty", full))
    assert found == ([full / "a.crt", full / "b.crt"], (full / "c.cert", full / "c.key"))


def test_credentials_are_dockers_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({
        "auths": {
            "https://index.docker.io/v1/": {"auth": "dTpw"}, "http://old.example/v2/": {"auth": "bzpwOnE="},
            "token.example": {"auth": "dTo=", "identitytoken": "t"},
        },
        "HttpHeaders": {"X": "y"},
    }))  # fmt: skip
    path.chmod(0o644)
    store = CredentialStore(path)
    assert store.get("docker.io") == Credentials("u", "p")
    assert store.get("old.example") == Credentials("o", "p:q")
    assert store.get("token.example") == Credentials("u", "", "t")
    assert store.get("old.example.com") is None
    store.put("new.example:5000", Credentials("n", "w"))
    written = json.loads(path.read_text())
    assert written["HttpHeaders"] == {"X": "y"}
    assert written["auths"]["new.example:5000"] == {"auth": "bjp3"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert store.delete("docker.io")
    assert store.get("docker.io") is None
    assert sorted(os.listdir(tmp_path)) == ["config.json"]
    assert "secret" not in repr(Credentials("u", "secret", "secret"))


HELPER = f"""#!{sys.executable}
import json, os, sys
path, text = os.environ["HELPER_STORE"], sys.stdin.read().strip()
kept = json.load(open(path)) if os.path.exists(path) else {{}}
if sys.argv[1] == "store":
    entry = json.loads(text)
    kept[entry["ServerURL"]] = entry
elif sys.argv[1] == "erase":
    kept.pop(text)
elif text in kept:
    print(json.dumps(kept[text]))
    sys.exit(0)
else:
    print("credentials not found in native keychain")
    sys.exit(1)
json.dump(kept, open(path, "w"))
"""


def test_credential_helpers_keep_what_the_file_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HELPER_STORE", str(tmp_path / "kept"))
    path = tmp_path / "config.json"
    path.write_text('{"credsStore": "test", "credHelpers": {"gone.example": "missing"}}')
    store = CredentialStore(path)
    assert store.get("a.example") is None
    assert store.put("a.example", Credentials("u", "p")) == ""
    assert json.loads(path.read_text())["auths"] == {"a.example": {}}
    assert store.get("a.example") == Credentials("u", "p")
    store.put("b.example", Credentials("u", "", "token"))
    assert store.get("b.example") == Credentials("", "", "token")
    assert store.delete("a.example")
    assert store.get("a.example") is None
    with pytest.raises(RegistryError, match="docker-credential-missing is not installed"):
        store.get("gone.example")


def test_a_helper_cannot_be_a_path(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"credsStore": "../../bin/sh"}')
    with pytest.raises(InvalidArgument, match="malformed name"):
        CredentialStore(path).get("a.example")


def test_proxies_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert _proxy("https", "example.com") == ""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example,.corp")
    assert _proxy("https", "example.com:5000") == "http://proxy:3128"
    assert [_proxy("https", host) for host in ("internal.example", "a.corp:5000", "127.0.0.1:5000")] == ["", "", ""]
    assert _proxy("http", "example.com") == ""


def test_no_redirect_leads_from_https_to_http() -> None:
    transport = Transport(RegistryConfig(files=()).origin(parse("example.com/x")))
    for target in ("http://example.com/x", "file:///etc/passwd", "https:///x"):
        with pytest.raises(RegistryError, match="redirects"):
            transport._check_redirect("https://example.com/v2/", target)


def test_a_registry_may_be_given_as_an_address() -> None:
    assert registry_name("https://index.docker.io/v1/") == "docker.io"
    assert registry_name("localhost:5000") == "localhost:5000"
    with pytest.raises(InvalidArgument):
        registry_name("noregistry")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("linux/amd64", "a"),
        ("amd64", "a"),
        ("linux/arm64", "d"),
        ("arm64/v8", "d"),
        ("linux/arm64/v8", "d"),
        ("linux/arm/v6", "b"),
        ("linux/arm", "c"),
        ("windows/amd64", None),
    ],
)
def test_platforms_are_chosen_by_variant(asked: str, expected: str | None) -> None:
    index = manifest.Index([
        manifest.Descriptor(digest=name, platform=manifest.Platform(architecture, "linux", variant))
        for name, architecture, variant in (("a", "amd64", ""), ("b", "arm", "v6"), ("c", "arm", "v7"), ("d", "arm64", "v8"))
    ])  # fmt: skip
    if expected is None:
        with pytest.raises(ImageError, match="no image for"):
            manifest.choose(index, manifest.parse_platform(asked), "it")
    else:
        assert manifest.choose(index, manifest.parse_platform(asked), "it").digest == expected


def test_progress_is_a_line_for_each_layer_that_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board()
    for phase in (Phase.WAITING, Phase.DOWNLOADING, Phase.RETRYING, Phase.DOWNLOADING, Phase.PULLED, Phase.PULLED):
        board(Progress("abc", phase, 1, 2, "cut" if phase is Phase.RETRYING else ""))
    board.end()
    assert capsys.readouterr().out == "abc: Retrying: cut\nabc: Pull complete\n"
