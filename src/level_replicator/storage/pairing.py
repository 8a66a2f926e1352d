"""Index and database beside each other, key by key."""

from collections.abc import Iterator
from zlib import crc32

from level_replicator.core.entry import DELETE, INDEX_HEAD
from level_replicator.core.keys import INDEX, following
from level_replicator.storage.engine import Reader

Pair = tuple[bytes, bytes | None, bytes | None]
"""Key, line of the index, value in the database."""


def side_by_side(rs: Reader, db: Reader) -> Iterator[Pair]:
    """All keys that either has, in their order."""
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


def agrees(line: bytes, value: bytes | None) -> bool:
    """Whether the database holds what the index says."""
    _, _, flags, checksum = INDEX_HEAD.unpack_from(line)
    if flags & DELETE:
        return value is None
    return value is not None and crc32(value) == checksum
