"""tuicon: arguments → Engine → console or command."""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_FEW_COLLECTIONS = 50_000  # allocations between two: loading modules makes no garbage that is worth looking for


def main() -> int:
    """Run the program; return its exit code, if at all: a command that is done does not take the interpreter apart."""
    gc.set_threshold(_FEW_COLLECTIONS)
    from tuicon.cli import parser
    from tuicon.cli.failure import Usage, complain

    words = sys.argv[1:]
    try:
        arguments = parser.build(words).parse_args(words)
    except Usage as error:
        complain(str(error), "see: tuicon --help")
        return 125 if parser.EXIT_125 & set(words[:3]) else 2
    from engine.api import Engine

    with Engine(arguments.root, arguments.run_root, arguments.storage_driver) as engine:
        if arguments.verb:
            from tuicon.cli.main import run

            code = run(engine, arguments)
            engine.close()
            _leave(code)
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            complain("the console needs a terminal", "see: tuicon --help")
            return 2
        from tuicon.app import run_console

        return run_console(engine)


def _leave(code: int) -> NoReturn:
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
