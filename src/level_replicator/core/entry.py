"""Encode and decode entries and index rows. An entry has the same bytes in the log and on the wire.

    entry   stamp u64 · flags u8 · checksum u32 · key length u32 · key · [written] · [context] · value
    row     stamp u64 · origin u64 · flags u8 · checksum u32 · [written] · [[count u16 · own pairs] · union pairs]
    written stamp u64 · origin u64
    context count u16 · (origin u64 · stamp u64) × count

The origin of an entry is in its log key on disk, and once per frame on the wire. Stamp and origin together are the
entry's *dot*: its identity, which version vectors cover. *written* is the dot of the user's write that the entry
carries, and its place in the order of writes. An entry that was not re-stamped has its dot as *written*, and does not
store it.

The checksum is the CRC-32 of the value. A context maps every origin except the one of *written* to the newest
*written* stamp of this key that the writer's state reflected; a key with one writer has an empty context. No stamp of
a context is above the stamp of *written*. An index row stores the union of all contexts that were merged, which the
next local write needs. If the entry's own context differs from the union, the row stores it as well, so that the entry
can be rebuilt after it has left the log.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple
from zlib import crc32

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_CONTEXT_ORIGINS, MAX_KEY_BYTES, MAX_VALUE_BYTES

Context = dict[int, int]
Dot = tuple[int, int]
"""(stamp, origin)."""
Bytes = bytes | bytearray | memoryview

DELETE = 1
CONTEXT = 2
OWN_CONTEXT = 4
"""Only in an index row: the entry's own context precedes the union."""
RESTAMPED = 8
"""The entry's dot differs from *written*, which follows as 16 bytes."""
ROW_FLAGS = DELETE | RESTAMPED
"""The flags of an index row that are the same on every node."""
_KNOWN_FLAGS = DELETE | CONTEXT | RESTAMPED

ENTRY_HEAD = struct.Struct(">QBII")
INDEX_HEAD = struct.Struct(">QQBI")
_unpack_head, _HEAD_BYTES = ENTRY_HEAD.unpack_from, ENTRY_HEAD.size
_FLAGS_AT = 16
_COUNT = struct.Struct(">H")
_PAIR = struct.Struct(">QQ")
DOT_BYTES = _PAIR.size


def encode_dot(stamp: int, origin: int) -> bytes:
    """Return the 16 bytes of a dot. Encoded dots compare in the same order as dots."""
    return _PAIR.pack(stamp, origin)


def encode_context(context: Mapping[int, int]) -> bytes:
    """Return the pairs of a context, ordered by origin. Keeps the newest MAX_CONTEXT_ORIGINS pairs."""
    pairs = sorted(context.items())
    if len(pairs) > MAX_CONTEXT_ORIGINS:
        newest = sorted(pairs, key=lambda pair: pair[1])[-MAX_CONTEXT_ORIGINS:]
        pairs = sorted(newest)
    return b"".join(_PAIR.pack(origin, stamp) for origin, stamp in pairs)


def encode_entry(
    stamp: int, key: bytes, value: Bytes | None, context: bytes = b"", written: bytes = b""
) -> tuple[bytes, int, int]:
    """Return the bytes, the flags and the checksum of an entry.

    `value` is None for a delete. `context` comes from `encode_context`. `written` comes from `encode_dot` and is empty
    unless the entry is re-stamped."""
    flags = DELETE if value is None else 0
    checksum = 0 if value is None else crc32(value)
    body: Bytes = b"" if value is None else value
    if context or written:
        count = b""
        if context:
            flags |= CONTEXT
            count = _COUNT.pack(len(context) // _PAIR.size)
        if written:
            flags |= RESTAMPED
        head = ENTRY_HEAD.pack(stamp, flags, checksum, len(key))
        return b"".join((head, key, written, count, context, body)), flags, checksum
    return b"".join((ENTRY_HEAD.pack(stamp, flags, checksum, len(key)), key, body)), flags, checksum


class Entry(NamedTuple):
    """A decoded entry.

    value    None for a delete
    context  encoded pairs, usually empty
    record   the bytes that were decoded
    written  16 bytes, empty unless the entry was re-stamped
    """

    stamp: int
    flags: int
    checksum: int
    key: bytes
    value: bytes | None
    context: bytes
    record: bytes
    written: bytes = b""

    def written_dot(self, origin: int) -> Dot:
        """Return *written* as a dot. `origin` is the origin of this entry."""
        return decode_dot(self.written) if self.written else (self.stamp, origin)


_new = tuple.__new__  # takes a third of the time of Entry(...)


def is_sound(record: bytes) -> bool:
    """Return True if `decode_entry` would accept the record. Does not build an Entry in the common case."""
    try:
        _, flags, checksum, key_length = _unpack_head(record)
    except struct.error:
        return False
    if flags == 0:
        start = _HEAD_BYTES + key_length
        return start <= len(record) and bool(crc32(record[start:]) == checksum)
    try:
        decode_entry(record)
    except RemoteProtocolError:
        return False
    return True


def decode_entry(record: bytes, *, valueless: bool = False) -> Entry:
    """Decode and validate an entry.

    With `valueless` the record is a put that was sent without its value; the checksum is still that of the value.
    Raises RemoteProtocolError if the record is truncated, violates a limit, or does not match its checksum."""
    try:
        stamp, flags, checksum, key_length = _unpack_head(record)
        if not flags and not valueless:  # the common case: a put without context
            start = _HEAD_BYTES + key_length
            value = record[start:]
            whole = start + len(value) == len(record) and key_length <= MAX_KEY_BYTES and len(value) <= MAX_VALUE_BYTES
            if whole and crc32(value) == checksum:
                return _new(Entry, (stamp, 0, checksum, record[_HEAD_BYTES:start], value, b"", record, b""))
        if key_length > MAX_KEY_BYTES:
            raise RemoteProtocolError(f"the key of an entry has {key_length} bytes; the limit is {MAX_KEY_BYTES}")
        start = ENTRY_HEAD.size + key_length
        if start > len(record):
            raise RemoteProtocolError("an entry is cut off within its key")
        key = record[ENTRY_HEAD.size : start]
        context = written = b""
        if flags:
            if flags & ~_KNOWN_FLAGS:
                raise RemoteProtocolError(f"an entry has unknown flags {flags:#x}")
            newest = stamp
            if flags & RESTAMPED:
                written = record[start : start + DOT_BYTES]
                start += DOT_BYTES
                newest, _ = require_written(written, stamp)
            if flags & CONTEXT:
                (count,) = _COUNT.unpack_from(record, start)
                start += _COUNT.size
                context = record[start : start + count * _PAIR.size]
                start += count * _PAIR.size
                if not count or count > MAX_CONTEXT_ORIGINS or start > len(record):
                    raise RemoteProtocolError("the context of an entry is empty, too long or cut off")
                require_context(context, newest)
            if flags & DELETE:
                if start != len(record) or checksum or valueless:
                    raise RemoteProtocolError(
                        "a delete has a value or a checksum, or is marked as having its value omitted"
                    )
                return Entry(stamp, flags, checksum, key, None, context, record, written)
    except struct.error as error:
        raise RemoteProtocolError(f"an entry of {len(record)} bytes is cut off") from error
    value = record[start:]
    if valueless:
        if value:
            raise RemoteProtocolError("an entry whose value should be omitted has a value")
        return Entry(stamp, flags, checksum, key, value, context, record, written)
    if len(value) > MAX_VALUE_BYTES:
        raise RemoteProtocolError(f"the value of an entry has {len(value)} bytes; the limit is {MAX_VALUE_BYTES}")
    if crc32(value) != checksum:
        raise RemoteProtocolError("the value of an entry does not match its checksum")
    return Entry(stamp, flags, checksum, key, value, context, record, written)


def require_written(written: bytes, stamp: int) -> Dot:
    """Validate the *written* of an entry or index row with the stamp `stamp`, and return it as a dot.

    Raises RemoteProtocolError if it is truncated, or newer than `stamp`: re-stamping always makes a dot newer."""
    if len(written) != DOT_BYTES:
        raise RemoteProtocolError("an entry is cut off within its written dot")
    dot = decode_dot(written)
    if not 0 < dot[0] <= stamp or not dot[1]:
        raise RemoteProtocolError(
            f"an entry of stamp {stamp} carries a write of stamp {dot[0]} and origin {dot[1]};"
            " expected an origin other than 0, and a stamp above 0 and not above that of the entry"
        )
    return dot


def require_context(pairs: bytes, newest: int) -> None:
    """Validate the pairs of a context. `newest` is the stamp of the *written* that the context belongs to.

    A write cannot have seen a newer write, and a stamp that no vector ever reaches would keep its tombstone for ever.
    Raises RemoteProtocolError for an origin of 0, or a stamp outside 1..newest."""
    for origin, stamp in _PAIR.iter_unpack(pairs):
        if not origin or not 0 < stamp <= newest:
            raise RemoteProtocolError(f"a write of stamp {newest} claims to have seen stamp {stamp} of origin {origin}")


def encode_index(
    stamp: int,
    origin: int,
    flags: int,
    checksum: int,
    union: bytes = b"",
    own: bytes | None = None,
    written: bytes = b"",
) -> bytes:
    """Return the bytes of an index row. `own` is the entry's own context; None means that it equals the union."""
    flags &= DELETE
    if written:
        flags |= RESTAMPED
    if own is None or own == union:
        return INDEX_HEAD.pack(stamp, origin, flags, checksum) + written + union
    head = INDEX_HEAD.pack(stamp, origin, flags | OWN_CONTEXT, checksum)
    return b"".join((head, written, _COUNT.pack(len(own) // _PAIR.size), own, union))


def index_contexts(row: bytes) -> tuple[bytes, bytes]:
    """Return the contexts (own, union) of an index row. Raises struct.error if the row is truncated."""
    flags = row[_FLAGS_AT]
    head = INDEX_HEAD.size + DOT_BYTES if flags & RESTAMPED else INDEX_HEAD.size
    if len(row) < head:
        raise struct.error("an index row is cut off")
    rest = row[head:]
    start = end = 0
    if flags & OWN_CONTEXT:
        (count,) = _COUNT.unpack_from(rest)
        start, end = _COUNT.size, _COUNT.size + count * _PAIR.size
    if end > len(rest) or (len(rest) - start) % _PAIR.size:
        raise struct.error("the contexts of an index row are cut off")
    return (rest[start:end], rest[end:]) if end else (rest, rest)


def index_written(row: bytes) -> bytes:
    """Return the *written* of an index row as 16 bytes; empty unless its entry was re-stamped."""
    if not row[_FLAGS_AT] & RESTAMPED:
        return b""
    return row[INDEX_HEAD.size : INDEX_HEAD.size + DOT_BYTES]


class IndexRow(NamedTuple):
    """A decoded index row: the newest entry of a key, without key and value.

    context  union of all contexts that were merged
    own      context of the entry itself
    written  16 bytes, empty unless the entry was re-stamped
    """

    stamp: int
    origin: int
    flags: int
    checksum: int
    context: bytes
    own: bytes
    written: bytes = b""

    @property
    def deleted(self) -> bool:
        return bool(self.flags & DELETE)

    @property
    def dot(self) -> Dot:
        return self.stamp, self.origin

    @property
    def written_dot(self) -> Dot:
        """*written* as a dot."""
        return decode_dot(self.written) if self.written else (self.stamp, self.origin)


def decode_index(row: bytes) -> IndexRow:
    """Decode an index row. Raises struct.error if it is truncated."""
    stamp, origin, flags, checksum = INDEX_HEAD.unpack_from(row)
    own, union = index_contexts(row)
    return IndexRow(stamp, origin, flags & DELETE, checksum, union, own, index_written(row))


def decode_context(pairs: bytes) -> Context:
    return dict(_PAIR.iter_unpack(pairs))


def decode_dot(written: bytes) -> Dot:
    stamp, origin = _PAIR.unpack(written)
    return stamp, origin
