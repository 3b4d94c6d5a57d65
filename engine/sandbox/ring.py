"""The history of one container's use: a file of fixed size with one ring of samples per resolution.

A sample's place follows from its time alone, so there is no head to keep: whoever writes goes on wherever others left
off, and a place whose time does not belong to it any more is old. Coarser samples are made from the finer ones in the
file, so nothing is lost with the process that writes.
"""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Values = tuple[float, ...]
    Sample = tuple[int, float, Values]

# Resolution in seconds, and how many samples: 15 minutes, 6 hours, 14 days.
RINGS = ((1, 900), (10, 2160), (60, 20160))
MEANS = (
    "cpu", "throttled", "memory", "cache", "swap", "read", "write", "read_ops", "write_ops", "rx", "tx", "pids",
    "cpu_pressure", "memory_pressure", "io_pressure", "memory_full", "io_full",
)  # fmt: skip
MAXIMA = ("cpu_max", "memory_max", "pids_max")
SUMS = ("oom_kills", "high_events", "limit_hits", "major_faults")
FIELDS = (*MEANS, *MAXIMA, *SUMS)
_HEADER = struct.Struct("<8sIII44x")
_MAGIC, _VERSION = b"TUIRING\0", 1
_SLOT = struct.Struct(f"<If{len(FIELDS)}f")
_OFFSETS = tuple(_HEADER.size + _SLOT.size * sum(count for _, count in RINGS[:place]) for place in range(len(RINGS)))
_SIZE = _OFFSETS[-1] + _SLOT.size * RINGS[-1][1]


def open_ring(path: str) -> int:
    """Open a history for writing, a new one when there is none or it is of another version; return its descriptor."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if not _is_ours(fd):
        os.ftruncate(fd, 0)
        os.ftruncate(fd, _SIZE)
        os.pwrite(fd, _HEADER.pack(_MAGIC, _VERSION, len(FIELDS), _SLOT.size), 0)
    return fd


def _is_ours(fd: int) -> bool:
    head = os.pread(fd, _HEADER.size, 0)
    expected = (_MAGIC, _VERSION, len(FIELDS), _SLOT.size)
    return len(head) == _HEADER.size and _HEADER.unpack(head) == expected and os.fstat(fd).st_size == _SIZE


def put(fd: int, time: int, values: Values, seconds: float = 1.0, last: int = 0) -> None:
    """Write the finest sample of a second; what was completed since the last one is summed up to the coarser rings.

    Args:
        fd: The file.
        time: Seconds since the epoch.
        values: In the order of FIELDS.
        seconds: The time that the sample covers.
        last: The time of the sample before; 0 when there was none.
    """
    _write(fd, 0, time, values, seconds)
    for place in range(1, len(RINGS)):
        step = RINGS[place][0]
        if last and last // step != time // step:
            sum_up(fd, place, last - last % step)


def sum_up(fd: int, place: int, start: int) -> None:
    """Make one sample of a coarser ring from the finer ones of its time."""
    finer, step = RINGS[place - 1][0], RINGS[place][0]
    found = [
        sample
        for time in range(start, start + step, finer)
        if (sample := _read(fd, place - 1, time)) is not None
    ]  # fmt: skip
    if found:
        _write(fd, place, start, *_joined(found))


def sum_up_newest(fd: int) -> None:
    """Sum up what the last writer did not live to."""
    newest = max((sample[0] for sample in _all(fd, 0)), default=None)
    for place in range(1, len(RINGS)):
        if newest is not None:
            sum_up(fd, place, newest - newest % RINGS[place][0])


def samples(path: str, step: int, since: int, until: int) -> list[Sample]:
    """Return (time, seconds, values) of one ring between two times, oldest first; none when there is no history.

    Args:
        path: The file.
        step: The resolution: 1, 10 or 60.
        since: Seconds since the epoch, included.
        until: Seconds since the epoch, not included.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return []
    try:
        if not _is_ours(fd):
            return []
        place = [ring[0] for ring in RINGS].index(step)
        oldest = max(since, until - RINGS[place][1] * step)
        return sorted(sample for sample in _all(fd, place) if oldest <= sample[0] < until)
    finally:
        os.close(fd)


def _offset(place: int, time: int) -> int:
    step, count = RINGS[place]
    return _OFFSETS[place] + time // step % count * _SLOT.size


def _write(fd: int, place: int, time: int, values: Values, seconds: float) -> None:
    os.pwrite(fd, _SLOT.pack(time, seconds, *values), _offset(place, time))


def _read(fd: int, place: int, time: int) -> Sample | None:
    data = os.pread(fd, _SLOT.size, _offset(place, time))
    if len(data) < _SLOT.size:
        return None
    found, seconds, *values = _SLOT.unpack(data)
    return (found, seconds, tuple(values)) if found // RINGS[place][0] == time // RINGS[place][0] and found else None


def _all(fd: int, place: int) -> list[Sample]:
    step, count = RINGS[place]
    data = os.pread(fd, count * _SLOT.size, _OFFSETS[place])
    found = []
    for index, (time, seconds, *values) in enumerate(_SLOT.iter_unpack(data[: len(data) // _SLOT.size * _SLOT.size])):
        if time and time // step % count == index:
            found.append((time, seconds, tuple(values)))
    return found


def _joined(found: list[Sample]) -> tuple[Values, float]:
    """Return the values of several samples as one, and the seconds that they cover."""
    covered = sum(sample[1] for sample in found) or 1.0
    values: list[float] = []
    for index, name in enumerate(FIELDS):
        column = [sample[2][index] for sample in found]
        if name in MAXIMA:
            values.append(max(column))
        elif name in SUMS:
            values.append(sum(column))
        else:
            values.append(sum(value * sample[1] for value, sample in zip(column, found, strict=True)) / covered)
    return tuple(values), covered


def values_between(old: Mapping[str, int], new: Mapping[str, int], seconds: float) -> Values:
    """Return a sample's values from two readings of a container's counters (see engine.linux.cgroup.readings)."""

    def rate(name: str) -> float:
        return max(0, new.get(name, 0) - old.get(name, 0)) / seconds

    cpu, pids = rate("cpu_ns") / 1e9, float(new["pids"])
    periods = new["periods"] - old["periods"]
    throttled, memory = new["throttled_periods"] - old["throttled_periods"], float(new["memory_bytes"])
    found = {
        "cpu": cpu, "throttled": 100.0 * max(0, throttled) / periods if periods > 0 else 0.0,
        "memory": memory, "cache": new["memory_cache_bytes"], "swap": new.get("swap_bytes", 0), "read": rate("read_bytes"),
        "write": rate("write_bytes"), "read_ops": rate("read_ops"), "write_ops": rate("write_ops"), "rx": rate("rx_bytes"),
        "tx": rate("tx_bytes"), "pids": pids, "cpu_max": cpu, "memory_max": memory, "pids_max": pids,
        **{name: max(0, new.get(name, 0) - old.get(name, 0)) for name in SUMS if name != "major_faults"},
        "major_faults": max(0, new["major_faults"] - old["major_faults"]),
        **_pressures(old, new, seconds),
    }  # fmt: skip
    return tuple(float(found[name]) for name in FIELDS)


def _pressures(old: Mapping[str, object], new: Mapping[str, object], seconds: float) -> dict[str, float]:
    """Return the percentage of the time in which some task waited, or all did (full)."""
    found = {}
    wanted = (("cpu_pressure", "cpu_pressure", 3), ("memory_pressure", "memory_pressure", 3),
        ("io_pressure", "io_pressure", 3), ("memory_full", "memory_pressure", 7), ("io_full", "io_pressure", 7))  # fmt: skip
    for name, key, place in wanted:
        before, after = old.get(key), new.get(key)
        has_both = isinstance(before, tuple) and isinstance(after, tuple)
        waited = max(0, after[place] - before[place]) if has_both else 0  # type: ignore[index]
        found[name] = min(100.0, waited / seconds / 1e4)
    return found


def percentile(values: Iterable[float], part: float) -> float:
    """Return the value below which a part (0..1) of the values lies; 0.0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0
