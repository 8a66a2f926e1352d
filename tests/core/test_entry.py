"""An entry's bytes: whole and sound, or a RemoteProtocolError; nothing else, whatever arrives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.entry import (
    CONTEXT,
    DELETE,
    ENTRY_HEAD,
    Entry,
    decode_context,
    decode_entry,
    decode_index,
    encode_context,
    encode_entry,
    encode_index,
)
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_CONTEXT_ORIGINS, MAX_KEY_BYTES

U64 = st.integers(1, (1 << 64) - 1)
CONTEXTS = st.dictionaries(U64, U64, max_size=3)
ENTRIES = st.tuples(U64, st.binary(max_size=20), st.none() | st.binary(max_size=20), CONTEXTS)
SAMPLES = [
    encode_entry(7, b"key", b"value")[0],
    encode_entry(7, b"key", None)[0],
    encode_entry(7, b"", b"")[0],
    encode_entry(7, b"key", b"value", encode_context({1: 2, 3: 4}))[0],
    encode_entry(7, b"key", None, encode_context({1: 2}))[0],
]


def encode_again(entry: Entry) -> bytes:
    return encode_entry(entry.stamp, entry.key, entry.value, entry.context)[0]


@given(ENTRIES)
def test_round_trip(what: tuple[int, bytes, bytes | None, dict[int, int]]) -> None:
    stamp, key, value, context = what
    record, flags, checksum = encode_entry(stamp, key, value, encode_context(context))
    entry = decode_entry(record)
    assert (entry.stamp, entry.key, entry.value, entry.record) == (stamp, key, value, record)
    assert (entry.flags, entry.checksum) == (flags, checksum)
    assert decode_context(entry.context) == context
    assert encode_again(entry) == record


@pytest.mark.parametrize("record", SAMPLES)
def test_every_truncation_is_refused(record: bytes) -> None:
    for length in range(len(record)):
        with pytest.raises(RemoteProtocolError):
            decode_entry(record[:length])


@pytest.mark.parametrize("record", SAMPLES)
def test_every_changed_byte_is_refused_or_makes_another_sound_entry(record: bytes) -> None:
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


@given(U64, U64, st.booleans(), st.integers(0, (1 << 32) - 1), CONTEXTS)
def test_index_round_trip(stamp: int, origin: int, deleted: bool, checksum: int, context: dict[int, int]) -> None:
    flags = (DELETE if deleted else 0) | CONTEXT
    line = decode_index(encode_index(stamp, origin, flags, checksum, encode_context(context)))
    assert (line.stamp, line.origin, line.deleted, line.checksum) == (stamp, origin, deleted, checksum)
    assert decode_context(line.context) == context
