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
"""Takes the place of an identity: the next open begins a new origin that takes over the whole log of the old one."""


class Meta(msgspec.Struct, array_like=True):
    """The meta record. On the disk it is an array: fields are only added, at the end, and with a default.

    identity, db_identity  identities of its directory and of the database's directory at the last open
                 (Engine.identity)
    boot         the start of the machine in which it was open last (storage.engine.boot_id)
    clean        it was closed in order, so that `keys` and `entries` are exact
    durable      an encoded vector: its entries were all on the disk when this record was synced
    changing_from  (old origin, stamp) while the writes of `old origin` after the stamp are being taken over by
                 `origin` (storage.recovery.new_origin)
    origin_changed  `origin` is not the first origin of this replication set
    adopting     the data of a LevelDB that had some is being taken over (storage.recovery.adopt)
    repairing    log, index and database may disagree until they are repaired (storage.recovery.repair_log); torn: since
                 a power loss
    forked       during an origin change: another node may have used the old origin for other writes with the same
                 stamps
    traced       each run that wrote under `origin`, except the first one, has an epoch in its history (core.epochs).
                 False if a version without histories made `origin`
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
"""Before a replication set is opened. It is never written."""


def load_meta(rs: Reader) -> Meta | None:
    """Read the meta record. Return None for a new set. Raise FormatError for a format that this version does not know,
    StorageError for a damaged record."""
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
    """Raise ValueError or RemoteProtocolError for numbers and a vector that no version writes."""
    origin, stamp = meta.changing_from or (1, 0)
    if not 0 < meta.origin < 1 << 64 or not 0 < origin < 1 << 64 or not 0 <= stamp < 1 << 64:
        raise ValueError("an origin or a stamp is out of range")
    decode_vector(meta.durable)
    return meta


def store_meta(rs: Engine, meta: Meta) -> None:
    """Write the record of a replication set that no replica has open, and bring it to the disk. Raise StorageError."""
    rs.put(META, encode_meta(meta), sync=True)


def encode_meta(meta: Meta) -> bytes:
    return msgspec.msgpack.encode(meta)
