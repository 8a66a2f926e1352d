"""Frames come out the same however the bytes arrive, and a length is judged before memory is taken for it."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_FRAME_BYTES, MAX_HANDSHAKE_FRAME_BYTES
from level_replicator.protocol.framing import FrameReader


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@given(st.lists(st.binary(max_size=50), max_size=8), st.data())
def test_any_chunking_gives_the_same_frames(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(frame, bodies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    reader = FrameReader()
    got: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += reader.feed(stream[start:end])
    assert got == bodies


def test_a_byte_at_a_time() -> None:
    reader = FrameReader()
    got = [body for byte in frame(b"one") + frame(b"") + frame(b"three") for body in reader.feed(bytes([byte]))]
    assert got == [b"one", b"", b"three"]


@pytest.mark.parametrize("limit", [MAX_HANDSHAKE_FRAME_BYTES, MAX_FRAME_BYTES])
def test_four_gigabytes_are_refused_at_once_and_cost_nothing(limit: int) -> None:
    reader = FrameReader()
    reader.limit = limit
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError, match="4294967295"):
            list(reader.feed(b"\xff\xff\xff\xff"))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_the_limit_is_the_greatest_length_allowed() -> None:
    reader = FrameReader()
    assert [len(body) for body in reader.feed(frame(bytes(reader.limit)))] == [reader.limit]
    with pytest.raises(RemoteProtocolError):
        list(reader.feed((reader.limit + 1).to_bytes(4, "big")))


def test_frames_before_a_bad_one_are_given() -> None:
    got: list[bytes] = []
    reader = FrameReader()

    def read() -> None:
        for body in reader.feed(frame(b"good") + b"\xff\xff\xff\xff"):
            got.append(body)  # noqa: PERF402 - what came before the error counts

    with pytest.raises(RemoteProtocolError):
        read()
    assert got == [b"good"]


def test_a_limit_that_rises_between_two_frames_holds_for_the_second() -> None:
    reader = FrameReader()
    frames = reader.feed(frame(b"welcome") + frame(bytes(MAX_HANDSHAKE_FRAME_BYTES + 1)))
    assert next(frames) == b"welcome"
    reader.limit = MAX_FRAME_BYTES
    assert len(next(frames)) == MAX_HANDSHAKE_FRAME_BYTES + 1


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n", b"HTTP/1.1 400 Bad Request\r\n"])
def test_a_peer_that_speaks_http_is_named(start: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="speaks HTTP, not the replication protocol"):
        list(FrameReader().feed(start))
