"""What a user can ask for while looking inside an image; footer, help and keymap are generated from these."""

from __future__ import annotations

from tuicon.commands.registry import BY_ID, MOVES, Command, key_text

INSIDE = "inside"
BROWSING: tuple[Command, ...] = (
    Command("since", "layer/all", "Mark what this layer changed, or all layers above the lowest.", "a", pane=INSIDE, in_footer=True),
    Command("changed", "changed", "Show only what changed, or all files.", "c", pane=INSIDE, in_footer=True),
    Command("fold", "fold", "Fold all directories, or unfold them.", "f", pane=INSIDE, in_footer=True),
    Command("view", "view", "View the file.", "v", pane=INSIDE, in_footer=True),
    Command("extract", "extract…", "Copy the file or directory out of the image.", "e", pane=INSIDE),
    BY_ID["filter"],
    BY_ID["sort"],
    BY_ID["help"],
    Command("leave", "back", "Back to the images.", "q", pane=INSIDE, in_footer=True),
)  # fmt: skip


def browsing_help(keys: dict[str, str]) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """Return what the help shows; `keys` has the user's own keys by command."""
    lines = tuple((key_text(keys.get(command.id, command.keys)), command.help) for command in BROWSING)
    moves = [(key, text) for key, text in MOVES if key.startswith(("j ", "g ", "ctrl-d"))]
    more = [
        ("enter space", "fold a directory; view a file"),
        ("[ ]", "files, waste, advice"),
        ("tab", "layers, files"),
        ("esc", "back: filter, images"),
    ]
    return (("Inside an image", lines), ("Moving", (*moves, *more)))
