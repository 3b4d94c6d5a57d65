"""Messages from containers are hostile; what is right is told by RFC 1035's own layout."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from engine.sandbox import dns

_HEADER = struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0)


def query(name: str, kind: int = dns.A) -> bytes:
    return _HEADER + dns.encode_name(name) + struct.pack("!HH", kind, 1)


def test_a_query_is_read_and_answered_with_its_own_question() -> None:
    message = query("Web.Mesh") + b"\0\0\x29\x10\0\0\0\0\0\0\0"  # an EDNS record follows, as most programs send it
    question = dns.parse(message)
    assert question is not None
    assert (question.name, question.kind) == ("web.mesh", dns.A)
    found = dns.answer(message, question, [b"\x0a\0\0\2", b"\x0a\0\0\3"])
    identifier, flags, questions, answers, *others = struct.unpack_from("!HHHHHH", found)
    assert (identifier, questions, answers, others) == (0x1234, 1, 2, [0, 0])
    assert flags == 0x8180  # an answer, recursion desired and available, no error (section 4.1.1)
    assert found[12:].startswith(message[12 : question.end])
    assert found.endswith(b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4\x0a\0\0\3")
    assert struct.unpack_from("!H", dns.answer(message, question, [], dns.SERVER_FAILURE), 2)[0] & 0xF == 2


def test_an_answer_is_no_longer_than_the_query_allows_and_says_what_was_left_out() -> None:
    records = [bytes([10, 0, number // 256, number % 256]) for number in range(100)]
    plain = query("web.mesh")
    question = dns.parse(plain)
    assert question
    short = dns.answer(plain, question, records)
    flags, _, answers = struct.unpack_from("!HHH", short, 2)
    assert len(short) <= 512  # RFC 1035, section 2.3.4
    assert flags & 0x0200  # TC, section 4.1.1
    assert len(short) == question.end + 16 * answers
    whole = dns.answer(plain, question, records, largest=dns.LARGEST_TCP)
    assert struct.unpack_from("!HHH", whole, 2) == (0x8180, 1, 100)
    for size, allowed in ((1232, 1232), (100, 512), (65535, 4096)):  # RFC 6891, section 6.2.3
        with_options = dns.parse(plain + b"\0\0\x29" + struct.pack("!H", size) + bytes(6))
        assert with_options
        assert with_options.largest == allowed


def test_servers_are_asked_until_one_settles_the_matter() -> None:
    for flags, is_final in ((0x8180, True), (0x8583, True), (0x8183, False), (0x8182, False), (0x8185, False)):
        assert dns.settles(struct.pack("!HHHHHH", 1, flags, 1, 0, 0, 0)) is is_final


def test_what_is_no_standard_query_is_left_unanswered() -> None:
    whole = query("web")
    wrong = [
        b"", whole[:11], whole[:-1], b"\0\0\x81\x80" + whole[4:], whole[:2] + b"\x28\0" + whole[4:],
        whole[:4] + b"\0\2" + whole[6:], whole[:-1] + b"\3", _HEADER + b"\xc0\x0c\0\1\0\1", _HEADER + b"\x3fa\0\0\1\0\1",
    ]  # fmt: skip
    assert [dns.parse(message) for message in wrong] == [None] * len(wrong)


def test_reversed_addresses_are_recognised() -> None:
    assert dns.reversed_address("4.3.2.1.in-addr.arpa") == "1.2.3.4"
    example = "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa"  # RFC 3596, section 2.5
    assert dns.reversed_address(example) == "4321:0:1:2:3:4:567:89ab"
    assert dns.reversed_address(example.removeprefix("b.")) == dns.reversed_address("x" + example[1:]) == ""
    assert dns.reversed_address("3.2.1.in-addr.arpa") == dns.reversed_address("web") == ""


@given(st.binary(max_size=600))
def test_no_message_breaks_the_reader(message: bytes) -> None:
    for data in (message, _HEADER + message):
        question = dns.parse(data)
        if question is not None:
            assert len(dns.answer(data, question, [])) == question.end


def test_what_is_asked_is_answered_with_addresses_through_aliases() -> None:
    message = dns.query(b"\x12\x34", "web.mesh", dns.A)
    question = dns.parse(message)
    assert question is not None
    assert message == query("web.mesh")
    assert dns.addresses(dns.answer(message, question, [b"\x0a\0\0\2", b"\x0a\0\0\3"])) == ["10.0.0.2", "10.0.0.3"]
    assert dns.addresses(dns.answer(message, question, [])) == []
    alias = struct.pack("!HHHIH", 0xC00C, 5, 1, 5, 7) + dns.encode_name("other")
    address = dns.encode_name("other") + struct.pack("!HHIH", dns.AAAA, 1, 5, 16) + bytes(15) + b"\1"
    answer = struct.pack("!HHHHHH", 0x1234, 0x8180, 1, 2, 0, 0) + message[12:] + alias + address
    assert dns.addresses(answer) == ["::1"]


@given(st.binary(max_size=200))
def test_a_damaged_answer_has_no_addresses_or_some(message: bytes) -> None:
    assert isinstance(dns.addresses(message), list)
