"""The meta record of a replication set: one small record that says whose it is and how it was left."""

import msgspec

from level_replicator.core.errors import FormatError, RemoteProtocolError, StorageError
from level_replicator.core.version_vector import decode_vector
from level_replicator.storage.engine.base import Engine, Reader
from level_replicator.storage.state.schema import META

FORMAT = 2
"""Of everything in the replication set. A set of another format is refused, never guessed at."""
READABLE_FORMATS = (1, FORMAT)
"""Format 1 has no re-stamped entries (core.entry.RESTAMPED). A set of it is marked with 2 when it is opened, since a
version that reads only 1 would misread them."""


NEW_ORIGIN_REQUESTED = b"to be renewed"
"""In the place of an identity: the next open goes on as a new origin that takes over the whole log of the old one."""


class Meta(msgspec.Struct, array_like=True):
    """What a replication set remembers of itself.

    identity, db_identity  of its directory and of that of the database at the last open (Engine.identity)
    boot         which start of the machine that was (storage.engine.boot_id)
    clean        closed in order, so that `keys` and `entries` are exact
    durable      a vector whose entries were all on disk when this record was synced
    changing_from  (old origin, stamp) while what `old origin` wrote after the stamp is being taken over by
                 `origin` (storage.recovery.new_origin)
    renewed      whether `origin` is not the first one of this replication set
    adopting     while the data of a LevelDB that had some is being taken over (storage.recovery.adopt)
    repairing    until log, index and database agree again (storage.recovery.repair); torn: since a power loss
    forked       while `renewing`: another node may have used the old origin for other writes with the same stamps
    traced       whether each run that wrote under `origin`, but the first one, has an epoch in its history
                 (core.epochs): not so if `origin` was made by a version without histories
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
    renewed: bool = False
    traced: bool = False
    torn: bool = False


def load_meta(rs: Reader) -> Meta | None:
    """The meta record, None in a new set. Raises FormatError for what this version did not write."""
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
    """Raises ValueError and RemoteProtocolError for numbers and a vector that nobody could have written."""
    origin, stamp = meta.changing_from or (1, 0)
    if not 0 < meta.origin < 1 << 64 or not 0 < origin < 1 << 64 or not 0 <= stamp < 1 << 64:
        raise ValueError("an origin or stamp that is none")
    decode_vector(meta.durable)
    return meta


def store_meta(rs: Engine, meta: Meta) -> None:
    """Written, and everything before it, to the disk itself. Raises StorageError."""
    rs.put(META, encode_meta(meta), sync=True)


def encode_meta(meta: Meta) -> bytes:
    return msgspec.msgpack.encode(meta)
