"""The light twins of json and socket do what the originals do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.linux import jsontext
from engine.linux import light as twins
from engine.sandbox import protocol

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_json_is_written_and_read_as_by_the_original(value: Any) -> None:
    for ascii_only in (True, False):
        text = jsontext.dumps(value, ensure_ascii=ascii_only)
        assert text == json.dumps(value, ensure_ascii=ascii_only)
        assert jsontext.loads(text) == jsontext.loads(text.encode("utf-8", "surrogatepass")) == value


@pytest.mark.parametrize(
    "text", ["", " ", "{", "[1,]", "nul", "{} {}", '"\x01"', '{"a":}', "\ufeff{}", b"\xff", "1 2", "01", "[" * 100_000]
)
def test_what_is_no_json_is_refused_with_the_same_words(text: str | bytes) -> None:
    with pytest.raises((ValueError, RecursionError)) as ours:
        jsontext.loads(text)
    with pytest.raises((ValueError, RecursionError)) as theirs:
        json.loads(text)
    assert (ours.type, str(ours.value)) == (theirs.type, str(theirs.value))


def test_that_is_so_where_json_is_not_loaded_yet() -> None:
    for text in ("[1,]", '"\x01"', '{"a":}', "nul"):
        code = (
            f"from engine.linux import jsontext; import sys; assert 'json' not in sys.modules; jsontext.loads({text!r})"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        with pytest.raises(ValueError, match=r".") as theirs:
            json.loads(text)
        assert done.stderr.splitlines()[-1] == f"json.decoder.JSONDecodeError: {theirs.value}"


@pytest.mark.parametrize("text", [b"\xef\xbb\xbf{}", '{"a": 1}'.encode("utf-16"), b" \n[1, -Infinity]\t", '"\\ud800"'])
def test_unusual_encodings_are_read_as_by_the_original(text: str | bytes) -> None:
    assert jsontext.loads(text) == json.loads(text)


def test_what_cannot_be_json_is_refused() -> None:
    for value in (object(), {1, 2}, b"bytes"):
        with pytest.raises(TypeError, match="not JSON serializable"):
            jsontext.dumps(value)
    assert jsontext.dumps({"after": "that"}) == '{"after": "that"}'


def test_sockets_close_connect_and_pass_descriptors(tmp_path: Any) -> None:
    with twins.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen(1)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(tmp_path / "socket"))
            channel, _ = listener.accept()
            with channel, channel.dup() as second:
                second.send(b"hello")
                assert client.recv(5) == b"hello"
                assert not os.get_inheritable(channel.fileno())
                assert not os.get_inheritable(second.fileno())
    assert listener.fileno() == -1
    one, other = twins.socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    with one, other:
        reading, writing = os.pipe()
        protocol.send_message(one, b"take", [reading, writing])
        data, fds = protocol.receive_message(other)
        assert data == b"take"
        os.write(fds[1], b"x")
        assert os.read(fds[0], 1) == b"x"
        assert not any(os.get_inheritable(fd) for fd in (one.fileno(), *fds))
        protocol.close_all([reading, writing, *fds])
