"""Reads for coroutines."""

from collections.abc import AsyncIterator
from typing import Any, Self, Unpack

from level_replicator.client.aio.backends import AsyncBackend
from level_replicator.client.iterators import bounds_of, flags_of
from level_replicator.core.errors import ClosedError
from level_replicator.database.arguments import refuse_argument
from level_replicator.database.iterators import IteratorOptions, ReadOptions
from level_replicator.protocol.client_messages import Get, Page, Scan, Value


class AsyncSnapshot:
    """The database as it was. Close it, or use it in an `async with` block."""

    def __init__(self, backend: AsyncBackend, number: int) -> None:
        self._backend = backend
        self._number = number

    async def get(self, key: bytes, default: Any = None, **options: Unpack[ReadOptions]) -> Any:
        return await get_value(self._backend, self._open(), key, default, options)

    def iterator(self, **options: Unpack[IteratorOptions]) -> AsyncIterator[Any]:
        return iterate(self._backend, self._open(), options)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self.iterator()

    def close(self) -> None:
        """Idempotent."""
        number, self._number = self._number, 0
        if number:
            self._backend.forget(number)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> int:
        if not self._number:
            raise ClosedError("Database, iterator or snapshot is closed")
        return self._number


def check_key(key: bytes) -> bytes:
    if type(key) is not bytes:
        refuse_argument("key", "bytes", key)
    return key


async def get_value(backend: AsyncBackend, snapshot: int, key: bytes, default: Any, options: ReadOptions) -> Any:
    answer = await backend.call(Get, check_key(key), snapshot, *flags_of(options))
    assert isinstance(answer, Value)
    return default if answer.value is None else answer.value


async def iterate(backend: AsyncBackend, snapshot: int, options: IteratorOptions) -> AsyncIterator[Any]:
    asked = dict(options)
    flags = flags_of({name: asked.pop(name) for name in ("verify_checksums", "fill_cache") if name in asked})  # type: ignore[arg-type]
    reverse, keys, values = (
        bool(asked.pop(name, default))
        for name, default in (("reverse", False), ("include_key", True), ("include_value", True))
    )
    prefix: Any = asked.pop("prefix", None)
    if prefix is not None and (asked.get("start") is not None or asked.get("stop") is not None):
        raise TypeError("'prefix' cannot be used together with 'start' or 'stop'")
    bounds: dict[str, Any] = {"start": None, "stop": None, "include_start": True, "include_stop": False} | asked
    low, high = bounds_of(prefix or b"", **bounds)
    if not low < high:
        return
    kept = 0
    left, right = low.gap, high.gap
    try:
        while True:
            page = await backend.call(Scan, left, right, snapshot, reverse, keys or not values, values, *flags)
            assert isinstance(page, Page)
            if snapshot == 0 and page.snapshot:
                snapshot = kept = page.snapshot
            if keys and values:
                for pair in zip(page.keys, page.values, strict=True):
                    yield pair
            else:
                for one in page.keys if keys else page.values:
                    yield one
                if not keys and not values:
                    raise TypeError("include_key, include_value: one of the two")
            if page.end is None:
                return
            left, right = (left, page.end) if reverse else (page.end, right)
    finally:
        if kept:
            backend.forget(kept)
