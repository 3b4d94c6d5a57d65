"""Advisories are judged by the evaluation that the OSV schema describes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from engine.errors import InvalidArgument
from engine.images.scan import ignore
from engine.images.scan.advisories import Affected, Span
from engine.images.scan.ecosystems import ecosystem_of, names_of, release_fits, version_of
from engine.images.scan.match import match
from engine.images.scan.severity import rate
from engine.images.scan.versions import Incomparable
from engine.model.packages import Distribution, IgnoreRule, Package, Severity, Vulnerability


def affected(*events: tuple[str, str], versions: tuple[str, ...] = (), kind: str = "SEMVER") -> Affected:
    return Affected([Span(kind, list(events))] if events else [], list(versions), [], "")


def fixed_in(what: Affected, version: str, ecosystem: str = "npm") -> str | None:
    found = match(what, ecosystem, version)
    return found.fixed_in if found else None


def test_a_range_begins_with_its_introduction_and_ends_before_its_fix() -> None:
    what = affected(("introduced", "1.0.0"), ("fixed", "1.2.0"))
    found = [
        fixed_in(what, version) for version in ("0.9.0", "1.0.0-rc.1", "1.0.0", "1.1.9", "1.2.0-rc.1", "1.2.0", "2.0.0")
    ]
    assert found == [None, None, "1.2.0", "1.2.0", "1.2.0", None, None]


def test_the_last_affected_version_is_affected_and_nothing_fixes_it() -> None:
    what = affected(("introduced", "0"), ("last_affected", "1.2.0"))
    assert [fixed_in(what, version) for version in ("0.0.1", "1.2.0", "1.2.1")] == ["", "", None]


def test_events_count_in_the_order_of_their_versions() -> None:
    what = affected(
        ("fixed", "3.0.1"),
        ("introduced", "3.0.0"),
        ("fixed", "2.0.5"),
        ("introduced", "2.0.0"),
        ("introduced", "0"),
        ("fixed", "1.5.0"),
    )
    found = [fixed_in(what, version) for version in ("1.4.0", "1.6.0", "2.0.0", "2.0.5", "3.0.0", "3.0.1")]
    assert found == ["1.5.0", None, "2.0.5", None, "3.0.1", None]


def test_a_limit_ends_what_is_known() -> None:
    what = affected(("introduced", "1.0.0"), ("limit", "2.0.0"))
    assert [fixed_in(what, version) for version in ("1.5.0", "2.0.0", "2.5.0")] == ["", None, None]
    assert fixed_in(affected(("introduced", "0"), ("limit", "*")), "9.0.0") == ""


def test_a_listed_version_is_affected_whatever_the_ranges_say() -> None:
    what = affected(("introduced", "2.0.0"), versions=("1.0.0",))
    assert [fixed_in(what, version) for version in ("1.0.0", "1.0.1", "2.0.0")] == ["", None, ""]


def test_a_version_that_cannot_be_compared_is_not_called_safe() -> None:
    with pytest.raises(Incomparable):
        match(affected(("introduced", "0"), ("fixed", "1.2"), kind="ECOSYSTEM"), "PyPI", "not a version")
    assert match(affected(("introduced", "x"), versions=("odd",), kind="ECOSYSTEM"), "PyPI", "odd") is not None


@pytest.mark.parametrize(
    ("vectors", "word", "wanted"),
    [
        # scores of first.org's examples documents for v2, v3.1 and v4.0
        ([("CVSS_V2", "AV:N/AC:L/Au:N/C:C/I:C/A:C")], "", (Severity.HIGH, 10.0)),
        ([("CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N")], "", (Severity.HIGH, 7.5)),
        ([("CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N")], "", (Severity.MEDIUM, 6.4)),
        ([("CVSS_V3", "CVSS:3.1/AV:L/AC:L/PR:H/UI:N/S:U/C:L/I:L/A:L")], "", (Severity.MEDIUM, 4.2)),
        ([("CVSS_V4", "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:L/VA:L/SC:N/SI:N/SA:N")], "", (Severity.HIGH, 8.8)),
        ([("CVSS_V2", "AV:N/AC:L/Au:N/C:C/I:C/A:C"), ("CVSS_V3", "CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H")], "", (Severity.CRITICAL, 10.0)),
        ([("CVSS_V3", "nonsense")], "MODERATE", (Severity.MEDIUM, None)),
        ([], "important", (Severity.HIGH, None)),
        ([("Ubuntu", "low")], "", (Severity.LOW, None)),
        ([("CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H")], "unimportant", (Severity.NEGLIGIBLE, None)),
        ([], "not yet assigned", (Severity.UNKNOWN, None)),
    ],
)  # fmt: skip
def test_severities(vectors: list[tuple[str, str]], word: str, wanted: tuple[Severity, float | None]) -> None:
    assert rate(vectors, word) == wanted


@pytest.mark.parametrize(
    ("distribution", "fitting", "other"),
    [
        (Distribution("debian", "12", "bookworm"), ("Debian:12", "Debian"), ("Debian:11", "Debian:1", "Ubuntu:12")),
        (Distribution("debian", "", "trixie"), ("Debian:13",), ("Debian:12",)),
        (Distribution("ubuntu", "22.04", "jammy"), ("Ubuntu:22.04:LTS", "Ubuntu:22.04"), ("Ubuntu:Pro:22.04:LTS", "Ubuntu:24.04:LTS")),
        (Distribution("alpine", "3.19.1"), ("Alpine:v3.19",), ("Alpine:v3.1", "Alpine:3.19", "Alpine:v3.20")),
        (Distribution("rhel", "9.3"), ("Red Hat:enterprise_linux:9::baseos", "Red Hat:enterprise_linux:9.3::appstream"), ("Red Hat:enterprise_linux:8::baseos", "Red Hat:rhel_eus:9.2::baseos")),
        (Distribution("rocky", "8.9"), ("Rocky Linux:8", "Rocky Linux"), ("Rocky Linux:9", "AlmaLinux:8")),
        (Distribution("sles", "15.5", "", "SUSE Linux Enterprise Server 15 SP5"), ("SUSE:Linux Enterprise Server 15 SP5", "SUSE:Linux Enterprise Module for Basesystem 15 SP5"), ("SUSE:Linux Enterprise Server 15 SP4",)),
        (Distribution("opensuse-leap", "15.5", "", "openSUSE Leap 15.5"), ("openSUSE:Leap 15.5",), ("openSUSE:Leap 15.4", "openSUSE:Tumbleweed")),
        (Distribution("wolfi", "20230201"), ("Wolfi", "PyPI"), ("Alpine:v3.19",)),
    ],
)  # fmt: skip
def test_releases_are_those_of_the_distribution(
    distribution: Distribution, fitting: tuple[str, ...], other: tuple[str, ...]
) -> None:
    fits = release_fits(distribution)
    assert [name for name in (*fitting, *other) if fits(name)] == list(fitting)


def test_packages_are_looked_up_as_their_ecosystem_names_them() -> None:
    debian = Distribution("debian", "12")
    library = Package("deb", "libc6", "2.36-9+b1", source="glibc", source_version="2.36-9")
    assert (ecosystem_of(library, debian), names_of(library, "Debian"), version_of(library)) == (
        "Debian",
        ("glibc",),
        "2.36-9",
    )
    assert names_of(Package("pypi", "Flask_SQLAlchemy", "1"), "PyPI") == ("flask-sqlalchemy",)
    assert version_of(Package("golang", "golang.org/x/text", "v0.3.5")) == "0.3.5"
    assert version_of(Package("golang", "stdlib", "1.21rc2")) == "1.21.0-rc.2"
    assert version_of(Package("golang", "main", "(devel)")) == ""
    assert names_of(Package("rpm", "openssl-libs", "1", source="openssl"), "Red Hat") == ("openssl", "openssl-libs")
    assert ecosystem_of(library, Distribution("homemade")) == ""


def ignore_file(directory: Path, text: str) -> Path:
    path = directory / "ignore.toml"
    path.write_text(text)
    return path


def test_an_ignore_rule_holds_for_its_name_and_package_until_its_last_day(tmp_path: Path) -> None:
    text = '[[ignore]]\nid = "CVE-1"\npackage = "openssl"\nuntil = 2026-05-01\nreason = "no TLS"\n'
    rules = ignore.read(ignore_file(tmp_path, text))
    assert rules == (IgnoreRule("CVE-1", "openssl", date(2026, 5, 1), "no TLS"),)
    found = [
        Vulnerability("DSA-1", ("CVE-1",), Package("deb", name, "1", source=source), Severity.LOW)
        for name, source in (("libssl3", "openssl"), ("openssl", ""), ("curl", ""))
    ]
    left, ignored, warnings = ignore.apply(rules, found, date(2026, 5, 1))
    assert ([item.package.name for item in left], len(ignored), warnings) == (["curl"], 2, ())
    left, ignored, warnings = ignore.apply(rules, found, date(2026, 5, 2))
    assert (len(left), ignored, warnings) == (3, (), ("the ignore rule for CVE-1 ended on 2026-05-01",))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[ignore]]\nid = 5", "no text as id"), ("[[ignore]]\nreason = 'x'", "no text as id"),
        ("[[ignore]]\nid = 'x'\nuntil = 'soon'", "no date as until"), ("[[ignore]]\nid = 'x'\ncve = 'y'", "unknown key 'cve'"),
        ("ignore = 3", "only \\[\\[ignore\\]\\]"), ("[ignored]\nid = 'x'", "only \\[\\[ignore\\]\\]"), ("= nonsense", "malformed"),
    ],
)  # fmt: skip
def test_a_wrong_ignore_file_is_refused_in_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        ignore.read(ignore_file(tmp_path, text))
