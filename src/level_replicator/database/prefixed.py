"""A view of the keys that begin with a prefix, which it leaves out of them."""

from typing import Any, Generic, Protocol, TypeVar, Unpack

from level_replicator.database.arguments import Bytes, check_bytes
from level_replicator.database.batch import WriteBatch
from level_replicator.database.items import ReadableItems, WritableItems
from level_replicator.database.iterators import IteratorOptions

_I = TypeVar("_I")
_S = TypeVar("_S")
_I_co = TypeVar("_I_co", covariant=True)
_S_co = TypeVar("_S_co", covariant=True)


class Prefixable(Protocol[_I_co, _S_co]):
    """What a PrefixedDB needs of its database: a replica, or a client of one."""

    def get(
        self, key: bytes, default: Any = None, *, verify_checksums: bool = False, fill_cache: bool = True
    ) -> Any: ...

    def put(self, key: bytes, value: Bytes, *, sync: bool | None = None) -> None: ...

    def delete(self, key: bytes, *, sync: bool | None = None) -> None: ...

    def _batch(self, prefix: bytes, transaction: bool, sync: bool | None) -> WriteBatch: ...

    def _prefixed_iterator(self, prefix: bytes, options: IteratorOptions) -> _I_co: ...

    def _prefixed_snapshot(self, prefix: bytes) -> _S_co: ...


_V = TypeVar("_V")
_D = TypeVar("_D", bound=Prefixable[Any, Any])


class PrefixView(Generic[_V]):
    """A database and a prefix. Shared by the synchronous and the asyncio PrefixedDB."""

    __slots__ = ("_db", "_prefix")

    def __init__(self, *, db: _V, prefix: bytes) -> None:
        self._db = db
        self._prefix = check_bytes("prefix", prefix)

    @property
    def db(self) -> _V:
        """The database."""
        return self._db

    @property
    def prefix(self) -> bytes:
        """The prefix of all keys, within the whole database."""
        return self._prefix

    def __repr__(self) -> str:
        return f"<level_replicator.{type(self).__name__} with prefix {self._prefix!r} at {id(self):#x}>"

    def _with_prefix(self, key: bytes) -> bytes:
        """Return a key as the whole database has it. Raises TypeError for a key that is not bytes."""
        return self._prefix + check_bytes("key", key)

    def _longer(self, prefix: bytes) -> bytes:
        """Return the prefix of a view of this view. Raises TypeError for a prefix that is not bytes."""
        return self._prefix + check_bytes("prefix", prefix)


class PrefixedDB(PrefixView[_D], ReadableItems, WritableItems, Generic[_D, _I, _S]):
    """plyvel's PrefixedDB. Closed together with its database, `db`."""

    __slots__ = ()

    def get(self, key: bytes, default: Any = None, *, verify_checksums: bool = False, fill_cache: bool = True) -> Any:
        """Return the value of `prefix` + `key`, `default` if it is missing. Raises what the database's `get` raises."""
        return self._db.get(self._with_prefix(key), default, verify_checksums=verify_checksums, fill_cache=fill_cache)

    def put(self, key: bytes, value: Bytes, *, sync: bool | None = None) -> None:
        """Set the value of `prefix` + `key`. Raises what the database's `put` raises."""
        self._db.put(self._with_prefix(key), value, sync=sync)

    def delete(self, key: bytes, *, sync: bool | None = None) -> None:
        """Delete `prefix` + `key`, which may be missing. Raises what the database's `delete` raises."""
        self._db.delete(self._with_prefix(key), sync=sync)

    def write_batch(self, *, transaction: bool = False, sync: bool | None = None) -> WriteBatch:
        """Return an empty batch whose keys get the prefix. The arguments are those of the database's `write_batch`."""
        return self._db._batch(self._prefix, transaction, sync)

    def __iter__(self) -> _I:
        return self.iterator()

    def iterator(self, **options: Unpack[IteratorOptions]) -> _I:
        """Return an iterator over the keys with the prefix, which it leaves out; bounds are without it too."""
        found: _I = self._db._prefixed_iterator(self._prefix, options)
        return found

    def snapshot(self) -> _S:
        """Return a snapshot of the keys with the prefix, which it leaves out of them."""
        taken: _S = self._db._prefixed_snapshot(self._prefix)
        return taken

    def prefixed_db(self, prefix: bytes) -> "PrefixedDB[_D, _I, _S]":
        """Return a view whose prefix is this one followed by `prefix`. Raises TypeError for one that is not bytes."""
        return PrefixedDB(db=self._db, prefix=self._longer(prefix))
