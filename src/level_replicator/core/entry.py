"""The bytes of an entry, in the log and on the wire the same, and of a key's line in the index.

    entry   stamp u64 · flags u8 · checksum u32 · key length u32 · key · [context] · value
    index   stamp u64 · origin u64 · flags u8 · checksum u32 · [[count u16 · own pairs] · union pairs]
    context count u16 · (origin u64 · stamp u64) × count

The origin of an entry is told by its log key, and once a frame on the wire. The checksum is the
CRC-32 of the value. A context says, for every other origin, the newest stamp of this key that the
writer's state reflected; a key with one writer has none. The index holds the union of all that was merged, for the
next write here, and, where that is not the same, the entry's own context, for the day that it leaves the log.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple
from zlib import crc32

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_CONTEXT_ORIGINS, MAX_KEY_BYTES, MAX_VALUE_BYTES

Context = dict[int, int]
Bytes = bytes | bytearray | memoryview

DELETE = 1
CONTEXT = 2
OWN_CONTEXT = 4
"""In the index only: the entry's own context stands before the union."""
_KNOWN_FLAGS = DELETE | CONTEXT

ENTRY_HEAD = struct.Struct(">QBII")
INDEX_HEAD = struct.Struct(">QQBI")
_unpack_head, _HEAD_BYTES = ENTRY_HEAD.unpack_from, ENTRY_HEAD.size
_FLAGS_AT = 16
_COUNT = struct.Struct(">H")
_PAIR = struct.Struct(">QQ")


def encode_context(context: Mapping[int, int]) -> bytes:
    """The pairs of a context, in order of origin; above the limit the oldest are left out."""
    pairs = sorted(context.items())
    if len(pairs) > MAX_CONTEXT_ORIGINS:
        newest = sorted(pairs, key=lambda pair: pair[1])[-MAX_CONTEXT_ORIGINS:]
        pairs = sorted(newest)
    return b"".join(_PAIR.pack(origin, stamp) for origin, stamp in pairs)


def encode_entry(stamp: int, key: bytes, value: Bytes | None, context: bytes = b"") -> tuple[bytes, int, int]:
    """An entry's bytes, its flags and its checksum. `value` None is a delete; `context` is of `encode_context`."""
    flags = DELETE if value is None else 0
    checksum = 0 if value is None else crc32(value)
    body: Bytes = b"" if value is None else value
    if context:
        flags |= CONTEXT
        head = ENTRY_HEAD.pack(stamp, flags, checksum, len(key))
        count = _COUNT.pack(len(context) // _PAIR.size)
        return b"".join((head, key, count, context, body)), flags, checksum
    return b"".join((ENTRY_HEAD.pack(stamp, flags, checksum, len(key)), key, body)), flags, checksum


class Entry(NamedTuple):
    """One entry, taken apart. `value` is None for a delete; `context` its pairs as bytes, mostly none."""

    stamp: int
    flags: int
    checksum: int
    key: bytes
    value: bytes | None
    context: bytes
    record: bytes


_new = tuple.__new__  # a third of what Entry(...) costs


def is_sound(record: bytes) -> bool:
    """Whether an entry matches its checksum: what `decode_entry` would find, at a fraction of its cost."""
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
    """Takes an entry apart and checks it. Raises RemoteProtocolError when it is not whole and sound.

    `valueless`: of a put whose value was left out, though the checksum is that of the value."""
    try:
        stamp, flags, checksum, key_length = _unpack_head(record)
        if not flags and not valueless:  # nearly all of them
            start = _HEAD_BYTES + key_length
            value = record[start:]
            whole = start + len(value) == len(record) and key_length <= MAX_KEY_BYTES and len(value) <= MAX_VALUE_BYTES
            if whole and crc32(value) == checksum:
                return _new(Entry, (stamp, 0, checksum, record[_HEAD_BYTES:start], value, b"", record))
        if key_length > MAX_KEY_BYTES:
            raise RemoteProtocolError(f"an entry's key of {key_length} bytes is above the limit")
        start = ENTRY_HEAD.size + key_length
        if start > len(record):
            raise RemoteProtocolError("an entry ends within its key")
        key = record[ENTRY_HEAD.size : start]
        context = b""
        if flags:
            if flags & ~_KNOWN_FLAGS:
                raise RemoteProtocolError(f"an entry has unknown flags {flags:#x}")
            if flags & CONTEXT:
                (count,) = _COUNT.unpack_from(record, start)
                start += _COUNT.size
                context = record[start : start + count * _PAIR.size]
                start += count * _PAIR.size
                if not count or count > MAX_CONTEXT_ORIGINS or start > len(record):
                    raise RemoteProtocolError("an entry's context is empty, too long or cut off")
            if flags & DELETE:
                if start != len(record) or checksum or valueless:
                    raise RemoteProtocolError("a delete carries a value, or is said to have one")
                return Entry(stamp, flags, checksum, key, None, context, record)
    except struct.error as error:
        raise RemoteProtocolError(f"an entry of {len(record)} bytes is cut off") from error
    value = record[start:]
    if valueless:
        if value:
            raise RemoteProtocolError("an entry has the value that was to be left out")
        return Entry(stamp, flags, checksum, key, value, context, record)
    if len(value) > MAX_VALUE_BYTES:
        raise RemoteProtocolError(f"an entry's value of {len(value)} bytes is above the limit")
    if crc32(value) != checksum:
        raise RemoteProtocolError("an entry's value does not match its checksum")
    return Entry(stamp, flags, checksum, key, value, context, record)


def encode_index(
    stamp: int, origin: int, flags: int, checksum: int, union: bytes = b"", own: bytes | None = None
) -> bytes:
    """A line of the index. `own`: the entry's own context, if it is not the union."""
    if own is None or own == union:
        return INDEX_HEAD.pack(stamp, origin, flags & DELETE, checksum) + union
    head = INDEX_HEAD.pack(stamp, origin, flags & DELETE | OWN_CONTEXT, checksum)
    return b"".join((head, _COUNT.pack(len(own) // _PAIR.size), own, union))


def index_contexts(line: bytes) -> tuple[bytes, bytes]:
    """(own, union) of a line of the index. Raises struct.error for pairs that are not whole."""
    rest = line[INDEX_HEAD.size :]
    start = end = 0
    if line[_FLAGS_AT] & OWN_CONTEXT:
        (count,) = _COUNT.unpack_from(rest)
        start, end = _COUNT.size, _COUNT.size + count * _PAIR.size
    if end > len(rest) or (len(rest) - start) % _PAIR.size:
        raise struct.error("the contexts of a line of the index are not whole")
    return (rest[start:end], rest[end:]) if end else (rest, rest)


class IndexLine(NamedTuple):
    """What the index holds of a key. `context` is the union of what was merged, `own` the entry's."""

    stamp: int
    origin: int
    flags: int
    checksum: int
    context: bytes
    own: bytes

    @property
    def deleted(self) -> bool:
        return bool(self.flags & DELETE)


def decode_index(line: bytes) -> IndexLine:
    stamp, origin, flags, checksum = INDEX_HEAD.unpack_from(line)
    own, union = index_contexts(line)
    return IndexLine(stamp, origin, flags & DELETE, checksum, union, own)


def decode_context(pairs: bytes) -> Context:
    return dict(_PAIR.iter_unpack(pairs))
