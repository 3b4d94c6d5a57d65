"""JSON without regular expressions: what the interpreter's own codec in C does, and `json` only for what it refuses.

`json` loads `re`, and that `enum` and `functools`: a third of the time a monitor's imports take.
"""

from __future__ import annotations

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = " \t\n\r"


class _Reading:
    """The attributes that the scanner asks for, as those of json.JSONDecoder."""

    strict = True
    object_hook = object_pairs_hook = array_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"-Infinity": -float("inf"), "Infinity": float("inf"), "NaN": float("nan")}.__getitem__
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner clears it


def _unknown(value: object) -> object:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


_scan = _json.make_scanner(_Reading())  # type: ignore[arg-type] # it only asks for the attributes
_ascii = _json.make_encoder(None, _unknown, _json.encode_basestring_ascii, None, ": ", ", ", False, False, True)
_any = _json.make_encoder(None, _unknown, _json.encode_basestring, None, ": ", ", ", False, False, True)


def loads(data: bytes | str) -> Any:  # noqa: ANN401 - JSON
    """Parse a document.

    Raises:
        ValueError: It is none; what json.loads says.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8", "surrogatepass")
        start = len(text) - len(text.lstrip(_SPACE))
        found, end = _scan(text, start)
        if not text[end:].strip(_SPACE):
            return found
    except (StopIteration, UnicodeDecodeError, SystemError):  # the last: an error whose class is json's, not loaded yet
        pass
    import json

    return json.loads(data)


def dumps(value: object, *, ensure_ascii: bool = True) -> str:
    """Return a value as JSON.

    Raises:
        TypeError: It has what JSON does not.
    """
    return "".join((_ascii if ensure_ascii else _any)(value, 0))
