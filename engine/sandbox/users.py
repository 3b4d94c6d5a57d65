"""Users of a container: numbers are numbers, names come from the container's own files, read bounded."""

from __future__ import annotations

from engine.linux import inside

LARGEST_ID = (1 << 32) - 2


class UnknownUser(ValueError):
    """The user or group does not exist in the container, or is no number in range."""


def resolve(root_fd: int, user: str) -> tuple[int, int, list[int], str]:
    """Return uid, gid, supplementary gids and home directory of "USER[:GROUP]".

    Digits are ids in 0..2^32-2 and never looked up as names.

    Raises:
        UnknownUser: Nobody of that name.
    """
    name, _, group = user.partition(":")
    passwd = _entries(root_fd, "etc/passwd", 7)
    uid, gid, home, login = _find_user(passwd, name or "0")
    groups: list[int] = []
    if group:
        gid = _find_group(_entries(root_fd, "etc/group", 4), group)
    elif login:
        groups = [number for members, number in _memberships(root_fd) if login in members and number != gid]
    return uid, gid, groups, home or "/"


def groups(root_fd: int, names: list[str]) -> list[int]:
    """Return the gids of groups.

    Raises:
        UnknownUser: There is no group of that name.
    """
    entries = _entries(root_fd, "etc/group", 4) if names else []
    return [_find_group(entries, name) for name in names]


def _find_user(passwd: list[list[str]], name: str) -> tuple[int, int, str, str]:
    number = _number(name)
    for fields in passwd:
        uid, gid = _field(fields[2]), _field(fields[3])
        if uid is not None and gid is not None and (uid == number if number is not None else fields[0] == name):
            return uid, gid, fields[5], fields[0]
    if number is None:
        raise UnknownUser(f"unable to find user {name}: no matching entry in the container's passwd file")
    return number, 0, "/", ""


def _find_group(entries: list[list[str]], name: str) -> int:
    number = _number(name)
    if number is not None:
        return number
    for fields in entries:
        found = _field(fields[2])
        if fields[0] == name and found is not None:
            return found
    raise UnknownUser(f"unable to find group {name}: no matching entry in the container's group file")


def _memberships(root_fd: int) -> list[tuple[list[str], int]]:
    found = []
    for fields in _entries(root_fd, "etc/group", 4):
        number = _field(fields[2])
        if number is not None:
            found.append((fields[3].split(","), number))
    return found


def _number(text: str) -> int | None:
    """Return an id, None for what is not made of ASCII digits.

    Raises:
        UnknownUser: A number out of range.
    """
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text) if len(text) <= 10 else LARGEST_ID + 1
    if number > LARGEST_ID:
        raise UnknownUser(f"uids and gids must be in range 0-{LARGEST_ID}: {text}")
    return number


def _field(text: str) -> int | None:
    """Return an id of the container's files, None for what is no id: such a line is nobody's."""
    try:
        return _number(text)
    except UnknownUser:
        return None


def _entries(root_fd: int, path: str, fields: int) -> list[list[str]]:
    try:
        text = inside.read_text(root_fd, path)
    except OSError:
        return []
    lines = (line.split(":") for line in text.splitlines() if line and not line.startswith("#"))
    return [line for line in lines if len(line) >= fields]
