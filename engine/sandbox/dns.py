"""The few DNS messages that a container's resolver reads and writes (RFC 1035, sections 3 and 4); pure."""

from __future__ import annotations

import struct

from engine.linux.light import socket

A, PTR, AAAA = 1, 12, 28
SUCCESS, SERVER_FAILURE = 0, 2
LARGEST = 4096
LARGEST_TCP = 65535
_LARGEST_PLAIN = 512
_OPTIONS = 41
_TRUNCATED, _AUTHORITATIVE, _CODE = 0x0200, 0x0400, 0xF
_NO_SUCH_NAME = 3
_IN = 1
_TTL = 5
_HEADER = 12
_FAMILIES = {(A, 4): socket.AF_INET, (AAAA, 16): socket.AF_INET6}
_LONGEST_NAME = 253
_REVERSED_6 = ".ip6.arpa"
_QUESTION_NAME = b"\xc0\x0c"


class Question:
    """The one question of a query.

    Attributes:
        name: Lower case, without the dot at the end.
        kind: The type of the records that are asked for.
        end: Where it ends in the message.
        largest: Bytes that an answer over UDP may have.
    """

    def __init__(self, name: str, kind: int, end: int, largest: int) -> None:
        self.name = name
        self.kind = kind
        self.end = end
        self.largest = largest


def parse(message: bytes) -> Question | None:
    """Return the question of a standard query; None for anything else."""
    if len(message) < _HEADER:
        return None
    _, flags, questions = struct.unpack_from("!HHH", message)
    if flags & 0xF800 or questions != 1:  # an answer, or not a standard query
        return None
    labels, place = [], _HEADER
    while place < len(message) and (length := message[place]):
        if length > 63 or place + 1 + length > len(message):
            return None
        labels.append(message[place + 1 : place + 1 + length])
        place += 1 + length
    if place + 5 > len(message):
        return None
    kind, of_class = struct.unpack_from("!HH", message, place + 1)
    name = b".".join(labels).decode("ascii", "replace").lower()
    if of_class != _IN or len(name) > _LONGEST_NAME:
        return None
    return Question(name, kind, place + 5, _largest(message[place + 5 :]))


def _largest(rest: bytes) -> int:
    """Return how long an answer may be, from what follows the question (RFC 6891, section 6.1.2)."""
    if len(rest) < 5 or rest[0] or struct.unpack_from("!H", rest, 1)[0] != _OPTIONS:
        return _LARGEST_PLAIN
    return min(LARGEST, max(_LARGEST_PLAIN, int(struct.unpack_from("!H", rest, 3)[0])))


def settles(message: bytes) -> bool:
    """Return whether a server's answer is the last word; docker's rule: success, or "no such name" by who must know."""
    flags = int.from_bytes(message[2:4], "big")
    return flags & _CODE == SUCCESS or (flags & _CODE == _NO_SUCH_NAME and bool(flags & _AUTHORITATIVE))


def query(identifier: bytes, name: str, kind: int) -> bytes:
    """Return the query for the records of a name."""
    return identifier + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + encode_name(name) + struct.pack("!HH", kind, _IN)


def addresses(message: bytes) -> list[str]:
    """Return the addresses in an answer; none of one that is damaged or says that there are none."""
    found: list[str] = []
    try:
        questions, records = struct.unpack_from("!HH", message, 4)
        place = _HEADER
        for _ in range(questions):
            place = _after_name(message, place) + 4
        for _ in range(records):
            place = _after_name(message, place)
            kind, _, _, length = struct.unpack_from("!HHIH", message, place)
            data = message[place + 10 : place + 10 + length]
            place += 10 + length
            if (kind, len(data)) in _FAMILIES:
                found.append(socket.inet_ntop(_FAMILIES[kind, len(data)], data))
    except (struct.error, IndexError):
        return []
    return found


def _after_name(message: bytes, place: int) -> int:
    """Return where a name ends, which may end in a pointer to another one."""
    while message[place] & 0xC0 == 0:
        if message[place] == 0:
            return place + 1
        place += 1 + message[place]
    return place + 2


def answer(
    query: bytes, question: Question, records: list[bytes], code: int = SUCCESS, *, largest: int = 0
) -> bytes:  # fmt: skip
    """Return the answer to a query; what does not fit is left out, and the answer says so.

    Args:
        query: The query.
        question: Its question.
        records: The data of the records, which are of the kind that was asked for.
        code: The response code.
        largest: Bytes that it may have; 0 for what the question allows over UDP.
    """
    identifier, asked = struct.unpack_from("!HH", query)
    flags = 0x8080 | (asked & 0x0100) | code
    room = (largest or question.largest) - question.end
    fitting: list[bytes] = []
    for data in records:
        record = _QUESTION_NAME + struct.pack("!HHIH", question.kind, _IN, _TTL, len(data)) + data
        room -= len(record)
        if room < 0:
            flags |= _TRUNCATED
            break
        fitting.append(record)
    head = struct.pack("!HHHHHH", identifier, flags, 1, len(fitting), 0, 0)
    return head + query[_HEADER : question.end] + b"".join(fitting)


def encode_name(name: str) -> bytes:
    """Return a name as it stands in a record."""
    labels = [label.encode("ascii", "replace")[:63] for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def reversed_address(name: str) -> str:
    """Return the address that a name such as 4.3.2.1.in-addr.arpa stands for; empty when it is none.

    That of an IPv6 address has a label for each of its 32 digits (RFC 3596, section 2.5).
    """
    if name.endswith(_REVERSED_6):
        digits = name.removesuffix(_REVERSED_6).split(".")
        try:
            packed = bytes.fromhex("".join(reversed(digits)))
        except ValueError:
            return ""
        is_whole = len(digits) == 32 and all(len(digit) == 1 for digit in digits)
        return socket.inet_ntop(socket.AF_INET6, packed) if is_whole else ""
    parts = name.removesuffix(".in-addr.arpa").split(".")
    return ".".join(reversed(parts)) if name.endswith(".in-addr.arpa") and len(parts) == 4 else ""
