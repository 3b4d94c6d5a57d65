from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = "from engine.store.actor import actor; print(sorted(actor().items()))"


def told(*prefix: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SSH_", "SUDO_", "DOAS_"))}
    argv = [*prefix, sys.executable, "-c", PROGRAM]
    return subprocess.run(argv, env=clean | environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("name", ["SUDO_USER", "DOAS_USER"])
def test_the_user_behind_sudo_is_the_one_who_asks(name: str) -> None:
    assert "('by', 'ann')" in told(**{name: "ann"})


def test_an_ssh_session_is_named_also_when_sudo_has_dropped_what_says_so() -> None:
    session = {"SSH_CONNECTION": "2001:db8::7 50022 192.0.2.1 22"}
    assert "('from', '2001:db8::7')" in told(**session)
    # A shell that stays between: it has the variable, the program below it does not.
    shell = ("sh", "-c", 'env -u SSH_CONNECTION "$@"; exit $?', "sh")
    assert "('from', '2001:db8::7')" in told(*shell, **session)


def test_what_is_no_address_is_not_believed() -> None:
    assert "from" not in told(SSH_CONNECTION="\x1b[2Jx 1 2 3")
