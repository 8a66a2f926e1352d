"""A view of the keys that begin with a prefix, without it."""

from typing import TYPE_CHECKING, Any, Unpack

from level_replicator.face.batch import WriteBatch
from level_replicator.face.reading import Iterator, IteratorOptions, ReadOptions, Snapshot
from level_replicator.face.writing import Bytes, refuse_argument

if TYPE_CHECKING:
    from level_replicator.face.database import Database


class PrefixedDB:
    """plyvel's PrefixedDB. Closed together with its database, `db`."""

    __slots__ = ("_db", "_prefix", "_raw")

    def __init__(self, *, db: "Database", prefix: bytes) -> None:
        if type(prefix) is not bytes:
            refuse_argument("prefix", "bytes", prefix)
        self._db = db
        self._prefix = prefix
        self._raw = db._db.prefixed_db(prefix)

    @property
    def db(self) -> "Database":
        return self._db

    @property
    def prefix(self) -> bytes:
        return self._prefix

    def __repr__(self) -> str:
        return f"<level_replicator.PrefixedDB with prefix {self._prefix!r} at {id(self):#x}>"

    def get(self, key: bytes, default: Any = None, **options: Unpack[ReadOptions]) -> Any:
        if type(key) is not bytes:
            refuse_argument("key", "bytes", key)
        return self._db.get(self._prefix + key, default, **options)

    def put(self, key: bytes, value: Bytes, *, sync: bool | None = None) -> None:
        if type(key) is not bytes:
            refuse_argument("key", "bytes", key)
        self._db.put(self._prefix + key, value, sync=sync)

    def delete(self, key: bytes, *, sync: bool | None = None) -> None:
        if type(key) is not bytes:
            refuse_argument("key", "bytes", key)
        self._db.delete(self._prefix + key, sync=sync)

    def write_batch(self, *, transaction: bool = False, sync: bool | None = None) -> WriteBatch:
        return self._db._batch(self._prefix, transaction, sync)

    def __iter__(self) -> Iterator:
        return self.iterator()

    def iterator(self, **options: Unpack[IteratorOptions]) -> Iterator:
        gate = self._db._gate
        return gate.call(Iterator, gate, lambda: self._raw.iterator(**options))

    def snapshot(self) -> Snapshot:
        gate = self._db._gate
        return gate.call(Snapshot, gate, self._raw.snapshot)

    def prefixed_db(self, prefix: bytes) -> "PrefixedDB":
        if type(prefix) is not bytes:
            refuse_argument("prefix", "bytes", prefix)
        return PrefixedDB(db=self._db, prefix=self._prefix + prefix)
