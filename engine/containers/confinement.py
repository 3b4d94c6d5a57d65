"""What the kernel's security modules are told of a container: compiled seccomp filters and AppArmor profiles."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from engine.errors import InvalidArgument, NotSupported
from engine.linux import files, lsm, seccomp
from engine.oci import apparmor_profile, seccomp_profile

if TYPE_CHECKING:
    from engine.model.container import ContainerSpec
    from engine.store.paths import Paths

Document = dict[str, Any]

UNCONFINED = "unconfined"
BUILTIN = "builtin"
_PARSERS = ("/usr/sbin/apparmor_parser", "/sbin/apparmor_parser")


class Confinement:
    """Finds filters and profiles; filters are compiled once for a state root and kept."""

    def __init__(self, paths: Paths) -> None:
        self._directory = paths.root / "seccomp"

    def seccomp(self, spec: ContainerSpec, capabilities: tuple[str, ...]) -> tuple[Document, str]:
        """Return `linux.seccomp` and the path of the compiled filter; both empty when there is none.

        Without libseccomp containers run unfiltered, as docker's do, unless a profile was asked for.

        Raises:
            InvalidArgument: The profile is malformed.
            NotSupported: A profile was asked for, and this host cannot filter system calls.
        """
        wanted = spec.seccomp
        if wanted == UNCONFINED or (spec.privileged and not wanted):
            return {}, ""
        if not seccomp.is_available():
            if wanted in ("", BUILTIN):
                return {}, ""
            raise NotSupported("a seccomp profile cannot be used: libseccomp2 is not installed")
        document, key = _resolved("" if wanted == BUILTIN else wanted, capabilities)
        return document, self._compiled(document, key)

    def _compiled(self, document: Document, key: str) -> str:
        path = self._directory / key
        if not path.exists():
            try:
                program = seccomp.compile_filter(document)
            except seccomp.SeccompError as error:
                raise InvalidArgument(f"the seccomp profile cannot be used: {error}") from error
            self._directory.mkdir(mode=0o700, exist_ok=True)
            files.write_atomic(path, program)
        return str(path)

    def apparmor(self, spec: ContainerSpec) -> str:
        """Return the name of the AppArmor profile; empty where AppArmor is not active or was not wanted.

        Raises:
            NotSupported: A profile was asked for, and AppArmor is not active.
        """
        name = spec.apparmor
        if name == UNCONFINED or (spec.privileged and not name):
            return UNCONFINED if lsm.has_apparmor() else ""
        if not lsm.has_apparmor():
            if name:
                raise NotSupported(f"the AppArmor profile {name!r} cannot be used: AppArmor is not active here")
            return ""
        if not name:
            return apparmor_profile.NAME if _has_default_profile() else ""
        if name not in lsm.profiles():
            raise InvalidArgument(f"no AppArmor profile {name!r} is loaded")
        return name

    @staticmethod
    def check_label(label: str) -> None:
        """Check that a SELinux label can be used.

        Raises:
            NotSupported: SELinux is not active.
        """
        if label and not lsm.has_selinux():
            raise NotSupported(f"the SELinux label {label!r} cannot be used: SELinux is not active here")


@lru_cache(maxsize=64)
def _resolved(profile: str, capabilities: tuple[str, ...]) -> tuple[Document, str]:
    """Return `linux.seccomp` of a profile's text, or of the default one, and the name of its compiled filter."""
    host = os.uname()
    major, minor = host.release.split("-")[0].split(".")[:2]
    kernel = (int(major), int("".join(digit for digit in minor if digit.isdigit()) or 0))
    if profile:
        document = seccomp_profile.load_profile(_parsed(profile), capabilities, host.machine, kernel)
    else:
        document = seccomp_profile.default_profile(capabilities, host.machine, kernel)
    salt = f"{seccomp.version()} {host.machine} ".encode()
    return document, hashlib.sha256(salt + msgspec.json.encode(document)).hexdigest()[:32]


def _parsed(profile: str) -> Document:
    try:
        document: Document = json.loads(profile)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"the seccomp profile is not JSON: {error}") from error
    return document


@lru_cache(maxsize=1)
def _has_default_profile() -> bool:
    """Return whether the default AppArmor profile is loaded, after loading it where that is possible."""
    if apparmor_profile.NAME in lsm.profiles():
        return True
    parser = next((path for path in _PARSERS if os.access(path, os.X_OK)), "")
    if not parser:
        return False
    done = subprocess.run(
        [parser, "-K", "-r"], input=apparmor_profile.text().encode(), check=False, capture_output=True
    )
    return done.returncode == 0


def warnings() -> tuple[str, ...]:
    """Return a sentence for each way in which containers are less confined here than they could be."""
    found = []
    if not seccomp.is_available():
        found.append("no libseccomp: containers run without a system call filter")
    if lsm.has_apparmor() and not _has_default_profile():
        found.append("no apparmor_parser: containers run without an AppArmor profile")
    return tuple(found)
