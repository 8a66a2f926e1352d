"""Reading of entries: from the log, or, if the log does not hold them any more, from index and database."""

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
    """An entry of the log is not as it was written."""


def read_entry(record: bytes) -> Entry:
    """Decode an entry of the log. Raise StorageError if the bytes are not those that were written."""
    try:
        return decode_entry(record)
    except RemoteProtocolError as error:
        raise StorageError(
            f"an entry of the log is damaged ({error}): run verify with repair, or restore the replica from a backup"
        ) from error


def restore_entry(rs: Reader, db: Reader, key: bytes, row: bytes) -> bytes | None:
    """Return the bytes of a row's entry: from the log, else encoded again from the value in the database. Return None
    if neither has it undamaged."""
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
    """Return the log's entry under the dot of this row, None if there is none, or it does not agree with the row."""
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
    """Return the index row for the log's entry under the dot of this row, and the entry, if that is sound and of this
    key. (Where the row is another one, the row is damaged, and not the value.)"""
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
