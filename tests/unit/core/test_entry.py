"""Decoding an entry returns a valid entry or raises RemoteProtocolError, for any bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.entry import (
    CONTEXT,
    DELETE,
    ENTRY_HEAD,
    Entry,
    decode_context,
    decode_dot,
    decode_entry,
    decode_index,
    encode_context,
    encode_dot,
    encode_entry,
    encode_index,
)
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_CONTEXT_ORIGINS, MAX_KEY_BYTES

U64 = st.integers(1, (1 << 64) - 1)
CONTEXTS = st.dictionaries(U64, U64, max_size=3)


@st.composite
def entries(draw: st.DrawFn) -> tuple[int, bytes, bytes | None, dict[int, int], bytes]:
    """Generate stamp, key, value, context and written, in which no stamp is above the preceding one."""
    stamp = draw(U64)
    written = b""
    newest = stamp
    if draw(st.booleans()):
        newest = draw(st.integers(1, stamp))
        written = encode_dot(newest, draw(U64))
    context = draw(st.dictionaries(U64, st.integers(1, newest), max_size=3))
    return stamp, draw(st.binary(max_size=20)), draw(st.none() | st.binary(max_size=20)), context, written


SAMPLES = [
    encode_entry(7, b"key", b"value")[0],
    encode_entry(7, b"key", None)[0],
    encode_entry(7, b"", b"")[0],
    encode_entry(7, b"key", b"value", encode_context({1: 2, 3: 4}))[0],
    encode_entry(7, b"key", None, encode_context({1: 2}))[0],
    encode_entry(7, b"key", b"value", b"", encode_dot(6, 5))[0],
    encode_entry(7, b"key", None, encode_context({1: 2}), encode_dot(7, 5))[0],
]


def encode_again(entry: Entry) -> bytes:
    return encode_entry(entry.stamp, entry.key, entry.value, entry.context, entry.written)[0]


@given(entries())
def test_round_trip(what: tuple[int, bytes, bytes | None, dict[int, int], bytes]) -> None:
    stamp, key, value, context, written = what
    record, flags, checksum = encode_entry(stamp, key, value, encode_context(context), written)
    entry = decode_entry(record)
    assert (entry.stamp, entry.key, entry.value, entry.record) == (stamp, key, value, record)
    assert (entry.flags, entry.checksum) == (flags, checksum)
    assert decode_context(entry.context) == context
    assert entry.written == written
    assert entry.written_dot(3) == (decode_dot(written) if written else (stamp, 3))
    assert encode_again(entry) == record


@pytest.mark.parametrize("written", [(8, 5), (0, 5), (6, 0)])
def test_a_write_above_its_dot_or_without_origin_is_refused(written: tuple[int, int]) -> None:
    for value in (b"value", None):
        with pytest.raises(RemoteProtocolError, match="carries a write"):
            decode_entry(encode_entry(7, b"key", value, b"", encode_dot(*written))[0])


@pytest.mark.parametrize(
    ("context", "written"), [({1: 8}, b""), ({1: 7}, encode_dot(6, 5)), ({0: 1}, b""), ({1: 0}, b"")]
)
def test_a_context_with_a_newer_write_is_refused(context: dict[int, int], written: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="claims to have seen"):
        decode_entry(encode_entry(7, b"key", b"value", encode_context(context), written)[0])


def test_the_bytes_of_an_entry_without_restamping_have_not_changed() -> None:
    record, _, checksum = encode_entry(7, b"key", b"value")
    assert record == bytes.fromhex("000000000000000700") + checksum.to_bytes(4, "big") + b"\0\0\0\3keyvalue"
    assert encode_index(7, 5, 0, checksum) == bytes.fromhex("0000000000000007000000000000000500") + (
        checksum.to_bytes(4, "big")
    )


@pytest.mark.parametrize("record", SAMPLES)
def test_every_truncation_is_refused(record: bytes) -> None:
    for length in range(len(record)):
        with pytest.raises(RemoteProtocolError):
            decode_entry(record[:length])


@pytest.mark.parametrize("record", SAMPLES)
def test_every_changed_byte_is_refused_or_makes_another_valid_entry(record: bytes) -> None:
    for at in range(len(record)):
        for bits in range(1, 256):
            changed = record[:at] + bytes([record[at] ^ bits]) + record[at + 1 :]
            try:
                entry = decode_entry(changed)
            except RemoteProtocolError:
                continue
            assert encode_again(entry) == changed


@given(st.binary(max_size=80))
def test_arbitrary_bytes(record: bytes) -> None:
    try:
        entry = decode_entry(record)
    except RemoteProtocolError:
        return
    assert encode_again(entry) == record


def test_a_flipped_byte_of_the_value_is_refused() -> None:
    record = bytearray(SAMPLES[0])
    record[-1] ^= 1
    with pytest.raises(RemoteProtocolError, match="checksum"):
        decode_entry(bytes(record))


def test_a_key_above_the_limit_is_refused() -> None:
    decode_entry(encode_entry(1, bytes(MAX_KEY_BYTES), b"")[0])
    with pytest.raises(RemoteProtocolError, match="key"):
        decode_entry(encode_entry(1, bytes(MAX_KEY_BYTES + 1), b"")[0])


def test_a_context_that_is_empty_or_above_the_limit_is_refused() -> None:
    empty = ENTRY_HEAD.pack(1, CONTEXT | DELETE, 0, 1) + b"k" + b"\0\0"
    count = MAX_CONTEXT_ORIGINS + 1
    endless = ENTRY_HEAD.pack(1, CONTEXT | DELETE, 0, 1) + b"k" + count.to_bytes(2, "big") + bytes(16 * count)
    for record in (empty, endless):
        with pytest.raises(RemoteProtocolError, match="context"):
            decode_entry(record)


def test_a_context_above_the_limit_leaves_out_the_oldest() -> None:
    context = {origin: origin * 10 for origin in range(1, MAX_CONTEXT_ORIGINS + 3)}
    kept = decode_context(encode_context(context))
    assert len(kept) == MAX_CONTEXT_ORIGINS
    assert 1 not in kept
    assert 2 not in kept


@given(
    U64,
    U64,
    st.booleans(),
    st.integers(0, (1 << 32) - 1),
    CONTEXTS,
    st.none() | CONTEXTS,
    st.just(b"") | st.builds(encode_dot, U64, U64),
)
def test_index_round_trip(
    stamp: int,
    origin: int,
    deleted: bool,
    checksum: int,
    context: dict[int, int],
    own: dict[int, int] | None,
    written: bytes,
) -> None:
    flags = (DELETE if deleted else 0) | CONTEXT
    own_pairs = None if own is None else encode_context(own)
    line = decode_index(encode_index(stamp, origin, flags, checksum, encode_context(context), own_pairs, written))
    assert line.written == written
    assert decode_context(line.own) == (context if own is None else own)
    assert (line.stamp, line.origin, line.deleted, line.checksum) == (stamp, origin, deleted, checksum)
    assert decode_context(line.context) == context
