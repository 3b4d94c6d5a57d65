"""Verbs that look inside images: layers, tree, diff, waste, cat, extract, shared, advice."""

from __future__ import annotations

import argparse
import math
import re
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from engine.model.value import Value, names
from tuicon.cli import output
from tuicon.cli.failure import Usage
from tuicon.model import filetree, units
from tuicon.model.text import one_line, printable

if TYPE_CHECKING:
    from engine.api import Engine
    from engine.model.contents import FileEntry, Waste

_COMMAND_WIDTH = 60
_LONGEST_LINE = 1 << 16
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


def layers(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon image layers."""
    found = engine.images.contents(arguments.image).layers
    if arguments.json:
        output.as_json(found, is_ascii=True)
        return 0
    width = None if arguments.no_trunc else _COMMAND_WIDTH
    rows = [
        [str(layer.number), units.size(layer.size), str(layer.files),
            layer.chain_id if arguments.no_trunc else layer.chain_id.removeprefix("sha256:")[:12],
            one_line(layer.command)[:width]]
        for layer in found
    ]  # fmt: skip
    output.table(("NUMBER", "SIZE", "ENTRIES", "LAYER", "COMMAND"), rows)
    return 0


def tree(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon image tree."""
    contents = engine.images.contents(arguments.image)
    since = None if arguments.layer is None else arguments.layer - 1
    is_of_layer = arguments.layer is not None
    _show_tree(contents.tree(arguments.layer, since), arguments, changed_only=is_of_layer or arguments.changed)
    return 0


def diff(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon image diff."""
    found = engine.images.contents(arguments.image).compare(engine.images.contents(arguments.other))
    arguments.depth = None
    _show_tree(found, arguments, changed_only=True)
    return 0


def _show_tree(found: Sequence[FileEntry], arguments: argparse.Namespace, *, changed_only: bool) -> None:
    files = filetree.FileTree(found)
    places = files.lines(
        pattern=arguments.filter, changed_only=changed_only, by_size=arguments.sort == "size", depth=arguments.depth
    )
    if arguments.json:
        output.as_json([_plain(found[place]) for place in places], is_ascii=True)
        return
    owners = max((len(filetree.owner_text(found[place])) for place in places), default=0)
    for place in places:
        entry = found[place]
        owner = filetree.owner_text(entry).ljust(owners)
        name = "  " * files.depths[place] + filetree.name_text(entry)
        sys.stdout.write(
            f"{filetree.MARKS[entry.change]} {filetree.mode_text(entry)} {owner} {units.size(entry.size):>8} {name}\n"
        )


def _plain(record: Value) -> dict[str, Any]:
    """Return a record of plain values, quicker than asdict does."""
    return {name: getattr(record, name) for name in names(record)}


def waste(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon image waste: exit code 1 when a rule is broken."""
    found = engine.images.contents(arguments.image).waste()
    rules = _rules(found, arguments)
    if arguments.json:
        user_wasted = found.user_wasted if math.isfinite(found.user_wasted) else None
        output.as_json({**_plain(found), "user_wasted": user_wasted, "rules": rules}, is_ascii=True)
    else:
        _show_waste(found, arguments.top)
        for rule in rules:
            print(f"{'PASS' if rule['passed'] else 'FAIL'}  {rule['rule']}: {rule['value']}, allowed {rule['limit']}")
    return 0 if all(rule["passed"] for rule in rules) else 1


def _show_waste(found: Waste, top: int) -> None:
    print(f"Efficiency    {found.efficiency:.2%}")
    print(f"Size          {units.size(found.size)}, without the lowest layer {units.size(found.user_size)}")
    print(f"Wasted        {units.size(found.wasted)}, {found.user_wasted:.2%} of what is above the lowest layer")
    if found.paths:
        print()
    shown = found.paths[:top]
    if shown:
        rows = [[str(one.count), units.size(one.size), printable(one.path)] for one in shown]
        output.table(("TIMES", "WASTED", "PATH"), rows)
    if len(found.paths) > len(shown):
        print(f"and {len(found.paths) - len(shown)} more")


def _rules(found: Waste, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what became of the rules that are given; dive's words for none are taken too."""
    rules = []
    for name, value, parse, is_lowest in (
        ("lowest-efficiency", found.efficiency, _ratio, True),
        ("highest-wasted-bytes", found.wasted, _bytes, False),
        ("highest-user-wasted-percent", found.user_wasted, _ratio, False),
    ):
        text = getattr(arguments, name.replace("-", "_"))
        if text is None or text.strip().lower() in ("", "disabled", "off", "false"):
            continue
        limit = parse(name, text)
        passed = value >= limit if is_lowest else value <= limit
        shown = round(value, 4) if math.isfinite(value) else "all"
        rules.append({"rule": name, "limit": limit, "value": shown, "passed": passed})
    return rules


def _ratio(name: str, text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise Usage(f"--{name} takes a ratio from 0 to 1, and not {text!r}")
    return ratio


def _bytes(name: str, text: str) -> int:
    """Parse dive's sizes: MB are millions, MiB are 1024 times 1024."""
    found = _BYTES.fullmatch(text.strip())
    if not found:
        raise Usage(f"--{name} takes bytes such as 20MB or 20MiB, and not {text!r}")
    factor = 1024 if found[3] else 1000
    return int(float(found[1]) * factor ** " kmgt".index(found[2].lower() or " "))


def cat(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon image cat."""
    with engine.images.contents(arguments.image).open(arguments.path, layer=arguments.layer) as file:
        print_file(file)
    return 0


def print_file(file: BinaryIO) -> None:
    """Print a file's bytes as they are, but to a terminal nothing that it would obey."""
    sys.stdout.flush()
    if not sys.stdout.isatty():
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    while line := file.readline(_LONGEST_LINE):
        text = line.decode("utf-8", "surrogateescape")
        tame = "\t".join(printable(part) for part in text.removesuffix("\n").split("\t"))
        sys.stdout.write(tame + "\n" * text.endswith("\n"))


def extract(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon image extract."""
    done = engine.images.contents(arguments.image).extract(arguments.path, arguments.target, layer=arguments.layer)
    if arguments.json:
        output.as_json(done)
        return 0
    left = f"; {done.skipped} device nodes and pipes were left out" if done.skipped else ""
    print(f"Extracted {filetree.summary(done.size, done.files)}{left}")
    return 0


def shared(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon image shared."""
    found = engine.images.shared_layers()
    if arguments.json:
        output.as_json(found)
        return 0
    rows = [
        [layer.chain_id.removeprefix("sha256:")[:12], units.size(layer.size), " ".join(layer.images)] for layer in found
    ]
    output.table(("LAYER", "SIZE", "IMAGES"), rows)
    return 0


def advice(engine: Engine, arguments: argparse.Namespace) -> int:
    """Tuicon image advice."""
    found = engine.images.contents(arguments.image).advice()
    if arguments.json:
        output.as_json(found, is_ascii=True)
        return 0
    if not found:
        print("There is nothing to save.")
    for one in found:
        print(f"{units.size(one.size):>8}  layer {one.layer}: {one.text}")
        if one.command:
            print(f"{'':10}made by: {one_line(one.command)[:_COMMAND_WIDTH]}")
        print(f"{'':10}{one.remedy}")
        for path in one.paths[:3]:
            print(f"{'':12}{printable(path)}")
        if one.count > 3:
            print(f"{'':12}and {one.count - 3} more")
    return 0
