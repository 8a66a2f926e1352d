"""Scans of the index: of a range of its rows, or of index and database side by side, key by key."""

from collections.abc import Iterator
from itertools import islice
from zlib import crc32

from level_replicator.core.entry import CONTEXT, DELETE, INDEX_HEAD, ROW_FLAGS, index_contexts, index_written
from level_replicator.core.reconcile_rules import ROW_HEAD_BYTES
from level_replicator.storage.engine.base import Reader
from level_replicator.storage.state.schema import INDEX, following

Pair = tuple[bytes, bytes | None, bytes | None]
"""Key, index row, value in the database."""


def side_by_side(rs: Reader, db: Reader) -> Iterator[Pair]:
    """Iterate over all keys of index and database, in order."""
    index = rs.scan(INDEX, following(INDEX))
    database = db.scan()
    left, right = next(index, None), next(database, None)
    while left is not None:
        key = left[0][len(INDEX) :]
        if right is None or key < right[0]:
            yield key, left[1], None
            left = next(index, None)
        elif right[0] < key:
            yield right[0], None, right[1]
            right = next(database, None)
        else:
            yield key, left[1], right[1]
            left, right = next(index, None), next(database, None)
    if right is not None:
        yield right[0], None, right[1]
    for key, value in database:
        yield key, None, value


def agrees(row: bytes, value: bytes | None) -> bool:
    """Return True if `value`, from the database, is the value that the index row describes."""
    _, _, flags, checksum = INDEX_HEAD.unpack_from(row)
    if flags & DELETE:
        return value is None
    return value is not None and crc32(value) == checksum


KeyAndRow = tuple[bytes, bytes]


def index_range(low: bytes, high: bytes) -> tuple[bytes, bytes]:
    """Return the bounds for Reader.scan of the index rows in [low, high). An empty `high` means the end."""
    return INDEX + low, INDEX + high if high else following(INDEX)


def rows_of(rs: Reader, low: bytes, high: bytes) -> Iterator[KeyAndRow]:
    """Iterate over (key with INDEX prefix, row) in [low, high), in order."""
    return rs.scan(*index_range(low, high))


def take(rows: Iterator[KeyAndRow], most: int) -> tuple[list[bytes], list[bytes]]:
    """Return the next `most` rows, or fewer at the end, as (keys with INDEX prefix, heads)."""
    return heads_of(list(islice(rows, most)))


def heads_of(pairs: list[KeyAndRow]) -> tuple[list[bytes], list[bytes]]:
    """Return the rows as (keys with INDEX prefix, heads)."""
    return [key for key, _ in pairs], [row if len(row) == ROW_HEAD_BYTES else head_of(row) for _, row in pairs]


def head_of(row: bytes) -> bytes:
    """Return the part of an index row that is equal on all nodes.

    Leaves out the contexts, which may differ, and *written*, which the dot determines."""
    stamp, origin, flags, checksum = INDEX_HEAD.unpack_from(row)
    return INDEX_HEAD.pack(stamp, origin, flags & ROW_FLAGS, checksum)


def row_of(row: bytes) -> bytes:
    """Return an index row as it is sent to a peer: without contexts, but with a flag if it has one."""
    if len(row) == ROW_HEAD_BYTES:
        return row
    stamp, origin, flags, checksum = INDEX_HEAD.unpack_from(row)
    has_context = CONTEXT if index_contexts(row)[1] else 0
    return INDEX_HEAD.pack(stamp, origin, flags & ROW_FLAGS | has_context, checksum) + index_written(row)
