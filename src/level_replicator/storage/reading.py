"""Entries of our own log, read back."""

from level_replicator.core.entry import Entry, decode_entry
from level_replicator.core.errors import RemoteProtocolError, StorageError


class DamagedEntry(StorageError):
    """The log of this origin holds something at this stamp that is not the entry that was written."""


def read_entry(record: bytes) -> Entry:
    """Raises StorageError when the bytes are not those that were written."""
    try:
        return decode_entry(record)
    except RemoteProtocolError as error:
        raise StorageError(
            f"an entry of the log is damaged ({error}): run verify with repair, or restore the replica from a backup"
        ) from error
