"""Where `tuicon-oci` begins: a command that enters a container first becomes a sealed, small interpreter."""

from __future__ import annotations

import os
import sys

_CODE = "import sys; sys.path.insert(0, {root!r}); from engine.sandbox.runtime.command import main; main()"
_ENTERING = ("create", "run", "exec")


def main() -> int:
    """Run the command line of this process; return its exit code."""
    words = sys.argv[1:]
    if any(word in _ENTERING for word in words):
        _become_sealed(words)
    from engine.sandbox.runtime import command

    return command.run(words)


def _become_sealed(words: list[str]) -> None:
    """Execute the interpreter anew from a read-only view of it, without the site's modules (CVE-2019-5736)."""
    from engine.sandbox import sealed

    interpreter = os.path.realpath(sys.executable)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))
    arguments = [interpreter, "-I", "-S", "-c", _CODE.format(root=root), *words]
    fd = sealed.read_only_view(interpreter)
    os.execv(f"/proc/self/fd/{fd}" if fd >= 0 else interpreter, arguments)
