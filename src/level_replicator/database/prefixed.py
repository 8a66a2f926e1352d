"""A view of the keys that begin with a prefix, without it."""

from typing import Any, Generic, Protocol, TypeVar, Unpack

from level_replicator.database.arguments import Bytes, refuse_argument
from level_replicator.database.batch import WriteBatch
from level_replicator.database.iterators import IteratorOptions, ReadOptions

_I = TypeVar("_I")
_S = TypeVar("_S")
_I_co = TypeVar("_I_co", covariant=True)
_S_co = TypeVar("_S_co", covariant=True)


class Prefixable(Protocol[_I_co, _S_co]):
    """A replica, or a client of one."""

    def get(
        self, key: bytes, default: Any = None, *, verify_checksums: bool = False, fill_cache: bool = True
    ) -> Any: ...

    def put(self, key: bytes, value: Bytes, *, sync: bool | None = None) -> None: ...

    def delete(self, key: bytes, *, sync: bool | None = None) -> None: ...

    def _batch(self, prefix: bytes, transaction: bool, sync: bool | None) -> WriteBatch: ...

    def _prefixed_iterator(self, prefix: bytes, options: IteratorOptions) -> _I_co: ...

    def _prefixed_snapshot(self, prefix: bytes) -> _S_co: ...


_D = TypeVar("_D", bound=Prefixable[Any, Any])


class PrefixedDB(Generic[_D, _I, _S]):
    """plyvel's PrefixedDB. Closed together with its database, `db`."""

    __slots__ = ("_db", "_prefix")

    def __init__(self, *, db: _D, prefix: bytes) -> None:
        if type(prefix) is not bytes:
            refuse_argument("prefix", "bytes", prefix)
        self._db = db
        self._prefix = prefix

    @property
    def db(self) -> _D:
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

    def __iter__(self) -> _I:
        return self.iterator()

    def iterator(self, **options: Unpack[IteratorOptions]) -> _I:
        found: _I = self._db._prefixed_iterator(self._prefix, options)
        return found

    def snapshot(self) -> _S:
        taken: _S = self._db._prefixed_snapshot(self._prefix)
        return taken

    def prefixed_db(self, prefix: bytes) -> "PrefixedDB[_D, _I, _S]":
        if type(prefix) is not bytes:
            refuse_argument("prefix", "bytes", prefix)
        return PrefixedDB(db=self._db, prefix=self._prefix + prefix)
