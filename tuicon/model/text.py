"""Names that come from images, made fit for a terminal; pure."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return a text in which all that a terminal would obey or hide is written out, such as \x1b; tabs and newlines too."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _written_out(character) for character in text)


def one_line(text: str) -> str:
    """Return a command of several lines in one, made fit for a terminal."""
    return printable(" ".join(text.split()))


def _written_out(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as os.fsdecode has it
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
