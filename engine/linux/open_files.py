"""How many files this process may have open: getrlimit(2), RLIMIT_NOFILE."""

from __future__ import annotations

import resource
from functools import cache


@cache
def usual() -> int:
    """Return the soft limit that this process was started with, which is what its children should get."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def allow_all() -> None:
    """Raise the soft limit of this process to the hard one."""
    usual()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
