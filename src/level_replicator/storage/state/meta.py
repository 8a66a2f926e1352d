"""The meta record of a replication set: the identity of its owner, and the state in which it was left."""

import msgspec

from level_replicator.core.errors import FormatError, RemoteProtocolError, StorageError
from level_replicator.core.version_vector import decode_vector
from level_replicator.storage.engine.base import Engine, Reader
from level_replicator.storage.state.schema import META

FORMAT = 2
"""Version of all records of the replication set. A set of another format is refused, never guessed at."""
READABLE_FORMATS = (1, FORMAT)
"""Format 1 has no re-stamped entries (core.entry.RESTAMPED). A set of it is marked with 2 when it is opened, since a
version that reads only 1 would misread them."""

NEW_ORIGIN_REQUESTED = b"to be renewed"
"""Stored in place of an identity, it makes the next open begin a new origin that takes over the log of the old one."""


class Meta(msgspec.Struct, array_like=True):
    """The meta record. On the disk it is an array: fields are only added, at the end, and with a default.

    identity     identity of the directory of the replication set at the last open (Engine.identity)
    db_identity  identity of the directory of the database at the last open
    boot         id of the boot of the machine at the last open (storage.engine.boot_id)
    clean        True after an orderly close; then `keys` and `entries` are exact
    durable      an encoded vector, all of whose entries were on the disk when this record was synced
    changing_from  (old origin, stamp) during an origin change: the writes of the old origin above the stamp are being
                 taken over by `origin` (storage.recovery.new_origin)
    origin_changed  True if `origin` is not the first origin of this replication set
    adopting     True while existing data of the database is being adopted (storage.recovery.adopt)
    repairing    True while log, index and database may disagree, until they are repaired (storage.recovery.repair_log)
    torn         True if `repairing` has its cause in a power loss
    forked       during an origin change, True if another node may have used the old origin for other writes with the
                 same stamps
    traced       True if each run that wrote under `origin`, except the first one, has an epoch in its history
                 (core.epochs). False if a version without histories made `origin`
    """

    format: int
    origin: int
    identity: bytes
    boot: bytes
    clean: bool
    keys: int
    entries: int
    durable: bytes
    changing_from: tuple[int, int] | None = None
    repairing: bool = False
    db_identity: bytes = b""
    adopting: bool = False
    forked: bool = False
    origin_changed: bool = False
    traced: bool = False
    torn: bool = False


NO_META = Meta(FORMAT, 0, b"", b"", False, 0, 0, b"")
"""The value before a replication set is opened. It is never written."""


def load_meta(rs: Reader) -> Meta | None:
    """Read the meta record. Return None for a new replication set.

    Raises FormatError for a format that this version does not know, StorageError for a damaged record."""
    data = rs.get(META)
    if data is None:
        return None
    try:
        version = msgspec.msgpack.decode(data)[0]
        if version in READABLE_FORMATS:
            meta = _checked(msgspec.msgpack.decode(data, type=Meta))
            meta.format = FORMAT
            return meta
    except (msgspec.MsgspecError, ValueError, TypeError, LookupError, RecursionError, RemoteProtocolError) as error:
        raise StorageError(
            "the meta record of the replication set cannot be read: restore it from a backup, or begin a new one"
        ) from error
    raise FormatError(
        f"the replication set has format {version}, this version reads up to {FORMAT}: use the version that wrote it"
    )


def _checked(meta: Meta) -> Meta:
    """Return the record. Raises ValueError or RemoteProtocolError if its numbers or its vector are out of range."""
    origin, stamp = meta.changing_from or (1, 0)
    if not 0 < meta.origin < 1 << 64 or not 0 < origin < 1 << 64 or not 0 <= stamp < 1 << 64:
        raise ValueError("an origin or a stamp is out of range")
    decode_vector(meta.durable)
    return meta


def store_meta(rs: Engine, meta: Meta) -> None:
    """Write and sync the record of a replication set that no replica has open. Raises StorageError."""
    rs.put(META, encode_meta(meta), sync=True)


def encode_meta(meta: Meta) -> bytes:
    return msgspec.msgpack.encode(meta)
