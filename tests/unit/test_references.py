"""References by the rules of the distribution project's reference package: its cases, in our normalised words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidArgument
from engine.oci.reference import familiar_text, parse

DIGEST = "sha256:" + "f" * 64
IDENTIFIER = "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a"


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("test_com", "docker.io", "library/test_com", "latest", ""),
        ("test.com:tag", "docker.io", "library/test.com", "tag", ""),
        ("test.com:5000", "docker.io", "library/test.com", "5000", ""),
        ("test.com/repo:tag", "test.com", "repo", "tag", ""),
        ("test:5000/repo", "test:5000", "repo", "latest", ""),
        ("test:5000/repo:tag", "test:5000", "repo", "tag", ""),
        (f"test:5000/repo@{DIGEST}", "test:5000", "repo", "", DIGEST),
        (f"test:5000/repo:tag@{DIGEST}", "test:5000", "repo", "tag", DIGEST),
        ("lowercase:Uppercase", "docker.io", "library/lowercase", "Uppercase", ""),
        ("a/" * 127 + "a:tag-puts-this-over-max", "docker.io", "a/" * 127 + "a", "tag-puts-this-over-max", ""),
        ("sub-dom1.foo.com/bar/baz/quux", "sub-dom1.foo.com", "bar/baz/quux", "latest", ""),
        ("sub-dom1.foo.com/bar/baz/quux:some-long-tag", "sub-dom1.foo.com", "bar/baz/quux", "some-long-tag", ""),
        (
            "b.gcr.io/test.example.com/my-app:test.example.com",
            "b.gcr.io",
            "test.example.com/my-app",
            "test.example.com",
            "",
        ),
        ("xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com", "myimage", "xn--n3h.com", ""),
        ("foo_bar.com:8080", "docker.io", "library/foo_bar.com", "8080", ""),
        ("foo/foo_bar.com:8080", "docker.io", "foo/foo_bar.com", "8080", ""),
        ("192.168.1.1", "docker.io", "library/192.168.1.1", "latest", ""),
        ("192.168.1.1:tag", "docker.io", "library/192.168.1.1", "tag", ""),
        ("192.168.1.1/repo", "192.168.1.1", "repo", "latest", ""),
        ("192.168.1.1:5000/repo:5050", "192.168.1.1:5000", "repo", "5050", ""),
        ("[2001:db8::1]/repo", "[2001:db8::1]", "repo", "latest", ""),
        ("[2001:db8:1:2:3:4:5:6]/repo:tag", "[2001:db8:1:2:3:4:5:6]", "repo", "tag", ""),
        ("[2001:db8::1]:5000/repo", "[2001:db8::1]:5000", "repo", "latest", ""),
        (f"[2001:db8::1]:5000/repo:tag@{DIGEST}", "[2001:db8::1]:5000", "repo", "tag", DIGEST),
        ("[::1]:5000/repo", "[::1]:5000", "repo", "latest", ""),
        ("docker/docker", "docker.io", "docker/docker", "latest", ""),
        ("library/debian", "docker.io", "library/debian", "latest", ""),
        ("docker.io/docker/docker", "docker.io", "docker/docker", "latest", ""),
        ("docker.io/debian", "docker.io", "library/debian", "latest", ""),
        ("index.docker.io/docker/docker", "docker.io", "docker/docker", "latest", ""),
        ("index.docker.io/library/debian", "docker.io", "library/debian", "latest", ""),
        ("index.docker.io/debian", "docker.io", "library/debian", "latest", ""),
        ("127.0.0.1:5000/library/debian", "127.0.0.1:5000", "library/debian", "latest", ""),
        ("localhost/debian", "localhost", "debian", "latest", ""),
        (f"docker.io/{IDENTIFIER}", "docker.io", f"library/{IDENTIFIER}", "latest", ""),
        (IDENTIFIER[:-1], "docker.io", f"library/{IDENTIFIER[:-1]}", "latest", ""),
        ("Docker/docker", "Docker", "docker", "latest", ""),
        ("DOCKER/docker", "DOCKER", "docker", "latest", ""),
        ("docker---rules/docker", "docker.io", "docker---rules/docker", "latest", ""),
        ("dock__er/docker", "docker.io", "dock__er/docker", "latest", ""),
        ("d/docker", "docker.io", "d/docker", "latest", ""),
        ("my_app:v1.0", "docker.io", "library/my_app", "v1.0", ""),
        (f"my_app@{DIGEST}", "docker.io", "library/my_app", "", DIGEST),
    ],
)
def test_what_is_right_is_split_as_docker_splits_it(
    text: str, registry: str, repository: str, tag: str, digest: str
) -> None:
    found = parse(text)
    assert (found.registry, found.repository, found.tag, found.digest) == (registry, repository, tag, digest)
    assert parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "names no repository"),
        (":justtag", "names no repository"),
        (f"@{DIGEST}", "names no repository"),
        ("docker/", "repository name"),
        ("docker.io/", "names no repository"),
        ("repo@sha256:ffff", "digest"),
        ("validname@invaliddigest:" + "f" * 64, "digest"),
        (f"a@{DIGEST}@{DIGEST}", "digest"),
        ("Uppercase:tag", "must be lowercase"),
        ("test:5000/Uppercase/lowercase:tag", "must be lowercase"),
        ("docker/Docker", "must be lowercase"),
        ("docker.io/docker/Docker", "must be lowercase"),
        ("a/" * 128 + "a:tag", "longer than 255"),
        ("aa/asdf$$^/aa", "repository name"),
        ("[2001:db8::1]", "repository name"),
        ("[2001:db8::1]:5000", "repository name"),
        ("[fe80::1%eth0]:5000/repo", "registry"),
        ("[fe80::1%@invalidzone]:5000/repo", "digest"),
        ("[2001:db8:3:4::192.0.2.33]:5000/debian", "registry"),
        ("fc00::1:5000/debian", "registry"),
        ("https://github.com/docker/docker", "registry"),
        ("a..b/c", "registry"),
        ("-docker", "repository name"),
        ("-docker/docker", "repository name"),
        ("docker-/docker", "repository name"),
        ("-docker.io/docker/docker", "registry"),
        ("docker///docker", "repository name"),
        ("____/____", "repository name"),
        ("dock..er/docker", "registry"),
        ("dock_.er/docker", "registry"),
        (IDENTIFIER, "are an id"),
        ("a:", "tag"),
        ("a:b c", "tag"),
        ("a:-b", "tag"),
        ("a:" + "b" * 129, "tag"),
        ("a/../b", "repository name"),
        ("a\n", "repository name"),
        ("a:b\n", "tag"),
    ],
)
def test_what_is_wrong_is_refused_with_the_part_that_is_wrong(text: str, part: str) -> None:
    with pytest.raises(InvalidArgument, match=part):
        parse(text)


@pytest.mark.parametrize(
    ("full", "short"),
    [
        ("docker.io/library/foo:1", "foo:1"),
        ("docker.io/library/foo/bar:1", "library/foo/bar:1"),
        ("docker.io/store/foo/bar:1", "store/foo/bar:1"),
        ("docker.io/private/moonbase:1", "private/moonbase:1"),
        ("127.0.0.1:8000/privatebase:1", "127.0.0.1:8000/privatebase:1"),
    ],
)
def test_the_short_form_is_dockers_and_means_the_same(full: str, short: str) -> None:
    assert familiar_text(full) == short
    assert str(parse(short)) == full


@given(st.text(max_size=80))
def test_any_text_is_either_refused_or_normalised_once(text: str) -> None:
    try:
        found = parse(text)
    except InvalidArgument:
        return
    assert parse(str(found)) == found
