"""Numbers as people write and read them: sizes, rates, durations, times; pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_SUFFIXES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_FACTORS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(-?\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_size(text: str) -> int:
    """Parse docker's sizes: "512m", "1.5g", "1024"; factors are powers of 1024.

    Raises:
        ValueError: It is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"invalid size: {text!r}")
    return int(float(found[1]) * _FACTORS[found[2].lower()])


def parse_duration(text: str) -> float:
    """Parse "90", "1m30s", "250ms" to seconds.

    Raises:
        ValueError: It is no duration.
    """
    try:
        return float(text)
    except ValueError:
        pass
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"invalid duration: {text!r}")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_moment(text: str, now: datetime) -> datetime:
    """Parse docker's --since: a duration back from now, a Unix time, or RFC 3339.

    Raises:
        ValueError: It is none of these.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        if not text.isdigit():
            return moment if moment.tzinfo else moment.astimezone()
    if text.replace(".", "", 1).isdigit():
        return datetime.fromtimestamp(float(text), UTC)
    return now - timedelta(seconds=parse_duration(text))


def size(count: float) -> str:
    """Return bytes with three digits: "1.21GiB"."""
    value, suffix = float(count), _SUFFIXES[0]
    for suffix in _SUFFIXES:  # noqa: B007 - used after the loop
        if abs(value) < 1024:
            break
        value /= 1024
    if suffix == "B":
        return f"{value:.0f}B"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{digits}f}{suffix}"


def short_size(count: float) -> str:
    """Return bytes in at most five cells: "1.2G"."""
    text = size(count)
    return text.replace("iB", "") if text.endswith("iB") else text


def rate(per_second: float) -> str:
    """Return bytes per second in few cells: "1.2M/s"."""
    return f"{short_size(per_second)}/s" if per_second >= 1 else "0"


def ago(moment: datetime, now: datetime) -> str:
    """Return how long ago something was, in docker's words: "5 minutes"."""
    seconds = max(0, int((now - moment).total_seconds()))
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return _count(seconds, "second")
    minutes = seconds // 60
    if minutes < 60:
        return "About a minute" if minutes == 1 else _count(minutes, "minute")
    hours = (seconds + 1800) // 3600
    if hours < 48:
        return "About an hour" if hours == 1 else _count(hours, "hour")
    days = seconds // 86400
    if days < 14:
        return _count(days, "day")
    if days < 60:
        return _count(days // 7, "week")
    return _count(days // 30, "month") if days < 730 else _count(days // 365, "year")


def short_duration(seconds: float) -> str:
    """Return a duration in few cells: "45s", "3m", "2h", "5d"."""
    left = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if left >= length:
            return f"{left // length}{unit}"
    return f"{left}s"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
