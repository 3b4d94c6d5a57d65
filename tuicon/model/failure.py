"""What was typed or written cannot be used."""

from __future__ import annotations


class Usage(Exception):
    """A command line, a profile or a file of rules is wrong; str() is one sentence."""
