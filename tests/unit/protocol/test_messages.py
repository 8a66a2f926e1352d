"""Messages and their bytes."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.protocol.messages import (
    MAGIC,
    VERSION,
    Bye,
    ByeCode,
    Entries,
    Hello,
    Histories,
    Message,
    Ping,
    RoundEnd,
    RoundStart,
    StartPull,
    VectorQuery,
    VectorReply,
    VectorUpdate,
    Welcome,
    decode,
    encode,
)

ALL: list[Message] = [
    Hello(MAGIC, VERSION, (1 << 64) - 1, b"instance"),
    Welcome(),
    StartPull(b"vector", [(1, 2, 3)]),
    RoundStart(b"vector"),
    Entries(1, 2, 3, [b"record"], False),
    RoundEnd(),
    VectorUpdate(b"vector"),
    Ping(),
    VectorQuery(7),
    VectorReply(7, b"vector"),
    Bye(ByeCode.CLOCK, "why"),
    Histories([(1, b"history")], b"branches", False),
]


@pytest.mark.parametrize("message", ALL, ids=lambda message: type(message).__name__)
def test_round_trip(message: Message) -> None:
    frame = encode(message)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert decode(frame[4:]) == message


@pytest.mark.parametrize("message", ALL, ids=lambda message: type(message).__name__)
def test_what_a_later_version_appends_is_ignored(message: Message) -> None:
    items = msgspec.msgpack.decode(encode(message)[4:])
    assert decode(msgspec.msgpack.encode([*items, "new", {"of": 2}])) == message


@pytest.mark.parametrize("message", ALL, ids=lambda message: type(message).__name__)
def test_every_truncation_is_refused(message: Message) -> None:
    body = encode(message)[4:]
    for length in range(len(body)):
        with pytest.raises(RemoteProtocolError):
            decode(body[:length])


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_a_message_or_refused(body: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        decode(body)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x91" * 30_000, id="nested arrays"),
        pytest.param(b"\x92\x0b\x81" * 10_000, id="nested maps"),
        pytest.param(b"\x93\x0b\x01\xa2\xff\xff", id="not UTF-8"),
        pytest.param(b"\x95\x05\x01\x02\x03\xdd\xff\xff\xff\xff", id="four thousand million records, none there"),
        pytest.param(b"\x92\x07\xc6\xff\xff\xff\xff", id="bytes of four gigabytes, none there"),
        pytest.param(msgspec.msgpack.encode([12]), id="unknown number"),
        pytest.param(msgspec.msgpack.encode({"tag": 8}), id="a map"),
        pytest.param(msgspec.msgpack.encode([9, "seven"]), id="wrong type"),
        pytest.param(msgspec.msgpack.encode([9]), id="item missing"),
        pytest.param(encode(Ping())[4:] * 2, id="two in a frame"),
    ],
)
def test_bodies_that_are_no_message(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(body)
