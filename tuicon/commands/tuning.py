"""What a user can ask for in the tuning pane; footer, help and keymap are generated from these."""

from __future__ import annotations

from tuicon.commands.registry import BY_ID, DISRUPTIVE, SAFE, Command, key_text

TUNING_PANE = "tuning"
TUNING: tuple[Command, ...] = (
    Command("try", "try", "Have the next changes on trial, or begin the time of a trial anew.", "t", SAFE, TUNING_PANE, in_footer=True),
    Command("undo", "undo", "Take back a trial, or else the last change.", "u", SAFE, TUNING_PANE, in_footer=True),
    Command("undo_all", "undo all", "Go back to the limits of when the pane was opened.", "U", SAFE, TUNING_PANE),
    Command("window", "time", "Show two minutes, 15 minutes, 6 hours or 14 days.", "w", SAFE, TUNING_PANE, in_footer=True),
    Command("take_advice", "advice", "Put the advised limits on trial.", "a", SAFE, TUNING_PANE, in_footer=True),
    Command("longer", "longer trial", "Give trials more time.", "plus", SAFE, TUNING_PANE),
    Command("shorter", "shorter trial", "Give trials less time.", "minus", SAFE, TUNING_PANE),
    Command("step_down", "step down", "Lower memory below what is in use, bit by bit.", "d", DISRUPTIVE, TUNING_PANE),
    Command("high_first", "high first", "Set memory.high instead: it reclaims and slows down, and never kills.", "f", SAFE, TUNING_PANE),
    Command("older", "older change", "Show what the change before did.", "comma", SAFE, TUNING_PANE),
    Command("newer_change", "newer change", "Show what the change after did.", "full_stop", SAFE, TUNING_PANE),
    BY_ID["help"],
    Command("leave", "back", "Back to the containers; what was changed stays.", "q", SAFE, TUNING_PANE, in_footer=True),
)  # fmt: skip
_MOVES = (
    ("j k ↑ ↓ tab", "move to another limit"),
    ("h l ← →", "lower it, raise it; H L by five steps"),
    ("0…9 enter", "type it: 0.5 or 40%, 512m, 100m/s, 20ms, 0-2,5; 0 for none"),
    ("x", "take it away"),
    ("mouse", "drag its line in the graph"),
    ("enter esc", "keep what is on trial; take it back"),
)


def tuning_help(keys: dict[str, str]) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """Return what the help shows; `keys` has the user's own keys by command."""
    lines = tuple((key_text(keys.get(command.id, command.keys)), command.help) for command in TUNING)
    return (("Tuning", lines), ("Limits", _MOVES))
