"""Images with packages in them, and advisories about those, for tests."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.api import Engine
from tests.kernel.test_images import docker_archive, entry, tar_of

DEBIAN = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n'
ALPINE = b'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.19.1\nPRETTY_NAME="Alpine Linux v3.19"\n'
CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"


def load(engine: Engine, *layers: dict[str, bytes | str | None], tag: str = "packages:1") -> str:
    """Load an image; a layer is its files: a text is the target of a link, None a whiteout."""
    engine.images.load(io.BytesIO(docker_archive(*(tar_of(*map(_entry, layer.items())) for layer in layers), tag=tag)))
    return tag


def _entry(item: tuple[str, bytes | str | None]) -> tuple[tarfile.TarInfo, bytes]:
    path, content = item
    if content is None:
        directory, _, name = path.rpartition("/")
        return entry(f"{directory}/.wh.{name}")
    if isinstance(content, str):
        return entry(path, tarfile.SYMTYPE, link=content)
    return entry(path, content=content, mode=0o755 if content[:4] == b"\x7fELF" else 0o644)


def status(*packages: str, source: str = "") -> bytes:
    """Return dpkg's status of packages "NAME VERSION"."""
    stanza = "Package: {}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {}\n" + source + "\n"
    return "".join(stanza.format(*package.split()) for package in packages).encode()


def jar(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def advisory(name: str, ecosystem: str, package: str, *events: dict[str, str], **more: Any) -> dict[str, Any]:
    """Return an advisory in the OSV format."""
    affected = {
        "package": {"ecosystem": ecosystem, "name": package},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, *events]}],
    }
    return {
        "schema_version": "1.7.0", "id": name, "modified": "2026-01-02T03:04:05Z", "published": "2026-01-01T00:00:00Z",
        "summary": f"{package} is not safe", "affected": [affected], **more,
    }  # fmt: skip


def dump(path: Path, advisories: Iterable[dict[str, Any]]) -> Path:
    """Write a dump as osv.dev offers it: a zip with a file for each advisory."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for item in advisories:
            archive.writestr(f"{item['id']}.json", json.dumps(item))
    return path


def rpm_database(directory: Path, *specs: tuple[str, str, str]) -> bytes:
    """Return the database that rpm itself makes of packages (name, epoch, version), all built from the source "suite"."""
    root = directory / "root"
    root.mkdir(parents=True)
    found: list[str] = []
    for name, epoch, version in specs:
        spec = directory / f"{name}.spec"
        spec.write_text(
            f"Name: suite\nEpoch: {epoch}\nVersion: {version}\nRelease: 3.el9\nSummary: x\nLicense: MIT\nVendor: Us\n"
            f"BuildArch: noarch\n%description\nx\n%package -n {name}\nSummary: x\n%description -n {name}\nx\n"
            f"%files -n {name}\n/opt/{name}\n%install\nmkdir -p %{{buildroot}}/opt; touch %{{buildroot}}/opt/{name}\n"
        )
        build = ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {directory}/build", str(spec)]
        subprocess.run(build, check=True, capture_output=True)
        found += map(str, directory.joinpath("build/RPMS").rglob(f"{name}-{version}-*.rpm"))
    install = [
        "rpm",
        "--root",
        str(root),
        "--dbpath",
        "/var/lib/rpm",
        "--define",
        "_db_backend sqlite",
        "-i",
        "--nodeps",
    ]
    subprocess.run([*install, *found], check=True, capture_output=True)
    return root.joinpath("var/lib/rpm/rpmdb.sqlite").read_bytes()


def a_go_program() -> Path:
    """Return runc, which Debian builds with Go."""
    return Path(shutil.which("runc") or "/usr/sbin/runc")
