"""RocksDB through rocksdict, as far as a store needs an engine to be made, written and closed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any


class _Batch:
    def __init__(self, db: Any, batch: Any) -> None:
        self._db = db
        self._batch = batch
        self.put = batch.put
        self.delete = batch.delete

    def write(self) -> None:
        self._db.write(self._batch)


class RocksEngine:
    """`sync` is left out: nothing that is measured here asks for it."""

    def __init__(self, path: Path, bloom_filter_bits: int | None, write_buffer_size: int | None) -> None:
        import rocksdict

        options = rocksdict.Options(raw_mode=True)
        if write_buffer_size is not None:
            options.set_write_buffer_size(write_buffer_size)
        if bloom_filter_bits is not None:
            table = rocksdict.BlockBasedOptions()
            table.set_bloom_filter(bloom_filter_bits, False)
            options.set_block_based_table_factory(table)
        self.name = str(path)
        self.closed = False
        self._db = rocksdict.Rdict(self.name, options)
        self._new_batch = rocksdict.WriteBatch
        self.get = self._db.get

    def put(self, key: bytes, value: bytes, *, sync: bool = False) -> None:
        self._db.put(key, value)

    def delete(self, key: bytes, *, sync: bool = False) -> None:
        self._db.delete(key)

    def batch(self, *, sync: bool = False) -> _Batch:
        return _Batch(self._db, self._new_batch(raw_mode=True))

    def scan(self, start: bytes | None = None, stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._db.items(from_key=start):
            if stop is not None and key >= stop:
                return
            yield key, value

    def scan_keys(
        self, start: bytes | None = None, stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[bytes]:
        keys = [key for key, _ in self.scan(start, stop)]
        return reversed(keys) if reverse else iter(keys)

    def identity(self) -> bytes:
        return self.name.encode()

    def close(self) -> None:
        self.closed = True
        self._db.close()


def open_rocks(path: Path, *, bloom_filter_bits: int | None = None, write_buffer_size: int | None = None) -> Any:
    return RocksEngine(path, bloom_filter_bits, write_buffer_size)
