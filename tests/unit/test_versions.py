"""Versions are ordered as the ecosystems' own tools and specifications order them."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess

import pytest

from engine.images.scan.versions import Incomparable, key


def compared(ecosystem: str, left: str, right: str) -> int:
    one, other = key(ecosystem, left), key(ecosystem, right)
    return int(one > other) - int(one < other)


def made_up(alphabet: str, count: int, seed: int) -> list[str]:
    chosen = random.Random(seed)
    versions: set[str] = set()
    while len(versions) < count:
        tail = "".join(chosen.choice(alphabet) for _ in range(chosen.randint(0, 6)))
        versions.add(f"{chosen.randint(0, 11)}{tail}")
    return sorted(versions)


def pairs(versions: list[str], count: int) -> list[tuple[str, str]]:
    return random.Random(count).sample(list(itertools.product(versions, versions)), count)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="compares with dpkg")
def test_debians_versions_are_ordered_as_dpkg_orders_them() -> None:
    real = ["1.0", "1.0-1", "1:1.0", "1.0~rc1", "1.0+b1", "0:1.0", "2.36-9+deb12u7", "2.36-9+deb12u10", "1.0-1~bpo1"]
    chosen = [*pairs(made_up("0019ab.+~", 40, 1), 60), *itertools.combinations(real, 2)]
    for left, right in chosen:
        wanted = {
            order
            for order, word in ((-1, "lt"), (0, "eq"), (1, "gt"))
            if subprocess.run(["dpkg", "--compare-versions", left, word, right], check=False).returncode == 0
        }
        assert {compared("Debian", left, right)} == wanted, (left, right)


@pytest.mark.skipif(shutil.which("rpm") is None, reason="compares with rpm")
def test_rpms_versions_are_ordered_as_rpm_orders_them() -> None:
    real = ["1.0-1", "1.0-2", "1.0~rc1-1", "1.0^git1-1", "4.4.20-4.el8_6", "4.4.20-4.el8", "1.0.a-1", "10xyz-1", "2a-1"]
    chosen = [*pairs([f"{version}-1" for version in made_up("0019ab.~^_", 40, 2)], 300), *itertools.product(real, real)]
    calls = " ".join(f"print(rpm.vercmp('{left}','{right}')..' ')" for left, right in chosen)
    done = subprocess.run(["rpm", "--eval", f"%{{lua:{calls}}}"], check=True, capture_output=True, text=True)
    wanted = list(map(int, done.stdout.split()))
    assert len(wanted) == len(chosen)
    for (left, right), order in zip(chosen, wanted, strict=True):
        assert compared("Rocky Linux", left, right) == order, (left, right)


@pytest.mark.parametrize(
    "ascending",
    [
        # Semantic Versioning 2.0.0, item 11
        ("npm", "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 2.0.0 2.1.0 2.1.1"),
        # go.dev/ref/mod#versions and #pseudo-versions
        ("Go", "0.0.0-20191109021931-daa7c04131f5 0.0.0-20200101000000-0123456789ab 1.2.3-pre 1.2.3 1.2.4-0.20191109021931-daa7c04131f5 1.2.4 1.10.0"),
        # PEP 440, "Summary of permitted suffixes and relative ordering"
        ("PyPI", "1.dev0 1.0.dev456 1.0a1 1.0a2.dev456 1.0a12.dev456 1.0a12 1.0b1.dev456 1.0b2 1.0b2.post345 1.0rc1.dev456 1.0rc1 1.0 1.0+abc.5 1.0+abc.7 1.0+5 1.0.post456.dev34 1.0.post456 1.0.15 1.1.dev1"),
        # maven.apache.org/pom.html, "Version Order Specification"
        ("Maven", "1-alpha-1 1-beta-1 1-milestone-1 1-rc-1 1-SNAPSHOT 1 1-sp 1-1 1.1 1.2 1.10"),
        # apk-tools' own table, test/unit/version.data
        ("Alpine", "0.1.0_alpha 0.1.0_alpha2 0.1.3_alpha 0.7-r1 1.0.4-r3 1.0.4-r4 1.06-r6 1.1_alpha1 1.1 1.1a 1.1.1-r1 1.1.1-r4 1.2_git20200101 1.6.8_p9-r2 1.6.8_p12-r1 6b-r7 7.0.17 7.0.174 20050718-r2"),
        ("Alpine", "1.0.0_pre20191002222144-r0 1.0.0_pre20210530193627-r0 1.0.0 1.0.0-r0 1.0.0-r1"),
    ],
)  # fmt: skip
def test_the_orders_of_the_specifications_hold(ascending: tuple[str, str]) -> None:
    ecosystem, text = ascending
    versions = text.split()
    for left, right in itertools.combinations(versions, 2):
        assert compared(ecosystem, left, right) == -1, (left, right)


def test_what_is_equal_is_equal() -> None:
    for ecosystem, left, right in (
        ("PyPI", "1.0", "1.0.0"), ("Maven", "1.0.0.Final", "1"), ("Debian", "0:1.0-0", "1.0"), ("npm", "1.0.0+build", "1.0.0"),
        ("Go", "2.0.0+incompatible", "2.0.0"), ("Red Hat", "0:1.0-1", "1.0-1"), ("Alpine", "1.0-r0", "1.0-r0"),
    ):  # fmt: skip
        assert compared(ecosystem, left, right) == 0, (ecosystem, left, right)


def test_what_is_no_version_is_said_to_be_none() -> None:
    for ecosystem, version in (
        ("Alpine", "1.0_foo"),
        ("Alpine", ""),
        ("PyPI", "nonsense"),
        ("npm", "x" * 1000),
        ("Unheard", "1"),
    ):
        with pytest.raises(Incomparable):
            key(ecosystem, version)
