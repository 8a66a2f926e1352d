from collections.abc import Callable
from os import PathLike
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar, overload

_D = TypeVar("_D")
_E = TypeVar("_E")
_Path: TypeAlias = str | bytes | PathLike[str] | PathLike[bytes]
_Buffer: TypeAlias = bytes | bytearray | memoryview

__leveldb_version__: str

class Error(Exception): ...
class IOError(Error, OSError): ...
class CorruptionError(Error): ...
class IteratorInvalidError(Error): ...

class _Closing:
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

class DB(_Closing):
    name: Any
    def __init__(
        self,
        name: _Path,
        *,
        create_if_missing: bool = False,
        error_if_exists: bool = False,
        paranoid_checks: bool | None = None,
        write_buffer_size: int | None = None,
        max_open_files: int | None = None,
        lru_cache_size: int | None = None,
        block_size: int | None = None,
        block_restart_interval: int | None = None,
        max_file_size: int | None = None,
        compression: str | None = "snappy",
        bloom_filter_bits: int = 0,
        comparator: Callable[[bytes, bytes], int] | None = None,
        comparator_name: bytes | None = None,
    ) -> None: ...
    @property
    def closed(self) -> bool: ...
    def __iter__(self) -> Iterator[tuple[bytes, bytes]]: ...
    @overload
    def get(
        self, key: bytes, default: None = None, *, verify_checksums: bool = False, fill_cache: bool = True
    ) -> bytes | None: ...
    @overload
    def get(
        self, key: bytes, default: _D, *, verify_checksums: bool = False, fill_cache: bool = True
    ) -> bytes | _D: ...
    def put(self, key: bytes, value: _Buffer, *, sync: bool = False) -> None: ...
    def delete(self, key: bytes, *, sync: bool = False) -> None: ...
    def write_batch(self, *, transaction: bool = False, sync: bool = False) -> WriteBatch: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: Literal[True] = True,
        include_value: Literal[True] = True,
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> Iterator[tuple[bytes, bytes]]: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: Literal[True] = True,
        include_value: Literal[False],
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> Iterator[bytes]: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: Literal[False],
        include_value: Literal[True] = True,
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> Iterator[bytes]: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: Literal[False],
        include_value: Literal[False],
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> Iterator[None]: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: bool = True,
        include_value: bool = True,
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> Iterator[Any]: ...
    def raw_iterator(self, *, verify_checksums: bool = False, fill_cache: bool = True) -> RawIterator: ...
    def snapshot(self) -> Snapshot: ...
    def get_property(self, name: bytes) -> bytes | None: ...
    def compact_range(self, *, start: bytes | None = None, stop: bytes | None = None) -> None: ...
    def approximate_size(self, start: bytes, stop: bytes) -> int: ...
    def approximate_sizes(self, *ranges: tuple[bytes, bytes]) -> list[int]: ...
    def prefixed_db(self, prefix: bytes) -> PrefixedDB: ...

class PrefixedDB:
    db: DB
    prefix: bytes
    def __init__(self, *, db: DB, prefix: bytes) -> None: ...
    def __iter__(self) -> Iterator[tuple[bytes, bytes]]: ...
    @overload
    def get(
        self, key: bytes, default: None = None, *, verify_checksums: bool = False, fill_cache: bool = True
    ) -> bytes | None: ...
    @overload
    def get(
        self, key: bytes, default: _D, *, verify_checksums: bool = False, fill_cache: bool = True
    ) -> bytes | _D: ...
    def put(self, key: bytes, value: _Buffer, *, sync: bool = False) -> None: ...
    def delete(self, key: bytes, *, sync: bool = False) -> None: ...
    def write_batch(self, *, transaction: bool = False, sync: bool = False) -> WriteBatch: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: Literal[True] = True,
        include_value: Literal[True] = True,
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> Iterator[tuple[bytes, bytes]]: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: Literal[True] = True,
        include_value: Literal[False],
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> Iterator[bytes]: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: Literal[False],
        include_value: Literal[True] = True,
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> Iterator[bytes]: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: Literal[False],
        include_value: Literal[False],
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> Iterator[None]: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: bool = True,
        include_value: bool = True,
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> Iterator[Any]: ...
    def snapshot(self) -> Snapshot: ...
    def prefixed_db(self, prefix: bytes) -> PrefixedDB: ...

class WriteBatch:
    def put(self, key: bytes, value: _Buffer) -> None: ...
    def delete(self, key: bytes) -> None: ...
    def clear(self) -> None: ...
    def write(self) -> None: ...
    def approximate_size(self) -> int: ...
    def append(self, source: WriteBatch) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

class Iterator(_Closing, Generic[_E]):
    def __iter__(self) -> Self: ...
    def __next__(self) -> _E: ...
    def prev(self) -> _E: ...
    def seek_to_start(self) -> None: ...
    def seek_to_stop(self) -> None: ...
    def seek(self, target: bytes) -> None: ...

class RawIterator(_Closing):
    def valid(self) -> bool: ...
    def seek_to_first(self) -> None: ...
    def seek_to_last(self) -> None: ...
    def seek(self, target: bytes) -> None: ...
    def next(self) -> None: ...
    def prev(self) -> None: ...
    def key(self) -> bytes: ...
    def value(self) -> bytes: ...
    def item(self) -> tuple[bytes, bytes]: ...

class Snapshot(_Closing):
    def release(self) -> None: ...
    def __iter__(self) -> Iterator[tuple[bytes, bytes]]: ...
    @overload
    def get(
        self, key: bytes, default: None = None, *, verify_checksums: bool = False, fill_cache: bool = True
    ) -> bytes | None: ...
    @overload
    def get(
        self, key: bytes, default: _D, *, verify_checksums: bool = False, fill_cache: bool = True
    ) -> bytes | _D: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: Literal[True] = True,
        include_value: Literal[True] = True,
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> Iterator[tuple[bytes, bytes]]: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: Literal[True] = True,
        include_value: Literal[False],
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> Iterator[bytes]: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: Literal[False],
        include_value: Literal[True] = True,
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> Iterator[bytes]: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: Literal[False],
        include_value: Literal[False],
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> Iterator[None]: ...
    @overload
    def iterator(
        self,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: bool = True,
        include_value: bool = True,
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> Iterator[Any]: ...
    def raw_iterator(self, *, verify_checksums: bool = False, fill_cache: bool = True) -> RawIterator: ...

def repair_db(
    name: _Path,
    *,
    paranoid_checks: bool | None = None,
    write_buffer_size: int | None = None,
    max_open_files: int | None = None,
    lru_cache_size: int | None = None,
    block_size: int | None = None,
    block_restart_interval: int | None = None,
    max_file_size: int | None = None,
    compression: str | None = "snappy",
    bloom_filter_bits: int = 0,
    comparator: Callable[[bytes, bytes], int] | None = None,
    comparator_name: bytes | None = None,
) -> None: ...
def destroy_db(name: _Path) -> None: ...
