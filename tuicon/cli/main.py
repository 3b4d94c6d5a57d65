"""Runs one command: finds its function, loads its module, turns errors into sentences and exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module

from tuicon.cli.failure import Exit, Usage, complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.api import Engine

_CONTAINERS = ("run create start stop restart kill pause unpause rename wait rm attach logs top update").split()
_INSIDE = ("layers tree diff waste advice cat extract shared").split()
_VOLUMES = ("ls rm prune export files cat cp clone snapshot sync serve update").split()
_COPYING = ("cp", "diff", "commit", "export")
_REGISTRIES = ("pull push login logout search").split()
_FUNCTIONS = {
    **{verb: ("containers", verb) for verb in _CONTAINERS},
    "exec": ("containers", "exec_"), "container prune": ("containers", "prune"), "ps": ("listing", "ps"),
    "port": ("networks", "port"), "images": ("listing", "images"), "stats": ("listing", "stats"), "network ls": ("listing", "networks"),
    **{f"volume {verb}": ("volumes", verb) for verb in _VOLUMES}, "volume import": ("volumes", "import_"), "load": ("images", "load"), "import": ("images", "import_"),
    "rmi": ("images", "rmi"), "tag": ("images", "tag"), "save": ("images", "save"), "history": ("images", "history"),
    "image prune": ("images", "prune"), **{f"image {verb}": ("inside", verb) for verb in _INSIDE}, **{verb: ("registries", verb) for verb in _REGISTRIES},
    "image tags": ("registries", "tags"), "image referrers": ("registries", "referrers"),
    "image packages": ("scan", "packages"), "sbom": ("scan", "sbom"), "scan": ("scan", "scan"),
    "manifest inspect": ("registries", "manifest_inspect"), "inspect": ("system", "inspect"),
    "container inspect": ("system", "inspect"), "image inspect": ("system", "inspect"),
    "network inspect": ("system", "inspect"), "volume inspect": ("system", "inspect"),
    "network create": ("networks", "create"), "network rm": ("networks", "remove"), "network prune": ("networks", "prune"),
    **{f"network peer {verb}": ("networks", f"peer_{verb}") for verb in ("add", "rm", "ls")},
    "network reach": ("networks", "reach"), "network rules": ("networks", "rules"),
    "network connect": ("networks", "connect"), "network disconnect": ("networks", "disconnect"),
    "volume create": ("system", "volume_create"), "events": ("system", "events"), "version": ("system", "version"),
    "info": ("system", "info"), "system reset": ("system", "reset"),
    "system check": ("system", "check"), "system boot": ("system", "boot"), "system unit": ("system", "unit"),
    "system shutdown": ("system", "shutdown"), "system df": ("system", "disk_usage"), "demo": ("system", "demo"),
    **{verb: ("copying", verb) for verb in _COPYING},
    "metrics": ("metrics", "metrics"), "profile": ("profiles", "profile"), "autotune": ("autotune", "autotune"),
    "advise": ("history", "advise"), "why": ("causes", "why"),
    "cgroups": ("groups", "cgroups"), "pressure": ("pressure", "show"), "system knobs": ("tuning", "knobs"),
    "completion": ("system", "completion"), "__complete": ("system", "complete"),
}  # fmt: skip
_ANYBODY = frozenset({"version", "completion"})
_STARTING = frozenset({"run", "start"})
_RUNNING = _STARTING | {"exec"}


def run(engine: Engine, arguments: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    verb = arguments.verb
    if verb.endswith(" --help"):
        arguments.group_parser.print_help()
        return 0
    if os.geteuid() != 0 and verb not in _ANYBODY:
        complain("containers need root: namespaces, mounts and cgroups", "try: sudo tuicon " + " ".join(sys.argv[1:]))
        return _code_of(verb)
    _prepare(engine, arguments)
    try:
        module, function = _FUNCTIONS[verb]
        code: int = getattr(import_module(f"tuicon.cli.{module}"), function)(engine, arguments)
        sys.stdout.flush()
    except Exit as exit_:
        return exit_.code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # the edge: what is known becomes a sentence, what is not is raised again
        if arguments.debug:
            raise
        return _explain(verb, error)
    return code


def _prepare(engine: Engine, arguments: argparse.Namespace) -> None:
    if getattr(arguments, "kernel_memory", None) is not None:
        complain("warning: --kernel-memory has no effect: the kernel no longer has such a limit")
    if arguments.verb in _STARTING:
        engine.warm()  # while the modules are loaded
    if arguments.verb != "exec":
        _load_msgspec()


def _load_msgspec() -> None:
    """Load msgspec, which would load typing_extensions where that is installed, though typing has all it takes from there."""
    if "typing_extensions" in sys.modules:
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment] # it cannot be imported
    try:
        import msgspec  # noqa: F401
    finally:
        del sys.modules["typing_extensions"]


def _explain(verb: str, error: Exception) -> int:
    """Say what went wrong; return the exit code.

    Raises:
        Exception: The error itself, when it is none that is meant to happen.
    """
    from engine.errors import EngineError

    if isinstance(error, EngineError):
        complain(str(error), error.hint)
        return _code_of(verb, error.exit_code)
    if isinstance(error, Usage | ValueError):
        complain(str(error))
    elif isinstance(error, ExceptionGroup):
        for one in error.exceptions:
            complain(str(one))
    elif isinstance(error, OSError):
        named = f": {error.filename}" if error.filename and error.strerror else ""
        complain(f"{error.strerror or error}{named}")
    else:
        raise error
    return _code_of(verb)


def _code_of(verb: str, code: int = 1) -> int:
    """Return docker's exit code: run and create give 125 for what the engine refuses, other verbs 1."""
    if code in (126, 127) and verb in _RUNNING:
        return code
    return 125 if verb in ("run", "create") else 1
