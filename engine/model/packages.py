"""What is installed in an image, and what is known to be vulnerable of it."""

from __future__ import annotations

from datetime import date, datetime
from enum import IntEnum

from engine.model.value import Value


class Distribution(Value, frozen=True):
    """What an image's os-release says (os-release(5)).

    Attributes:
        id: "debian", "alpine", "rhel"; empty when the image has no distribution.
        version: VERSION_ID, "12" or "3.19.1"; empty for rolling and unreleased ones.
        codename: VERSION_CODENAME, "bookworm".
        name: PRETTY_NAME.
    """

    id: str = ""
    version: str = ""
    codename: str = ""
    name: str = ""


class Package(Value, frozen=True):
    """One installed package.

    Attributes:
        kind: The type of its package URL: deb, apk, rpm, pypi, npm, golang or maven.
        name: As its ecosystem writes it: "@scope/name" for npm, "group:artifact" for Maven.
        version: The whole version, with epoch and revision.
        architecture: As its ecosystem calls it; empty where there is none.
        source: What it was built from, where that has a name of its own (Debian's source, Alpine's origin, the SRPM).
        source_version: The version of that; empty when it is the package's.
        licenses: As the package states them, not always SPDX.
        supplier: Maintainer or vendor.
        path: The file that told of it.
        layer: The diff_id of the layer that brought this version.
        owner: The distribution's package that the file belongs to; its advisories are the right ones then.
        purl: The package URL.
    """

    kind: str
    name: str
    version: str
    architecture: str = ""
    source: str = ""
    source_version: str = ""
    licenses: tuple[str, ...] = ()
    supplier: str = ""
    path: str = ""
    layer: str = ""
    owner: str = ""
    purl: str = ""


class Inventory(Value, frozen=True):
    """All packages of an image, sorted.

    Attributes:
        warnings: What could not be read, one sentence each; its packages are not in the list.
    """

    image_id: str
    reference: str
    distribution: Distribution
    packages: tuple[Package, ...]
    warnings: tuple[str, ...] = ()


class Severity(IntEnum):
    """How bad a vulnerability is, by the bands of CVSS (specification v3.1, section 5)."""

    UNKNOWN = 0
    NEGLIGIBLE = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4
    CRITICAL = 5


class Vulnerability(Value, frozen=True):
    """A known vulnerability of a package that is installed.

    Attributes:
        id: The advisory's id, "DSA-5417-1" or "GHSA-…".
        aliases: Other names of the same thing, CVEs first.
        package: What has it.
        fixed_in: The first version that does not have it; empty when there is none yet.
        score: The CVSS base score; None when nobody computed one.
        summary: One line.
        url: Where to read more.
        database: The name of the database that knows it.
    """

    id: str
    aliases: tuple[str, ...]
    package: Package
    severity: Severity
    fixed_in: str = ""
    score: float | None = None
    summary: str = ""
    url: str = ""
    database: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The id and its aliases."""
        return (self.id, *self.aliases)


class IgnoreRule(Value, frozen=True):
    """A decision to live with a vulnerability.

    Attributes:
        id: Its id, or one of its aliases.
        package: Only in the package, or what is built from the source, of this name; empty for all.
        until: The last day on which the rule holds; None for ever.
        reason: Why.
    """

    id: str
    package: str = ""
    until: date | None = None
    reason: str = ""


class Ignored(Value, frozen=True):
    """A vulnerability that somebody decided to live with.

    Attributes:
        reason: Why.
        until: The last day on which that holds; None for ever.
    """

    vulnerability: Vulnerability
    reason: str
    until: date | None = None


class Database(Value, frozen=True):
    """An imported database of advisories.

    Attributes:
        name: The name it was imported under.
        ecosystems: What it knows: "Debian", "PyPI", without releases.
        advisories: How many.
        imported_at: When it was imported.
        modified_at: When its newest advisory was changed; None when none says.
        size: Bytes on disk.
        skipped: Files of the dump that were no advisories.
    """

    name: str
    ecosystems: tuple[str, ...]
    advisories: int
    imported_at: datetime
    modified_at: datetime | None
    size: int = 0
    skipped: int = 0


class ScanResult(Value, frozen=True):
    """What a scan found, worst first.

    Attributes:
        warnings: What could not be looked at: unreadable files, versions nobody can compare, ecosystems without advisories.
    """

    inventory: Inventory
    vulnerabilities: tuple[Vulnerability, ...]
    ignored: tuple[Ignored, ...]
    databases: tuple[Database, ...]
    warnings: tuple[str, ...] = ()
