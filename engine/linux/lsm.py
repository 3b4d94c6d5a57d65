"""Labels of AppArmor and SELinux: the next execve of this process takes them (proc_pid_attr(5))."""

from __future__ import annotations

import errno
import os

_APPARMOR = "/sys/module/apparmor/parameters/enabled"
_PROFILES = "/sys/kernel/security/apparmor/profiles"
_SELINUX = "/sys/fs/selinux/enforce"


def has_apparmor() -> bool:
    """Return whether AppArmor is active."""
    try:
        with open(_APPARMOR, "rb") as file:
            return file.read(1) == b"Y"
    except OSError:
        return False


def has_selinux() -> bool:
    """Return whether SELinux has a policy."""
    return os.path.exists(_SELINUX)


def profiles() -> set[str]:
    """Return the names of the AppArmor profiles that are loaded; none when they cannot be read."""
    try:
        with open(_PROFILES, encoding="utf-8", errors="replace") as file:
            return {line.rpartition(" (")[0] for line in file}
    except OSError:
        return set()


def check(apparmor: str, selinux: str) -> None:
    """Check that labels can be used.

    Raises:
        OSError: The kernel has no such security module, or no such profile.
    """
    if apparmor and apparmor != "unconfined":
        if not has_apparmor():
            raise OSError(errno.EOPNOTSUPP, f"process.apparmorProfile {apparmor!r}: AppArmor is not active here")
        known = profiles()
        if known and apparmor not in known:
            raise OSError(errno.ENOENT, f"process.apparmorProfile {apparmor!r}: no such profile is loaded")
    if selinux and not has_selinux():
        raise OSError(errno.EOPNOTSUPP, f"process.selinuxLabel {selinux!r}: SELinux is not active here")


def open_exec_label(apparmor: str, selinux: str) -> int:
    """Open the file that takes the label, through the host's /proc; -1 when there is none to write."""
    if not ((apparmor and has_apparmor()) or selinux):
        return -1
    for path in ("/proc/self/attr/apparmor/exec", "/proc/self/attr/exec") if not selinux else ("/proc/self/attr/exec",):
        try:
            return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
    raise OSError(errno.EOPNOTSUPP, "the kernel has no file for security labels")


def write_exec_label(fd: int, apparmor: str, selinux: str) -> None:
    """Ask for a label on the next execve."""
    os.write(fd, (selinux or f"exec {apparmor}").encode())
    os.close(fd)
