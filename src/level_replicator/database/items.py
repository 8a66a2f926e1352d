"""Python's operators for the items of a mapping: `key in db`, `db[key]`, `db[key] = value` and `del db[key]`.

Without `__contains__` the operator `in` would search the (key, value) pairs of the iterator, and so never find a key.
"""

from typing import Any, NoReturn

from level_replicator.database.arguments import Bytes


class ReadableItems:
    """The operators that read, for classes with a plyvel `get`."""

    __slots__ = ()

    def get(self, key: bytes, default: Any = None, *, verify_checksums: bool = False, fill_cache: bool = True) -> Any:
        raise NotImplementedError

    def __contains__(self, key: bytes) -> bool:
        """Return whether the key exists. Raises TypeError for a key that is not bytes, and the errors of `get`."""
        return self.get(key) is not None

    def __getitem__(self, key: bytes) -> bytes:
        """Return the value of a key.

        Raises KeyError if the key is missing, TypeError for a key that is not bytes, and the errors of `get`."""
        value: bytes | None = self.get(key)
        if value is None:
            raise KeyError(key)
        return value


class WritableItems:
    """The operators that write, for classes with the `put` and `delete` of a plyvel database or batch."""

    __slots__ = ()

    def put(self, key: bytes, value: Bytes) -> None:
        raise NotImplementedError

    def delete(self, key: bytes) -> None:
        raise NotImplementedError

    def __setitem__(self, key: bytes, value: Bytes) -> None:
        """Set the value of a key, as `put` does."""
        self.put(key, value)

    def __delitem__(self, key: bytes) -> None:
        """Delete a key, as `delete` does. The key may be missing: that is no error, unlike in a dict."""
        self.delete(key)


class AwaitedItems:
    """For classes whose reads are coroutines, which an operator cannot await."""

    __slots__ = ()

    def __contains__(self, key: object) -> NoReturn:
        """Raises TypeError: without this method `in` could not name the call to use."""
        raise TypeError("`in` cannot wait for the database: use `await db.get(key) is not None`")


class PublicNames:
    """`dir()` of an object lists its public names only."""

    __slots__ = ()

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]
