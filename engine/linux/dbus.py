"""A small D-Bus client: method calls and signals over a Unix socket (D-Bus specification 0.43).

Values are Python's: numbers, str, bytes for "ay", list for arrays, tuple for structs, and (signature, value) for variants.
"""

from __future__ import annotations

import os
import struct
import time

from engine.linux.light import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SYSTEM_BUS = "/run/dbus/system_bus_socket"
_CALL, _RETURN, _ERROR, _SIGNAL = 1, 2, 3, 4
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d"}
_ALIGNED = {"y": 1, "g": 1, "v": 1, "n": 2, "q": 2, "x": 8, "t": 8, "d": 8, "(": 8, "{": 8}
_LONGEST = 1 << 27


class DBusError(OSError):
    """A call failed; str() is one sentence.

    Attributes:
        name: The error's D-Bus name, or an empty string.
    """

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(5, message)
        self.name = name

    def __str__(self) -> str:
        """Return the sentence."""
        return str(self.strerror)


class Message:
    """What came over the bus.

    Attributes:
        kind: 1 a call, 2 a return, 3 an error, 4 a signal.
        serial: Its sender's number for it.
        fields: The header's fields by their number.
        body: The values.
    """

    def __init__(self, kind: int, serial: int, fields: dict[int, object], body: list[object]) -> None:
        self.kind = kind
        self.serial = serial
        self.fields = fields
        self.body = body

    def is_signal(self, interface: str, member: str) -> bool:
        """Return whether it is this signal."""
        return self.kind == _SIGNAL and (self.fields.get(_INTERFACE), self.fields.get(_MEMBER)) == (interface, member)


class Connection:
    """A connection to the system bus, as the user that this process runs as."""

    def __init__(self, timeout: float = 30.0) -> None:
        """Connect and greet.

        Args:
            timeout: Seconds that any answer may take.

        Raises:
            DBusError: There is no bus, or it refuses us.
        """
        self._timeout = timeout
        self._serial = 0
        self._data = b""
        self._signals: list[Message] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(_bus_path())
            self._authenticate()
            self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
        except BaseException as error:
            self._socket.close()
            if isinstance(error, OSError) and not isinstance(error, DBusError):
                raise DBusError(f"cannot reach the system bus: {error.strerror or error}") from error
            raise

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _authenticate(self) -> None:
        self._socket.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n")
        while b"\r\n" not in self._data:
            self._receive(time.monotonic() + self._timeout)
        line, _, self._data = self._data.partition(b"\r\n")
        if not line.startswith(b"OK"):
            raise DBusError("the system bus does not accept this user")
        self._socket.sendall(b"BEGIN\r\n")

    def call(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", *values: object
    ) -> list[object]:
        """Call a method and return what it returns.

        Raises:
            DBusError: It answered with an error, or not in time.
        """
        self._serial += 1
        names = ((_PATH, "o", path), (_DESTINATION, "s", destination), (_INTERFACE, "s", interface),
            (_MEMBER, "s", member), *(((_SIGNATURE, "g", signature),) if signature else ()))  # fmt: skip
        body = pack(signature, values)
        fields = [(number, (kind, value)) for number, kind, value in names]
        head = pack("yyyyuua(yv)", (ord("l"), _CALL, 0, 1, len(body), self._serial, fields))
        self._send(head + bytes(-len(head) % 8) + body)
        deadline = time.monotonic() + self._timeout
        while True:
            message = self._next(deadline)
            if message.kind == _SIGNAL:
                self._signals.append(message)
            elif message.fields.get(_REPLY_SERIAL) == self._serial:
                if message.kind == _ERROR:
                    name = str(message.fields.get(_ERROR_NAME))
                    raise DBusError(str(message.body[0]) if message.body else name, name)
                return message.body

    def wait_signal(self, accepts: Callable[[Message], bool]) -> Message:
        """Return the first signal, of those that came since the last, that is accepted.

        Raises:
            DBusError: None came in time.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            message = self._signals.pop(0) if self._signals else self._next(deadline)
            if message.kind == _SIGNAL and accepts(message):
                return message

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise DBusError(f"the system bus went away: {error.strerror or error}") from error

    def _receive(self, deadline: float) -> None:
        try:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = self._socket.recv(1 << 16)
        except OSError as error:
            raise DBusError(f"the system bus does not answer: {error.strerror or error}") from error
        if not data:
            raise DBusError("the system bus closed the connection")
        self._data += data

    def _next(self, deadline: float) -> Message:
        while len(self._data) < 16 or len(self._data) < (size := _size(self._data)):
            self._receive(deadline)
        data, self._data = self._data[:size], self._data[size:]
        return _message(data)


def _bus_path() -> str:
    address = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "")
    for part in address.split(";"):
        if part.startswith("unix:path="):
            return part.removeprefix("unix:path=").partition(",")[0]
    return _SYSTEM_BUS


def _size(data: bytes) -> int:
    """Return the length of the message that begins here."""
    order = "<" if data[:1] == b"l" else ">"
    body, fields = (struct.unpack_from(f"{order}I", data, offset)[0] for offset in (4, 12))
    size = 16 + fields + -fields % 8 + body
    if size > _LONGEST:
        raise DBusError("the system bus sent a message that is too long")
    return int(size)


def _message(data: bytes) -> Message:
    reader = _Reader(data, "<" if data[:1] == b"l" else ">")
    head = reader.values("yyyyuua(yv)")
    pairs = head[6]
    fields = {number: variant[1] for number, variant in pairs}  # type: ignore[attr-defined]
    reader.align(8)
    return Message(int(head[1]), int(head[5]), fields, reader.values(str(fields.get(_SIGNATURE, ""))))  # type: ignore[call-overload]


def _split(signature: str) -> list[str]:
    """Split a signature into complete types."""
    found: list[str] = []
    start = depth = 0
    for index, letter in enumerate(signature):
        depth += (letter in "({") - (letter in ")}")
        if depth == 0 and letter != "a":
            found.append(signature[start : index + 1])
            start = index + 1
    return found


def pack(signature: str, values: Sequence[object]) -> bytes:
    """Return values in D-Bus's little-endian form."""
    data = bytearray()
    for kind, value in zip(_split(signature), values, strict=True):
        _pack_one(data, kind, value)
    return bytes(data)


def _pad(data: bytearray, size: int) -> None:
    data += bytes(-len(data) % size)


def _pack_one(data: bytearray, kind: str, value: object) -> None:
    letter = kind[0]
    _pad(data, _ALIGNED.get(letter, 4))
    if letter in _FIXED:
        data += struct.pack(f"<{_FIXED[letter]}", value)
    elif letter in "sog":
        text = str(value).encode()
        data += struct.pack("<B" if letter == "g" else "<I", len(text)) + text + b"\0"
    elif letter == "v":
        inner, content = value  # type: ignore[misc]
        _pack_one(data, "g", inner)  # type: ignore[has-type]
        _pack_one(data, inner, content)  # type: ignore[has-type]
    elif letter == "a":
        _pack_array(data, kind[1:], value)  # type: ignore[arg-type]
    else:
        for item, content in zip(_split(kind[1:-1]), value, strict=True):  # type: ignore[call-overload]
            _pack_one(data, item, content)


def _pack_array(data: bytearray, kind: str, values: Sequence[object]) -> None:
    place = len(data)
    data += bytes(4)
    _pad(data, _ALIGNED.get(kind[0], 4))
    start = len(data)
    for value in values:
        _pack_one(data, kind, value)
    struct.pack_into("<I", data, place, len(data) - start)


class _Reader:
    """Reads values from a message."""

    def __init__(self, data: bytes, order: str) -> None:
        self._data = data
        self._order = order
        self._at = 0

    def align(self, size: int) -> None:
        self._at += -self._at % size

    def values(self, signature: str) -> list[object]:
        return [self._one(kind) for kind in _split(signature)]

    def _number(self, letter: str) -> int:
        form = f"{self._order}{letter}"
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(value) if letter != "d" else value

    def _one(self, kind: str) -> object:
        letter = kind[0]
        self.align(_ALIGNED.get(letter, 4))
        if letter in _FIXED:
            return self._number(_FIXED[letter])
        if letter in "sog":
            size = self._number("B" if letter == "g" else "I")
            text = self._data[self._at : self._at + size].decode(errors="replace")
            self._at += size + 1
            return text
        if letter == "v":
            inner = str(self._one("g"))
            return inner, self._one(inner)
        if letter == "a":
            size = self._number("I")
            self.align(_ALIGNED.get(kind[1], 4))
            end, found = self._at + size, []
            while self._at < end:
                found.append(self._one(kind[1:]))
            return found
        return tuple(self.values(kind[1:-1]))
