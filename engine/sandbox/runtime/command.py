"""From words to a command, and from a failure to a line on stderr, a line in the log and an exit code."""

from __future__ import annotations

import gc
import importlib
import os
import sys

from engine.sandbox.runtime.arguments import Arguments, usage
from engine.sandbox.runtime.fault import Fault
from engine.sandbox.runtime.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = "0.1.0"
SPEC_VERSION = "1.2.1"
# Each module is imported only for the commands it has.
_MODULES = {
    "create": "create", "run": "create", "start": "start", "kill": "ending", "delete": "ending", "exec": "join",
    "state": "show", "list": "show", "ps": "show", "pause": "change", "resume": "change", "update": "change",
    "events": "events", "spec": "documents", "features": "documents",
}  # fmt: skip


def run(words: list[str]) -> int:
    """Run a command line; return the exit code."""
    gc.disable()  # the process is short
    log = Log("", "text")
    try:
        arguments = Arguments(words)
        log = Log(arguments.text("log"), arguments.text("log-format", "text"), is_verbose=arguments.has("debug"))
        if arguments.has("version"):
            os.write(1, f"tuicon-oci version {VERSION}\nspec: {SPEC_VERSION}\n".encode())
            return 0
        if arguments.has("help") or not arguments.command:
            os.write(1, usage().encode())
            return 0 if arguments.has("help") else 1
        return _run(arguments, log)
    except Fault as fault:
        log.say("error", str(fault))
        return fault.exit_code
    except OSError as error:
        text = str(error) if type(error) is not OSError and not error.filename else (error.strerror or str(error))
        log.say("error", f"{error.filename}: {error.strerror}" if error.filename else text)
    except ValueError as error:
        log.say("error", str(error))
    return 1


def _run(arguments: Arguments, log: Log) -> int:
    module = importlib.import_module(f"engine.sandbox.runtime.{_MODULES[arguments.command]}")
    function: Callable[[Arguments, Log], int] = getattr(module, f"run_{arguments.command}")
    return function(arguments, log)


def main() -> None:
    """Run the command line of this process and end it at once; nothing needs the interpreter's own clean-up."""
    os._exit(run(sys.argv[1:]))
