"""Package URLs (github.com/package-url/purl-spec), by the specification's own library."""

from __future__ import annotations

import re

from packageurl import PackageURL

from engine.model.packages import Distribution, Package

_VENDORS = {
    "opensuse-leap": "opensuse",
    "opensuse-tumbleweed": "opensuse",
    "sles": "suse",
    "rhel": "redhat",
    "ol": "oracle",
}
_DISTRIBUTIONS = ("deb", "apk", "rpm")


def package_url(package: Package, distribution: Distribution) -> str:
    """Return the package URL of a package of an image made of a distribution."""
    namespace, name = _split(package)
    version, qualifiers = package.version, {}
    if package.kind in _DISTRIBUTIONS:
        namespace = _VENDORS.get(distribution.id, distribution.id) or None
        qualifiers = {"arch": package.architecture, "distro": _distro(distribution)}
        if package.source and package.source != package.name:
            own = package.source_version
            qualifiers["upstream"] = f"{package.source}@{own}" if own else package.source
    if package.kind == "rpm" and ":" in version:
        qualifiers["epoch"], _, version = version.partition(":")
    chosen = {key: value for key, value in qualifiers.items() if value}
    return PackageURL(package.kind, namespace, name, version or None, chosen or None).to_string()


def _split(package: Package) -> tuple[str | None, str]:
    """Return namespace and name, normalised as the type wants it."""
    if package.kind == "pypi":
        return None, normal_python_name(package.name)
    if package.kind == "maven":
        group, _, artifact = package.name.partition(":")
        return group or None, artifact
    if package.kind in ("npm", "golang"):
        namespace, _, name = package.name.rpartition("/")
        return namespace or None, name
    return None, package.name


def normal_python_name(name: str) -> str:
    """Return a Python package's name in the form that indexes compare (packaging.python.org, "Name normalization")."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _distro(distribution: Distribution) -> str:
    release = distribution.version or distribution.codename
    return f"{distribution.id}-{release}" if release else distribution.id
