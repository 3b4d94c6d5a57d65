"""Who asks the engine for something, for the journal."""

from __future__ import annotations

import os
import pwd
import re
from functools import cache

from engine.linux import procfs

_ADDRESS = re.compile(r"[0-9A-Fa-f.:]{2,45}(?:%[\w.-]{1,15})?")
_FARTHEST = 16
_NOBODY = 0xFFFFFFFF  # the login uid of what no login started (proc_pid_loginuid(5))


@cache
def actor() -> dict[str, str]:
    """Return {"by": user name} of this process, with "from": address when it came over SSH."""
    address = _address()
    return {"by": _user(), **({"from": address} if address else {})}


def _user() -> str:
    """Return the user behind sudo or doas, or who logged in, else ours."""
    known = os.environ.get("SUDO_USER") or os.environ.get("DOAS_USER")
    if known:
        return known
    uid = os.getuid()
    login = procfs.login_uid()
    uid = login if uid == 0 and login not in (None, _NOBODY) else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _address() -> str:
    """Return where an SSH session came from; sudo drops what says so, so processes above are asked too."""
    pid = os.getpid()
    for _ in range(_FARTHEST):
        try:
            found = procfs.environment_of(pid).get("SSH_CONNECTION", "").partition(" ")[0]
            if _ADDRESS.fullmatch(found):
                return found
            pid = procfs.stat_of(pid).parent
        except OSError:
            break
        if pid <= 1:
            break
    return ""
