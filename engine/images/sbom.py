"""Bills of materials: CycloneDX 1.6 and SPDX 2.3, both as JSON; the same image gives the same bytes."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version as installed
from typing import Any

from packageurl import PackageURL
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from engine.errors import InvalidArgument
from engine.model.image import Image
from engine.model.packages import Inventory, Package
from engine.oci import reference as references

FORMS = ("cyclonedx", "spdx")
_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 4122: names that are URLs
_LONGEST_LICENCE = 300
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")
_MAILBOX = re.compile(r"\s*([^<(]*?)\s*<([^>]*)>.*")


def render(form: str, image: Image, inventory: Inventory) -> dict[str, Any]:
    """Return a bill of materials as a JSON document.

    Args:
        form: "cyclonedx" or "spdx".
        image: The image.
        inventory: Its packages.

    Raises:
        InvalidArgument: The form is unknown.
    """
    if form not in FORMS:
        raise InvalidArgument(f"unknown form {form!r}: {' and '.join(FORMS)} are known")
    identity = uuid.uuid5(_NAMESPACE, "\n".join([image.id, inventory.reference, *map(repr, inventory.packages)]))
    build = _cyclonedx if form == "cyclonedx" else _spdx
    return build(image, inventory, identity, (image.created_at or _EPOCH).astimezone(UTC))


def image_url(image: Image, reference: str) -> str:
    """Return the package URL of an image (purl-spec, type "oci"); empty when it has no manifest or no name."""
    if not image.digest or not image.references:
        return ""
    parsed = references.parse(reference)
    name = parsed.repository.rpartition("/")[2]
    more = {"repository_url": f"{parsed.registry}/{parsed.repository}", "tag": parsed.tag or ""}
    return PackageURL("oci", None, name, image.digest, {key: value for key, value in more.items() if value}).to_string()


def _keys(packages: tuple[Package, ...]) -> list[str]:
    """Return a key for each package: its package URL, made unique by where it was found."""
    count = Counter(package.purl for package in packages)
    return [
        package.purl
        if count[package.purl] == 1
        else f"{package.purl}#{_short(package.path, package.layer, str(number))}"
        for number, package in enumerate(packages)
    ]


def _short(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def licence_expression(text: str) -> str:
    """Return a licence as an SPDX expression; empty when it is none."""
    if not text or len(text) > _LONGEST_LICENCE or "licenseref" in text.lower():
        return ""
    try:
        return str(canonicalize_license_expression(text))
    except (InvalidLicenseExpression, RecursionError, MemoryError):
        return ""


# -- CycloneDX -------------------------------------------------------------------------------------


def _cyclonedx(image: Image, inventory: Inventory, identity: uuid.UUID, made: datetime) -> dict[str, Any]:
    keys = _keys(inventory.packages)
    distribution = inventory.distribution
    root = {"bom-ref": image.id, "type": "container", "name": inventory.reference, "version": image.id}
    purl = image_url(image, inventory.reference)
    components = [_component(package, key) for package, key in zip(inventory.packages, keys, strict=True)]
    if distribution.id:
        system = {
            "bom-ref": f"os:{distribution.id}", "type": "operating-system", "name": distribution.id,
            "version": distribution.version or distribution.codename, "description": distribution.name,
        }  # fmt: skip
        components.insert(0, {key: value for key, value in system.items() if value})
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": identity.urn, "version": 1,
        "metadata": {
            "timestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tools": {"components": [{"type": "application", "name": "tuicon", "version": installed("tuicon")}]},
            "component": {**root, "purl": purl} if purl else root,
        },
        "components": components,
        "dependencies": [{"ref": image.id, "dependsOn": [item["bom-ref"] for item in components]}],
    }  # fmt: skip


def _component(package: Package, key: str) -> dict[str, Any]:
    facts = {
        "path": package.path, "layer": package.layer, "owner": package.owner, "architecture": package.architecture,
        "source": f"{package.source} {package.source_version}".strip(),
    }  # fmt: skip
    group, _, name = package.name.rpartition(":" if package.kind == "maven" else "/")
    has_group = package.kind in ("maven", "npm") and group
    found: dict[str, Any] = {
        "bom-ref": key, "type": "library", "supplier": {"name": package.supplier} if package.supplier else None,
        "group": group if has_group else None, "name": name if has_group else package.name, "version": package.version,
        "licenses": _cyclonedx_licences(package.licenses), "purl": package.purl,
        "properties": [{"name": f"tuicon:{fact}", "value": value} for fact, value in facts.items() if value],
    }  # fmt: skip
    return {name: value for name, value in found.items() if value}


def _cyclonedx_licences(stated: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return licences; an expression must stand alone there, so several are joined when all can be."""
    expressions = [licence_expression(text) for text in stated]
    if stated and all(expressions):
        return [{"expression": _joined(expressions)}]
    return [{"license": {"name": text}} for text in stated]


def _joined(expressions: list[str]) -> str:
    if len(expressions) == 1:
        return expressions[0]
    return " AND ".join(f"({text})" if " " in text else text for text in sorted(set(expressions)))


# -- SPDX ------------------------------------------------------------------------------------------


def _spdx(image: Image, inventory: Inventory, identity: uuid.UUID, made: datetime) -> dict[str, Any]:
    extracted: dict[str, str] = {}
    root_id = "SPDXRef-Image"
    packages = [_spdx_root(root_id, image, inventory)]
    for package, key in zip(inventory.packages, _keys(inventory.packages), strict=True):
        packages.append(_spdx_package(package, key, extracted))
    relations = [("SPDXRef-DOCUMENT", "DESCRIBES", root_id)]
    relations += [(root_id, "CONTAINS", str(item["SPDXID"])) for item in packages[1:]]
    found: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": inventory.reference,
        "documentNamespace": f"https://spdx.org/spdxdocs/tuicon-{identity}",
        "creationInfo": {
            "created": made.strftime("%Y-%m-%dT%H:%M:%SZ"), "creators": [f"Tool: tuicon-{installed('tuicon')}"],
        },
        "packages": packages,
        "relationships": [
            {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other} for one, kind, other in relations
        ],
    }  # fmt: skip
    if extracted:
        found["hasExtractedLicensingInfos"] = [
            {"licenseId": name, "extractedText": text, "name": text} for name, text in sorted(extracted.items())
        ]
    return found


def _spdx_root(name: str, image: Image, inventory: Inventory) -> dict[str, Any]:
    purl = image_url(image, inventory.reference)
    root: dict[str, Any] = {
        "SPDXID": name, "name": inventory.reference, "versionInfo": image.id, "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False, "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION", "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": image.id.removeprefix("sha256:")}],
    }  # fmt: skip
    return {**root, "externalRefs": [_purl_reference(purl)]} if purl else root


def _spdx_package(package: Package, key: str, extracted: dict[str, str]) -> dict[str, Any]:
    where = f"found at {package.path} in layer {package.layer}"
    built = f"; built from {package.source} {package.source_version}".rstrip() if package.source else ""
    owned = f"; belongs to the package {package.owner}" if package.owner else ""
    return {
        "SPDXID": f"SPDXRef-Package-{package.kind}-{_safe(package.name)}-{_short(key)}", "name": package.name,
        "versionInfo": package.version, "supplier": _spdx_supplier(package.supplier), "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False, "licenseConcluded": "NOASSERTION",
        "licenseDeclared": _spdx_licence(package.licenses, extracted), "copyrightText": "NOASSERTION",
        "sourceInfo": f"{where}{built}{owned}", "externalRefs": [_purl_reference(package.purl)],
    }  # fmt: skip


def _purl_reference(purl: str) -> dict[str, str]:
    return {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text)[:100]


def _spdx_supplier(text: str) -> str:
    """Return a supplier as SPDX wants it, "Organization: NAME (ADDRESS)" (clause 7.5)."""
    match = _MAILBOX.fullmatch(text)
    name, address = (match[1], match[2]) if match else (text, "")
    name = re.sub(r"[()]", "", name).strip()
    if not name:
        return "NOASSERTION"
    return f"Organization: {name} ({address})" if address and "(" not in address else f"Organization: {name}"


def _spdx_licence(stated: tuple[str, ...], extracted: dict[str, str]) -> str:
    """Return an expression; what is no SPDX licence becomes a reference to its text (clause 10)."""
    found = []
    for text in stated:
        expression = licence_expression(text)
        if not expression:
            expression = f"LicenseRef-{_safe(text)[:60].strip('-') or 'unnamed'}-{_short(text)}"
            extracted[expression] = text
        found.append(expression)
    return _joined(found) if found else "NOASSERTION"
