"""Packages are those that the distributions' and languages' own tools find, each with the layer it came from."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from collections import Counter
from pathlib import Path

from engine.api import Engine
from engine.model.packages import Package
from tests.kernel.packages import ALPINE, DEBIAN, a_go_program, jar, load, rpm_database, status
from tests.kernel.test_command_line import tuicon

APK = b"""P:musl
V:1.2.4_git20230717-r4
A:x86_64
L:MIT
o:musl
m:Natanael Copa <ncopa@alpinelinux.org>
F:lib
R:ld-musl-x86_64.so.1

P:libcrypto3
V:3.1.4-r5
A:x86_64
L:Apache-2.0
o:openssl
"""


def found(engine: Engine, image: str, kind: str = "") -> list[Package]:
    return [package for package in engine.images.packages(image).packages if kind in ("", package.kind)]


def test_debians_packages_are_those_that_dpkg_query_lists(engine: Engine) -> None:
    """The host's own database, in an image."""
    fields = (
        "${db:Status-Status}\\t${Package}\\t${Version}\\t${Architecture}\\t${source:Package}\\t${source:Version}\\n"
    )
    listed = subprocess.run(["dpkg-query", "-W", "-f", fields], check=True, capture_output=True, text=True).stdout
    wanted = sorted(line.split("\t")[1:] for line in listed.splitlines() if line.startswith("installed\t"))
    image = load(engine, {"etc/os-release": DEBIAN, "var/lib/dpkg/status": Path("/var/lib/dpkg/status").read_bytes()})
    mine = sorted(
        [item.name, item.version, item.architecture, item.source or item.name, item.source_version or item.version]
        for item in found(engine, image)
    )
    assert mine == wanted


def test_a_package_comes_from_the_layer_that_brought_its_version(engine: Engine) -> None:
    image = load(
        engine,
        {"etc/os-release": DEBIAN, "var/lib/dpkg/status": status("base 1-1", "tool 1-1")},
        {"var/lib/dpkg/status": status("base 1-1", "tool 2-1", "extra 1-1"), "opt/a/node_modules/x/package.json": b'{"name":"x","version":"1"}'},
        {"var/lib/dpkg/status": status("base 1-1", "tool 2-1", "extra 1-1"), "unrelated": b""},
    )  # fmt: skip
    layers = engine.images.get(image).diff_ids
    assert {item.name: layers.index(item.layer) for item in found(engine, image)} == {
        "base": 0,
        "tool": 1,
        "extra": 1,
        "x": 1,
    }


def test_what_a_later_layer_hides_is_not_installed(engine: Engine) -> None:
    manifest = b'{"name":"%s","version":"1.0.0"}'
    image = load(
        engine,
        {
            "a/node_modules/gone/package.json": manifest % b"gone", "b/node_modules/kept/package.json": manifest % b"kept",
            "c/node_modules/old/package.json": manifest % b"old",
        },
        {"a/node_modules/gone": None, "c/node_modules/.wh..wh..opq": b"", "c/node_modules/new/package.json": manifest % b"new"},
    )  # fmt: skip
    assert [item.name for item in found(engine, image)] == ["kept", "new"]


def test_an_image_without_dpkg_has_its_packages_in_status_d(engine: Engine) -> None:
    stanza = b"Package: libc6\nVersion: 2.36-9+deb12u4\nArchitecture: amd64\nSource: glibc\nMaintainer: A <a@b.c>\n"
    image = load(engine, {"usr/lib/os-release": DEBIAN, "etc/os-release": "../usr/lib/os-release",
        "var/lib/dpkg/status.d/libc6": stanza, "var/lib/dpkg/status.d/libc6.md5sums": b"0 x\n"})  # fmt: skip
    (package,) = found(engine, image)
    assert (package.purl, package.source) == (
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12&upstream=glibc",
        "glibc",
    )


def test_alpines_packages_and_the_licences_of_debians(engine: Engine) -> None:
    image = load(engine, {"etc/os-release": ALPINE, "lib/apk/db/installed": APK})
    musl, crypto = sorted(found(engine, image), key=lambda item: item.source)
    assert (musl.version, musl.licenses, musl.architecture) == ("1.2.4_git20230717-r4", ("MIT",), "x86_64")
    assert crypto.purl == "pkg:apk/alpine/libcrypto3@3.1.4-r5?arch=x86_64&distro=alpine-3.19.1&upstream=openssl"
    rights = b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+\n\nFiles: x\nLicense: MIT\n"
    image = load(engine, {"etc/os-release": DEBIAN, "var/lib/dpkg/status": status("tool 1-1", "other 1"),
        "usr/share/doc/tool/copyright": rights, "usr/share/doc/other": "tool"})  # fmt: skip
    assert [item.licenses for item in found(engine, image)] == [("GPL-2+", "MIT")] * 2


def test_rpms_packages_are_those_that_rpm_lists(engine: Engine, root: Path) -> None:
    data = rpm_database(root / "rpm", ("tool", "1", "1.2"), ("library", "0", "2.0"))
    fields = "%{name}\\t%{epoch}\\t%{version}-%{release}\\t%{arch}\\t%{sourcerpm}\\t%{license}\\t%{vendor}\\n"
    query = [
        "rpm",
        "--root",
        str(root / "rpm/root"),
        "--dbpath",
        "/var/lib/rpm",
        "--define",
        "_db_backend sqlite",
        "-qa",
        "--qf",
        fields,
    ]
    listed = subprocess.run(query, check=True, capture_output=True, text=True).stdout
    image = load(engine, {
        "etc/os-release": b'ID="rhel"\nVERSION_ID="9.3"\n', "usr/lib/sysimage/rpm/rpmdb.sqlite": data,
        "var/lib/rpm": "../../usr/lib/sysimage/rpm",
    })  # fmt: skip
    mine = [
        [item.name, item.version.rpartition(":")[0] or "0", item.version.rpartition(":")[2], item.architecture,
            f"{item.source}-{item.source_version}.src.rpm", *item.licenses, item.supplier]
        for item in found(engine, image)
    ]  # fmt: skip
    assert sorted(mine) == sorted(line.split("\t") for line in listed.splitlines())
    purls = [item.purl for item in found(engine, image)]
    assert purls[-1] == "pkg:rpm/redhat/tool@1.2-3.el9?arch=noarch&distro=rhel-9.3&epoch=1&upstream=suite%401.2-3.el9"


def test_rpm_databases_of_other_kinds_are_named(engine: Engine) -> None:
    image = load(
        engine,
        {"etc/os-release": b"ID=sles\n", "var/lib/rpm/Packages.db": b"RpmP", "usr/lib/sysimage/rpm/Packages": b"x"},
    )
    assert sorted(engine.images.packages(image).warnings) == [
        "usr/lib/sysimage/rpm/Packages is an rpm database of the kind Berkeley DB, which is not supported",
        "var/lib/rpm/Packages.db is an rpm database of the kind NDB, which is not supported",
    ]


def test_pythons_packages_are_those_that_importlib_lists(engine: Engine) -> None:
    """The packages that these tests run on, in an image."""
    files: dict[str, bytes | str | None] = {}
    wanted = Counter[tuple[str, str]]()
    for package in importlib.metadata.distributions():
        metadata = package.read_text("METADATA")
        if metadata:
            files[f"opt/venv/lib/{package.metadata['Name']}-{package.version}.dist-info/METADATA"] = metadata.encode()
            wanted[package.metadata["Name"], package.version] += 1
    files["opt/old/Some.egg-info/PKG-INFO"] = b"Metadata-Version: 1.0\nName: Some_Thing\nVersion: 2\nLicense: BSD\n"
    files["opt/old/single.egg-info"] = b"Name: single\nVersion: 3\n\nName: body\n"
    files["opt/old/METADATA"] = b"Name: no\nVersion: 1\n"
    image = load(engine, files)
    packages = found(engine, image, "pypi")
    assert {(item.name, item.version) for item in packages if "venv" in item.path} == set(wanted)
    others = {item.name: item for item in packages if "venv" not in item.path}
    assert sorted(others) == ["Some_Thing", "single"]
    assert (others["Some_Thing"].purl, others["Some_Thing"].licenses) == ("pkg:pypi/some-thing@2", ("BSD",))


def test_packages_of_npm_and_of_locks_that_nothing_was_installed_from(engine: Engine) -> None:
    lock = {"lockfileVersion": 3, "packages": {
        "": {"name": "app"}, "node_modules/a": {"version": "1.0.0", "license": "MIT"}, "node_modules/a/node_modules/@s/b": {"version": "2.0.0"},
        "node_modules/test": {"version": "3.0.0", "dev": True}, "node_modules/local": {"link": True, "resolved": "local"}}}  # fmt: skip
    old = {
        "lockfileVersion": 1,
        "dependencies": {
            "c": {"version": "1.0.0", "dependencies": {"d": {"version": "4.0.0"}}},
            "e": {"version": "1", "dev": True},
        },
    }
    image = load(engine, {
        "locked/package-lock.json": json.dumps(lock).encode(), "old/package-lock.json": json.dumps(old).encode(),
        "app/package-lock.json": json.dumps(lock).encode(), "app/package.json": b'{"name":"app","version":"1.0.0"}',
        "app/node_modules/@s/b/package.json": b'{"name":"@s/b","version":"2.1.0","license":{"type":"ISC"}}',
        "app/node_modules/a/lib/package.json": b'{"type":"module"}',
    })  # fmt: skip
    assert [(item.purl, item.path.split("/")[1], item.licenses) for item in found(engine, image, "npm")] == [
        ("pkg:npm/%40s/b@2.0.0", "locked", ()), ("pkg:npm/%40s/b@2.1.0", "app", ("ISC",)), ("pkg:npm/a@1.0.0", "locked", ("MIT",)),
        ("pkg:npm/c@1.0.0", "old", ()), ("pkg:npm/d@4.0.0", "old", ()),
    ]  # fmt: skip


def test_a_program_of_go_tells_its_version_and_modules(engine: Engine) -> None:
    program = a_go_program()
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    version = next(line.split()[1].removeprefix("go") for line in said.splitlines() if line.startswith("go: "))
    image = load(engine, {"usr/bin/tool": program.read_bytes(), "usr/bin/other": Path("/bin/busybox").read_bytes()})
    packages = {item.name: item for item in found(engine, image)}
    assert (packages["stdlib"].version, packages["stdlib"].path) == (version, "/usr/bin/tool")
    assert {item.path for item in packages.values()} == {"/usr/bin/tool"}
    strings = program.read_bytes()
    for item in packages.values():
        assert item.name == "stdlib" or f"\t{item.name}\t{item.version}".encode() in strings


def test_archives_of_java_tell_of_themselves_and_of_those_in_them(engine: Engine) -> None:
    pom = b"#made\ngroupId=org.example\nartifactId=%s\nversion=%s\n"
    inner = jar({"META-INF/maven/org.example/inner/pom.properties": pom % (b"inner", b"2.0")})
    plain = jar(
        {
            "META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\r\nImplementation-Vendor-Id: org.pl\r\n ain\r\nImplementation-Version: 9\r\n\r\nName: x\r\n"
        }
    )
    bundle = jar(
        {"META-INF/MANIFEST.MF": b"Bundle-SymbolicName: com.acme.tool;singleton:=true\nBundle-Version: 3.1.0\n"}
    )
    outer = jar({
        "META-INF/maven/org.example/outer/pom.properties": pom % (b"outer", b"1.0"), "BOOT-INF/lib/inner-2.0.jar": inner,
        "BOOT-INF/lib/plain-1.5.jar": plain, "bundle.jar": bundle,
    })  # fmt: skip
    image = load(engine, {"app/outer.jar": outer})
    assert [item.purl for item in found(engine, image)] == [
        "pkg:maven/com.acme.tool/com.acme.tool@3.1.0", "pkg:maven/org.example/inner@2.0", "pkg:maven/org.example/outer@1.0",
        "pkg:maven/org.plain/plain@1.5",
    ]  # fmt: skip


def test_what_the_distribution_installed_for_a_language_is_said_to_be_its(engine: Engine) -> None:
    metadata = b"Name: yaml\nVersion: 6\n"
    image = load(engine, {
        "etc/os-release": DEBIAN, "var/lib/dpkg/status": status("python3-yaml 6.0-3"),
        "var/lib/dpkg/info/python3-yaml.list": b"/.\n/usr/lib/python3/dist-packages/yaml.dist-info/METADATA\n",
        "usr/lib/python3/dist-packages/yaml.dist-info/METADATA": metadata, "opt/yaml.dist-info/METADATA": metadata,
    })  # fmt: skip
    assert {item.path: item.owner for item in found(engine, image, "pypi")} == {
        "/opt/yaml.dist-info/METADATA": "", "/usr/lib/python3/dist-packages/yaml.dist-info/METADATA": "python3-yaml",
    }  # fmt: skip


def test_the_command_lists_them(engine: Engine) -> None:
    image = load(
        engine,
        {
            "etc/os-release": DEBIAN,
            "var/lib/dpkg/status": status("tool 1-1"),
            "x.jar": jar({"META-INF/MANIFEST.MF": b"Bundle-SymbolicName: a.b\nBundle-Version: 1\n"}),
        },
    )
    listed = tuicon(engine, "image", "packages", image).stdout.splitlines()
    assert listed[0].split() == ["KIND", "NAME", "VERSION", "SOURCE", "LICENSE", "LAYER", "PATH"]
    assert [line.split()[:3] for line in listed[1:]] == [["deb", "tool", "1-1"], ["maven", "a.b:a.b", "1"]]
    assert (
        json.loads(tuicon(engine, "image", "packages", "--kind", "deb", "--json", image).stdout)[0]["purl"]
        == "pkg:deb/debian/tool@1-1?arch=amd64&distro=debian-12"
    )
    assert tuicon(engine, "image", "packages", "missing").returncode == 1


def test_the_command_prints_the_bill_of_materials_the_same_each_time(engine: Engine, root: Path) -> None:
    image = load(engine, {"etc/os-release": DEBIAN, "var/lib/dpkg/status": status("tool 1-1")})
    for form in ("cyclonedx", "spdx"):
        target = root / form
        assert tuicon(engine, "sbom", "--format", form, "-o", str(target), image).returncode == 0
        assert json.loads(target.read_text()) == engine.images.sbom(image, form)
    assert (
        json.loads(tuicon(engine, "sbom", image).stdout)["components"][1]["purl"]
        == "pkg:deb/debian/tool@1-1?arch=amd64&distro=debian-12"
    )
