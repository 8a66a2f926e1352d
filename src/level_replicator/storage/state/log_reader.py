"""Read entries from the log, or, after the log was truncated, from index and database."""

from level_replicator.core.entry import (
    DELETE,
    INDEX_HEAD,
    Entry,
    decode_entry,
    encode_entry,
    encode_index,
    index_contexts,
    index_written,
)
from level_replicator.core.errors import RemoteProtocolError, StorageError
from level_replicator.storage.engine.base import Reader
from level_replicator.storage.state.schema import log_key


class DamagedEntry(StorageError):
    """An entry of the log differs from the bytes that were written."""


def read_entry(record: bytes) -> Entry:
    """Decode an entry of the log. Raises StorageError if it is damaged."""
    try:
        return decode_entry(record)
    except RemoteProtocolError as error:
        raise StorageError(
            f"an entry of the log is damaged ({error}): run verify with repair, or restore the replica from a backup"
        ) from error


def restore_entry(rs: Reader, db: Reader, key: bytes, row: bytes) -> bytes | None:
    """Return the bytes of the entry of an index row, from the log or encoded again from the value in the database.

    Returns None if both are missing or damaged."""
    stamp, _, flags, checksum = INDEX_HEAD.unpack_from(row)
    logged = logged_entry(rs, key, row)
    if logged is not None:
        return logged
    value = None if flags & DELETE else db.get(key)
    if value is None and not flags & DELETE:
        return None
    record, _, found = encode_entry(stamp, key, value, index_contexts(row)[0], index_written(row))
    return record if found == checksum else None


def logged_entry(rs: Reader, key: bytes, row: bytes) -> bytes | None:
    """Return the bytes of the log entry of an index row. Returns None if it is missing, or differs from the row."""
    stamp, origin, flags, checksum = INDEX_HEAD.unpack_from(row)
    record: bytes | None = rs.get(log_key(origin, stamp))
    if record is None:
        return None
    try:
        entry = decode_entry(record)
    except RemoteProtocolError:
        return None
    says = (entry.key, entry.stamp, entry.flags & DELETE, entry.checksum, entry.written)
    return record if says == (key, stamp, flags & DELETE, checksum, index_written(row)) else None


def row_from_log(rs: Reader, key: bytes, row: bytes) -> tuple[bytes, Entry] | None:
    """Make the index row of the log entry with the dot of this row. Return the new row and the entry.

    Returns None if the entry is missing, damaged or of another key. If the new row differs from `row`, the row was
    damaged, not the value."""
    stamp, origin, _, _ = INDEX_HEAD.unpack_from(row)
    record = rs.get(log_key(origin, stamp))
    try:
        entry = None if record is None else decode_entry(record)
    except RemoteProtocolError:
        return None
    if entry is None or (entry.key, entry.stamp) != (key, stamp):
        return None
    made = encode_index(stamp, origin, entry.flags, entry.checksum, entry.context, written=entry.written)
    return made, entry
