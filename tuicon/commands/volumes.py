"""What a user can ask for while looking into a volume; footer, help and keymap are generated from these."""

from __future__ import annotations

from tuicon.commands.registry import BY_ID, MOVES, Command, key_text

INSIDE = "volume"
FILES: tuple[Command, ...] = (
    Command("files_up", "up", "Go to the directory above.", "backspace,h,left", pane=INSIDE, in_footer=True),
    Command("files_view", "view", "View the file.", "v", pane=INSIDE, in_footer=True),
    Command("files_extract", "extract…", "Copy the file or directory to this host.", "e", pane=INSIDE, in_footer=True),
    Command("files_measure", "sizes", "Measure what the directories occupy.", "s", pane=INSIDE, in_footer=True),
    BY_ID["filter"],
    BY_ID["sort"],
    BY_ID["help"],
    Command("files_leave", "back", "Back to the volumes.", "q", pane=INSIDE, in_footer=True),
)


def files_help(keys: dict[str, str]) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """Return what the help shows; `keys` has the user's own keys by command."""
    lines = tuple((key_text(keys.get(command.id, command.keys)), command.help) for command in FILES)
    moves = [(key, text) for key, text in MOVES if key.startswith(("j ", "g ", "ctrl-d"))]
    more = [("enter", "into the directory; view the file"), ("esc", "back: filter, directory above, volumes")]
    return (("Inside a volume", lines), ("Moving", (*moves, *more)))
