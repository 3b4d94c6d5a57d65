"""Bills of materials are valid by the official schemas and tools, and the same each time."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from engine.errors import InvalidArgument
from engine.images.packages.purl import package_url
from engine.images.sbom import render
from engine.model.image import Image, ImageSettings
from engine.model.packages import Distribution, Inventory, Package

DEBIAN = Distribution("debian", "12", "bookworm", "Debian GNU/Linux 12 (bookworm)")
ID, DIGEST, LAYER = (f"sha256:{sign * 64}" for sign in "abc")
IMAGE = Image(
    ID, ("docker.io/library/app:1",), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "amd64", "linux", 1, (LAYER,), (LAYER,),
    ImageSettings(), DIGEST,
)  # fmt: skip
_BARE = (
    Package("deb", "libc6", "2.36-9+deb12u7", "amd64", "glibc", licenses=("GPL-2+", "MIT"),
        supplier="GNU Libc Maintainers <debian-glibc@lists.debian.org>"),
    Package("pypi", "Flask_SQLAlchemy", "3.0", licenses=("BSD-3-Clause",)),
    Package("npm", "@babel/core", "7.0.0", licenses=("MIT", "Apache-2.0 OR ISC")),
    Package("npm", "@babel/core", "7.0.0", licenses=("SEE LICENSE IN (file)",), supplier="A (b) <c>"),
    Package("golang", "golang.org/x/text", "v0.3.5"),
    Package("golang", "stdlib", "1.22.0"),
    Package("maven", "org.apache.commons:commons-lang3", "3.12.0", licenses=("https://www.apache.org/licenses/LICENSE-2.0.txt",)),
)  # fmt: skip
PACKAGES = tuple(
    replace(item, path=f"/place/{number}", layer=LAYER, purl=package_url(item, DEBIAN))
    for number, item in enumerate(_BARE)
)
INVENTORY = Inventory(ID, IMAGE.references[0], DEBIAN, PACKAGES)


@pytest.mark.parametrize("inventory", [INVENTORY, Inventory(ID, ID, Distribution(), ())])
def test_cyclonedx_is_valid_by_its_strict_schema(inventory: Inventory) -> None:
    text = json.dumps(render("cyclonedx", IMAGE, inventory))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert (
        JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"library"', '"book"')) is not None
        or not inventory.packages
    )


@pytest.mark.parametrize("inventory", [INVENTORY, Inventory(ID, ID, Distribution(), ())])
def test_spdx_is_valid_by_the_projects_own_validator(inventory: Inventory, tmp_path: Path) -> None:
    path = tmp_path / "bill.spdx.json"
    path.write_text(json.dumps(render("spdx", IMAGE, inventory)))
    document = parse_file(str(path))
    assert validate_full_spdx_document(document) == []
    assert len(document.packages) == len(inventory.packages) + 1


def test_every_package_is_in_both_with_its_url() -> None:
    cyclonedx, spdx = render("cyclonedx", IMAGE, INVENTORY), render("spdx", IMAGE, INVENTORY)
    urls = sorted(package.purl for package in PACKAGES)
    assert sorted(item["purl"] for item in cyclonedx["components"] if item["type"] == "library") == urls
    assert sorted(item["externalRefs"][0]["referenceLocator"] for item in spdx["packages"][1:]) == urls
    assert len({item["bom-ref"] for item in cyclonedx["components"]}) == len(PACKAGES) + 1
    root = cyclonedx["metadata"]["component"]["purl"]
    assert PackageURL.from_string(root).to_dict() == {
        "type": "oci", "namespace": None, "name": "app", "version": DIGEST, "subpath": None,
        "qualifiers": {"repository_url": "docker.io/library/app", "tag": "1"},
    }  # fmt: skip


def test_licences_are_expressions_where_they_can_be() -> None:
    found = [item.get("licenses") for item in render("cyclonedx", IMAGE, INVENTORY)["components"][1:]]
    assert found[:4] == [
        [{"license": {"name": "GPL-2+"}}, {"license": {"name": "MIT"}}], [{"expression": "BSD-3-Clause"}],
        [{"expression": "(Apache-2.0 OR ISC) AND MIT"}], [{"license": {"name": "SEE LICENSE IN (file)"}}],
    ]  # fmt: skip
    spdx = render("spdx", IMAGE, INVENTORY)
    declared = [item["licenseDeclared"] for item in spdx["packages"][1:]]
    assert declared[2] == "(Apache-2.0 OR ISC) AND MIT"
    known = {item["licenseId"]: item["extractedText"] for item in spdx["hasExtractedLicensingInfos"]}
    assert known[declared[3]] == "SEE LICENSE IN (file)"
    suppliers = [item["supplier"] for item in spdx["packages"][1:]]
    assert suppliers[0] == "Organization: GNU Libc Maintainers (debian-glibc@lists.debian.org)"
    assert suppliers[1] == "NOASSERTION"


@pytest.mark.parametrize("form", ["cyclonedx", "spdx"])
def test_the_same_image_gives_the_same_bytes(form: str) -> None:
    assert json.dumps(render(form, IMAGE, INVENTORY)) == json.dumps(render(form, IMAGE, INVENTORY))
    other = render(form, IMAGE, replace(INVENTORY, packages=PACKAGES[1:]))
    key = "serialNumber" if form == "cyclonedx" else "documentNamespace"
    assert other[key] != render(form, IMAGE, INVENTORY)[key]


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="cyclonedx and spdx"):
        render("html", IMAGE, INVENTORY)


@pytest.mark.parametrize(
    ("package", "distribution", "wanted"),
    [
        # the examples of purl-spec's type definitions
        (Package("apk", "curl", "7.83.0-r0", "x86"), Distribution("alpine"), "pkg:apk/alpine/curl@7.83.0-r0?arch=x86&distro=alpine"),
        (Package("deb", "curl", "7.50.3-1", "i386"), Distribution("debian", codename="jessie"), "pkg:deb/debian/curl@7.50.3-1?arch=i386&distro=debian-jessie"),
        (Package("rpm", "curl", "7.50.3-1.fc25", "i386"), Distribution("fedora", "25"), "pkg:rpm/fedora/curl@7.50.3-1.fc25?arch=i386&distro=fedora-25"),
        (Package("rpm", "bind", "32:9.11-1", "x86_64"), Distribution("fedora", "25"), "pkg:rpm/fedora/bind@9.11-1?arch=x86_64&distro=fedora-25&epoch=32"),
        (Package("npm", "@angular/animation", "12.3.1"), DEBIAN, "pkg:npm/%40angular/animation@12.3.1"),
        (Package("maven", "org.apache.xmlgraphics:batik-anim", "1.9.1"), DEBIAN, "pkg:maven/org.apache.xmlgraphics/batik-anim@1.9.1"),
        (Package("golang", "google.golang.org/genproto", "v0.1.0"), DEBIAN, "pkg:golang/google.golang.org/genproto@v0.1.0"),
        (Package("pypi", "django-allauth", "12.23"), DEBIAN, "pkg:pypi/django-allauth@12.23"),
    ],
)  # fmt: skip
def test_package_urls_are_those_of_the_specification(package: Package, distribution: Distribution, wanted: str) -> None:
    assert package_url(package, distribution) == wanted
