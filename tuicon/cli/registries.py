"""Verbs that speak to registries."""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError, InvalidArgument
from engine.model.transfer import Progress, RegistryOptions
from tuicon.cli import output
from tuicon.cli.failure import Usage, complain
from tuicon.cli.progress import Board

if TYPE_CHECKING:
    from engine.api import Engine

_DESCRIPTION_WIDTH = 50


def _options(arguments: argparse.Namespace) -> RegistryOptions:
    verify = None if arguments.tls_verify is None else arguments.tls_verify == "true"
    return RegistryOptions(verify_tls=verify, certificates=arguments.cert_dir)


def _quiet(_: Progress) -> None:
    return


def pull(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon pull."""
    options = _options(arguments)
    wanted = [*arguments.references, *_listed(arguments)]
    if not wanted:
        raise Usage("pull: give a reference, or a list with --from")
    failed = 0
    for ref in wanted:
        try:
            found = [ref]
            if arguments.all_tags:
                found = [f"{ref}:{tag}" for tag in engine.registries.tags(ref, options=options)]
            for reference in found:
                _pull_one(engine, arguments, reference, options)
        except EngineError as error:
            if len(wanted) == 1:
                raise
            complain(f"{ref}: {error}", error.hint)
            failed = 1
    return failed


def _listed(arguments: argparse.Namespace) -> list[str]:
    if arguments.listed is None:
        return []
    lines = [line.partition("#")[0].strip() for line in arguments.listed.read_text().splitlines()]
    return [line for line in lines if line]


def _pull_one(engine: Engine, arguments: argparse.Namespace, reference: str, options: RegistryOptions) -> None:
    board = None if arguments.quiet else Board()
    try:
        pulled = engine.registries.pull(reference, platform=arguments.platform, options=options, watch=board or _quiet)
    finally:
        if board:
            board.end()
    if board:
        print(f"Digest: {pulled.digest}")
        print(f"Status: {'Downloaded newer image' if pulled.is_new else 'Image is up to date'} for {reference}")
    print(pulled.reference)


def pull_quietly(engine: Engine, reference: str) -> None:
    """Pull what a container is to be made of; what there is to say goes to stderr."""
    board = Board(sys.stderr)
    try:
        engine.registries.pull(reference, watch=board)
    finally:
        board.end()


def push(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon push."""
    wanted: tuple[str, ...] = (arguments.reference,)
    if arguments.all_tags:
        wanted = engine.registries.local_tags(arguments.reference)
    for reference in wanted:
        board = None if arguments.quiet else Board()
        try:
            pushed = engine.registries.push(reference, options=_options(arguments), watch=board or _quiet)
        finally:
            if board:
                board.end()
        tag = pushed.reference.rpartition(":")[2]
        print(pushed.reference if arguments.quiet else f"{tag}: digest: {pushed.digest} size: {pushed.size}")
    return 0


def login(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon login."""
    options = _options(arguments)
    if not arguments.username and not arguments.password_stdin:
        user = engine.registries.login_again(arguments.registry, options=options)
        if user:
            print(f"Login Succeeded as {user}")
            return 0
    user, password = _asked(arguments)
    kept = engine.registries.login(arguments.registry, user, password, options=options)
    if kept:
        print(f"The password is kept, not encrypted, in {kept}", file=sys.stderr)
    print("Login Succeeded")
    return 0


def _asked(arguments: argparse.Namespace) -> tuple[str, str]:
    if arguments.password_stdin:
        if not arguments.username:
            raise Usage("login: --password-stdin needs --username")
        return arguments.username, sys.stdin.read().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise Usage("login: nobody can be asked without a terminal: use --password-stdin")
    user = arguments.username or input("Username: ").strip()
    password = getpass.getpass("Password: ")
    if not user or not password:
        raise InvalidArgument("login needs a user name and a password")
    return user, password


def logout(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon logout."""
    if engine.registries.logout(arguments.registry):
        print(f"Removed the credentials of {arguments.registry}")
    else:
        print(f"There are no credentials of {arguments.registry}")
    return 0


def search(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon search."""
    found = engine.registries.search(arguments.term, limit=arguments.limit, options=_options(arguments))
    rows = [
        {
            "Name": item.name, "Description": item.description, "StarCount": str(item.stars),
            "IsOfficial": "[OK]" if item.is_official else "",
        }
        for item in found
    ]  # fmt: skip
    titles = {"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"}
    short = [{**row, "Description": row["Description"][:_DESCRIPTION_WIDTH]} for row in rows]
    _show(arguments, rows, short, titles)
    return 0


def tags(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon image tags."""
    rows = [{"Tag": tag} for tag in engine.registries.tags(arguments.reference, options=_options(arguments))]
    if arguments.json or arguments.format:
        _show(arguments, rows, rows, {"Tag": "TAG"})
    else:
        for row in rows:
            print(row["Tag"])
    return 0


def referrers(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon image referrers."""
    found = engine.registries.referrers(arguments.reference, options=_options(arguments))
    rows = [{"Digest": item.digest, "Type": item.kind, "Size": str(item.size)} for item in found]
    _show(arguments, rows, rows, {"Digest": "DIGEST", "Type": "TYPE", "Size": "SIZE"})
    return 0


def manifest_inspect(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon manifest inspect."""
    found = engine.registries.manifest(arguments.reference, options=_options(arguments))
    if arguments.format:
        output.formatted(arguments.format, [found])
    else:
        output.as_json(found)
    return 0


def _show(
    arguments: argparse.Namespace, rows: list[dict[str, Any]], short: list[dict[str, Any]], titles: dict[str, str]
) -> None:
    if arguments.json:
        output.as_json(rows)
    elif arguments.format:
        output.formatted(arguments.format, rows)
    else:
        output.table(tuple(titles.values()), [[row[key] for key in titles] for row in short])
