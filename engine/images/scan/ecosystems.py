"""Which advisories speak of a package: OSV's ecosystems, their releases and what they name (OSV schema 1.7)."""

from __future__ import annotations

import re
from collections.abc import Callable

from engine.images.packages.purl import normal_python_name
from engine.model.packages import Distribution, Package

_LANGUAGES = {"pypi": "PyPI", "npm": "npm", "golang": "Go", "maven": "Maven"}
_DISTRIBUTIONS = {
    "debian": "Debian", "raspbian": "Debian", "ubuntu": "Ubuntu", "alpine": "Alpine", "wolfi": "Wolfi",
    "chainguard": "Chainguard", "minimos": "MinimOS", "alpaquita": "Alpaquita",
    "bellsoft-hardened-containers": "BellSoft Hardened Containers", "rhel": "Red Hat", "centos": "Red Hat",
    "rocky": "Rocky Linux", "almalinux": "AlmaLinux", "sles": "SUSE", "sled": "SUSE", "opensuse-leap": "openSUSE",
    "opensuse-tumbleweed": "openSUSE", "mageia": "Mageia", "openeuler": "openEuler", "azurelinux": "Azure Linux",
    "photon": "Photon OS",
}  # fmt: skip
_DEBIAN_NUMBERS = {"buster": "10", "bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14", "duke": "15"}
_BOTH_NAMES = ("Red Hat", "Wolfi", "Chainguard", "MinimOS", "Azure Linux", "Photon OS")
_GO_CANDIDATE = re.compile(r"(\d+\.\d+)(\.\d+)?(rc|beta)(\d+)")


def ecosystem_of(package: Package, distribution: Distribution) -> str:
    """Return the ecosystem of a package without its release; empty when OSV has none for it."""
    if package.kind in _LANGUAGES:
        return _LANGUAGES[package.kind]
    return _DISTRIBUTIONS.get(distribution.id, "")


def names_of(package: Package, ecosystem: str) -> tuple[str, ...]:
    """Return the names under which advisories know a package: mostly that of its source."""
    if package.kind == "pypi":
        return (normal_python_name(package.name),)
    if package.kind in _LANGUAGES:
        return (package.name,)
    source = package.source or package.name
    return tuple(dict.fromkeys((source, package.name))) if ecosystem in _BOTH_NAMES else (source,)


def version_of(package: Package) -> str:
    """Return the version that advisories mean; empty when there is none to compare.

    Debian counts in versions of the source. Go's own modules have no "v" there, and its candidates are written as
    semantic versions (go.dev/doc/modules/version-numbers).
    """
    if package.kind == "deb":
        return package.source_version or package.version
    if package.kind != "golang":
        return package.version
    version = package.version.removeprefix("v")
    if not version[:1].isdigit():
        return ""  # "(devel)"
    match = _GO_CANDIDATE.fullmatch(version)
    return f"{match[1]}{match[2] or '.0'}-{match[3]}.{match[4]}" if match else version


def release_fits(distribution: Distribution) -> Callable[[str], bool]:
    """Return a test whether an ecosystem with or without a release is that of a distribution, or of a language."""
    base = _DISTRIBUTIONS.get(distribution.id, "")
    releases = _releases(distribution, base)
    major, _, minor = distribution.version.partition(".")

    def fits(ecosystem: str) -> bool:
        name, _, release = ecosystem.partition(":")
        if name not in _DISTRIBUTIONS.values():
            return True
        if not release or name != base:
            return name == base
        if base == "Red Hat":  # a CPE: "enterprise_linux:9::baseos"
            return ":".join(release.split(":")[:2]) in releases
        if base == "SUSE" and " Module for " in release:
            return release.endswith(f" {major} SP{minor}" if minor else f" {major}")
        return release in releases

    return fits


def _releases(distribution: Distribution, base: str) -> set[str]:
    """Return what OSV may call the release of a distribution."""
    version = distribution.version
    major = version.partition(".")[0]
    short = ".".join(version.split(".")[:2])
    match base:
        case "Debian":
            return {major or _DEBIAN_NUMBERS.get(distribution.codename, ""), distribution.codename}
        case "Ubuntu":
            return {version, f"{version}:LTS"}
        case "Alpine":
            return {f"v{short}"}
        case "Red Hat":
            return {f"enterprise_linux:{major}", f"enterprise_linux:{short}"}
        case "SUSE" | "openSUSE":
            return {distribution.name.removeprefix(f"{base} "), f"Leap {version}" if version else "Tumbleweed"}
        case "openEuler":
            return {f"{version}-LTS", f"{version}-LTS-{_service_pack(distribution.name)}"}
    return {version, major}


def _service_pack(name: str) -> str:
    found = re.search(r"SP\d+", name)
    return found[0] if found else ""
