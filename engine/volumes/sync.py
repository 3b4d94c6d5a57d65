"""What a sync has to do: the files of two volumes compared; pure.

Kinds are as `tar -tv` shows them: - d l h c b p. Names are relative to the volume, b"" for the volume itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec

from engine.errors import CopyFailed
from engine.model.value import Value

_LEFTOVER = re.compile(rb"(.*/)?\.tuicon\.[0-9a-f]{16}")
_KINDS = frozenset("-dlhcbp")
_Id = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 2)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_Time = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=(1 << 62))]


class Item(msgspec.Struct, frozen=True, array_like=True):
    """A file as one end tells the other of it.

    Attributes:
        link: Where a symbolic link leads, or the first name of a file with several.
        digest: BLAKE2 of its content when contents are compared.
    """

    name: bytes
    kind: str
    mode: Annotated[int, msgspec.Meta(ge=0, le=0o7777)]
    uid: _Id
    gid: _Id
    size: _Number
    mtime_ns: _Time
    link: bytes = b""
    device: tuple[_Id, _Id] = (0, 0)
    xattrs: dict[str, bytes] = {}
    digest: bytes = b""

    @property
    def attributes(self) -> tuple[object, ...]:
        """What can be changed without the content being sent."""
        return (self.mode, self.uid, self.gid, self.xattrs)


class Plan(Value, frozen=True):
    """What to do at the receiving end.

    Attributes:
        wanted: Places of the items that must be sent, in order.
        touched: Places of those of which only attributes differ.
        blocked: Names that are in the way of something of another kind.
        removed: Names that the other end does not have; what is below one of them is not named.
        leftovers: Names that a killed sync left.
    """

    wanted: tuple[int, ...]
    touched: tuple[int, ...]
    blocked: tuple[bytes, ...]
    removed: tuple[bytes, ...]
    leftovers: tuple[bytes, ...]


def is_leftover(name: bytes) -> bool:
    """Return whether a name is one that a file has while it is put in place."""
    return bool(_LEFTOVER.fullmatch(name))


def checked(items: Iterable[Item]) -> Iterable[Item]:
    """Yield what another end has told, which may be hostile.

    Raises:
        CopyFailed: A name leads elsewhere, comes twice or before its directory, or a kind is unknown.
    """
    kinds: dict[bytes, str] = {}
    for item in items:
        parent, _, _ = item.name.rpartition(b"/")
        parts = item.name.split(b"/")
        is_fine = item.name == b"" if not kinds else not {b"", b".", b".."} & {*parts} and b"\0" not in item.name
        if not is_fine or item.name in kinds or item.kind not in _KINDS:
            raise CopyFailed(f"the other end has the impossible file {item.name[:200]!r}")
        if kinds and kinds.get(parent) != "d":
            raise CopyFailed(f"the other end puts {item.name[:200]!r} into what is no directory")
        if item.kind == "h" and kinds.get(item.link) != "-":
            raise CopyFailed(f"the other end links {item.name[:200]!r} to what is no file")
        kinds[item.name] = item.kind
        yield item


def plan(theirs: Sequence[Item], ours: Sequence[Item], *, deletes: bool) -> Plan:
    """Compare two volumes, each a directory before what is in it.

    Args:
        theirs: What shall be.
        ours: What is.
        deletes: Whether names that only we have go.
    """
    present = {item.name: item for item in ours}
    wanted, touched, blocked = [], [], []
    sent: set[bytes] = set()
    for place, item in enumerate(theirs):
        found = present.get(item.name)
        if found is not None and (found.kind == "d") != (item.kind == "d"):
            blocked.append(item.name)
            found = None
        if found is None or _differs(item, found) or (item.kind == "h" and item.link in sent):
            wanted.append(place)
            sent.add(item.name)
        elif item.attributes != found.attributes or (item.kind in "d-" and item.mtime_ns != found.mtime_ns):
            touched.append(place)
    names = {item.name for item in theirs}
    extra = [item.name for item in ours if item.name not in names]
    leftovers = tuple(name for name in extra if is_leftover(name))
    gone = _topmost(name for name in extra if not is_leftover(name)) if deletes else ()
    return Plan(tuple(wanted), tuple(touched), tuple(blocked), tuple(gone), leftovers)


def _differs(item: Item, found: Item) -> bool:
    """Return whether the content must be sent; only files and directories can be given other attributes alone."""
    if item.kind != found.kind:
        return True
    if item.kind == "d":
        return False
    if item.kind == "h":
        return item.link != found.link
    if item.kind == "-":
        if item.digest and found.digest:
            return item.digest != found.digest
        return (item.size, item.mtime_ns) != (found.size, found.mtime_ns)
    return (item.link, item.device, item.mtime_ns, item.attributes) != (
        found.link,
        found.device,
        found.mtime_ns,
        found.attributes,
    )


def _topmost(names: Iterable[bytes]) -> Iterable[bytes]:
    """Yield names, without those below another of them; parents come first."""
    gone: set[bytes] = set()
    for name in names:
        if name.rpartition(b"/")[0] not in gone:
            yield name
        gone.add(name)
