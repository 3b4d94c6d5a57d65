"""Layers, waste and advice as rows and texts; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

from engine.model.contents import Advice, LayerSummary, Waste
from tuicon.model import units
from tuicon.model.rows import Cell, Column, Row
from tuicon.model.text import one_line, printable

LAYER_COLUMNS = (
    Column("number", "#", 3, "right"), Column("size", "SIZE", 7, "right"), Column("files", "ENTRIES", 7, "right"), Column("command", "COMMAND", None),
)  # fmt: skip
WASTE_COLUMNS = (
    Column("count", "TIMES", 5, "right"),
    Column("size", "WASTED", 7, "right"),
    Column("path", "PATH", None),
)
ADVICE_COLUMNS = (
    Column("size", "SAVES", 7, "right"),
    Column("layer", "LAYER", 5, "right"),
    Column("text", "ADVICE", None),
)
_PREFIX = "/bin/sh -c "


def layer_rows(layers: Sequence[LayerSummary]) -> tuple[Row, ...]:
    """Return a row for each layer, the lowest first."""
    return tuple(
        Row(str(layer.number), (
            Cell(str(layer.number), "muted"), Cell(units.short_size(layer.size), "" if layer.size else "muted"),
            Cell(str(layer.files), "muted"), Cell(command(layer.command) or "(unknown)"),
        ))
        for layer in layers
    )  # fmt: skip


def command(text: str) -> str:
    """Return what made a layer in one line, without the shell that docker's builder writes before it."""
    return one_line(text).removeprefix(_PREFIX).removeprefix("#(nop)").strip()


def about(layer: LayerSummary) -> Text:
    """Return what is known of a layer."""
    text = Text(overflow="fold")
    text.append(command(layer.command) or "(the image does not tell what made this layer)")
    for name, value in (
        ("layer", layer.chain_id[7:31]), ("diff id", layer.diff_id[7:31]), ("made", str(layer.created_at or "")[:19]),
        ("blob", units.size(layer.blob_size)),
    ):  # fmt: skip
        text.append(f"\n{name:<8}", "dim")
        text.append(value)
    return text


def score(waste: Waste) -> str:
    """Return efficiency and waste in a few lines."""
    share = f"{waste.user_wasted:.1%}" if math.isfinite(waste.user_wasted) else "more than all"
    return (
        f"efficiency {waste.efficiency:.2%}   wasted {units.size(waste.wasted)} of {units.size(waste.size)}\n"
        f"that is {share} of what is above the lowest layer"
    )


def waste_rows(waste: Waste) -> tuple[Row, ...]:
    """Return a row for each wasted path."""
    return tuple(
        Row(one.path, (Cell(str(one.count), "muted"), Cell(units.short_size(one.size)), Cell(printable(one.path))))
        for one in waste.paths
    )


def advice_rows(advice: Sequence[Advice]) -> tuple[Row, ...]:
    """Return a row for each piece of advice."""
    return tuple(
        Row(str(number), (Cell(units.short_size(one.size), "warn"), Cell(str(one.layer), "muted"), Cell(one.text)))
        for number, one in enumerate(advice)
    )


def remedy(one: Advice) -> Text:
    """Return what to do, what made the layer and the largest files."""
    text = Text(overflow="fold")
    text.append(one.remedy, "bold")
    text.append(f"\nlayer {one.layer}: {command(one.command) or '(unknown)'}\n")
    text.append("\n".join(printable(path) for path in one.paths), "dim")
    return text
