"""A LevelDB opened with plyvel, as an engine.

For speed the methods that each write calls are plyvel's own bound methods, so they raise plyvel's errors. Callers catch
`ENGINE_ERRORS` at their boundary. Closing a handle while another thread is using it crashes the process; the owner of
the engine must prevent that.
"""

import errno
import os
import struct
from collections.abc import Callable, Iterator
from os import PathLike
from types import TracebackType
from typing import Any, Protocol, Self

from level_replicator.core.errors import ClosedError, ConfigError, LockedError, StorageError
from level_replicator.leveldb import CORRUPTION_ERRORS, LEVELDB_ERRORS, error_text, plyvel
from level_replicator.storage.engine.base import Batch, Bytes
from level_replicator.storage.engine.directory import Directory
from level_replicator.storage.engine.leveldb_files import check_complete

ENGINE_ERRORS: tuple[type[plyvel.Error | StorageError | OSError | struct.error], ...] = (
    *LEVELDB_ERRORS,
    StorageError,
    OSError,
    struct.error,
)
"""Errors of any engine when the disk or the LevelDB on it fails. A damaged record raises struct.error."""


class _Put(Protocol):
    def __call__(self, key: bytes, value: Bytes, /, *, sync: bool = False) -> None: ...


class _Delete(Protocol):
    def __call__(self, key: bytes, /, *, sync: bool = False) -> None: ...


class _NewBatch(Protocol):
    def __call__(self, *, sync: bool = False) -> Batch: ...


class _Readable:
    """Reads of a plyvel handle: a database or a snapshot of it."""

    get: Callable[[bytes], bytes | None]

    def __init__(self, raw: "plyvel.DB | plyvel._plyvel.Snapshot") -> None:
        self._raw = raw
        self.get = raw.get

    def scan(
        self, start: bytes | None = None, stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        if reverse and start is not None and self.get(start) is not None:
            return _pairs_down_to(start, self._raw.iterator(stop=stop, reverse=True))
        return self._raw.iterator(start=start, stop=stop, reverse=reverse)

    def scan_keys(
        self, start: bytes | None = None, stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[bytes]:
        if reverse and start is not None and self.get(start) is not None:
            return _keys_down_to(start, self._raw.iterator(stop=stop, reverse=True, include_value=False))
        return self._raw.iterator(start=start, stop=stop, reverse=reverse, include_value=False)


# plyvel's reverse iterator loses the entry at exactly `start` when it is the greatest one of the range, so it does not
# get a `start` that exists: these generators end the range instead.


def _pairs_down_to(start: bytes, pairs: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    for pair in pairs:
        if pair[0] < start:
            return
        yield pair


def _keys_down_to(start: bytes, keys: Iterator[bytes]) -> Iterator[bytes]:
    for key in keys:
        if key < start:
            return
        yield key


class PlyvelSnapshot(_Readable):
    """A snapshot of a LevelDB. LevelDB keeps the data of that moment until it is closed."""

    _raw: "plyvel._plyvel.Snapshot"

    def close(self) -> None:
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PlyvelEngine(_Readable):
    """An open LevelDB. Its calls raise ENGINE_ERRORS, and RuntimeError once it is closed."""

    put: _Put
    delete: _Delete
    batch: _NewBatch

    def __init__(self, db: plyvel.DB, *, add_file: bool = True) -> None:
        """Wrap an open LevelDB. With `add_file` False no file of ours is added to its directory (`Directory`)."""
        super().__init__(db)
        self.db = db
        """plyvel's handle."""
        self.put = db.put
        self.delete = db.delete
        self.batch = db.write_batch
        self._directory = Directory(os.fsdecode(db.name), add_file=add_file)

    @property
    def name(self) -> str:
        return self._directory.path

    @property
    def closed(self) -> bool:
        return self.db.closed

    def snapshot(self) -> PlyvelSnapshot:
        return PlyvelSnapshot(self.db.snapshot())

    def size(self, start: bytes, stop: bytes) -> int:
        return self.db.approximate_size(start, stop)

    def compact(self, start: bytes, stop: bytes) -> None:
        # LevelDB chooses the levels to compact before it flushes the memtable: deletions from there end up above the
        # data that they delete, and stay. The second compaction covers them.
        for _ in range(2):
            self.db.compact_range(start=start, stop=stop)

    def identity(self) -> bytes:
        """Return the identity of the directory (`Directory.identity`). Raises ClosedError, StorageError."""
        self._require_open()
        return self._directory.identity()

    def hold(self) -> None:
        """Claim the directory for one replica until `release` or `close` (`Directory.hold`).

        Raises LockedError if another replica has claimed it, ClosedError, StorageError."""
        self._require_open()
        self._directory.hold()

    def release(self) -> None:
        """Release the claim of `hold`. Idempotent."""
        self._directory.release()

    def close(self) -> None:
        """Close the LevelDB and release the claim. Idempotent."""
        try:
            self.db.close()
        finally:
            self.release()

    def _require_open(self) -> None:
        if self.db.closed:
            raise ClosedError(f"{self.name} is closed")


def open_engine(path: str | PathLike[str], *, create: bool = True, **options: Any) -> PlyvelEngine:
    """Open the LevelDB at `path`; `options` go to plyvel.

    Raises LockedError if another handle or process has it open, StorageError if it cannot be opened or has lost its
    file CURRENT, ConfigError for options that plyvel does not take."""
    name = os.fspath(path)
    locked = (
        f"{name} is open already, in this process or another one: a LevelDB can have one handle only, so"
        " close the other, or stop the process that has it"
    )
    if _has_open(os.path.join(name, "LOCK")):
        raise LockedError(locked)
    check_complete(name)
    try:
        return PlyvelEngine(plyvel.DB(name, create_if_missing=create, **options))
    except (TypeError, ValueError, OverflowError) as error:
        shown = f" with the options {options}" if options else ""
        raise ConfigError(
            f"{name} cannot be opened{shown}: {error}: expected a path, and options of plyvel.DB with their types"
        ) from error
    except LEVELDB_ERRORS as error:
        text = error_text(error)
        if text.startswith("IO error: lock ") and text.rsplit(": ", 1)[-1] in _LOCKED:
            raise LockedError(locked) from error
        advice = (
            "restore it from a backup, or begin with an empty directory and let replication fill it"
            if isinstance(error, CORRUPTION_ERRORS) or "orruption" in text
            else "check the path, its permissions and the space on the disk"
        )
        raise StorageError(f"{name} cannot be opened ({text}): {advice}") from error


_LOCKED = {"already held by process", os.strerror(errno.EAGAIN), os.strerror(errno.EACCES)}


def _has_open(path: str) -> bool:
    """Return True if this process has the file open.

    This must be checked before LevelDB is called. LevelDB finds a handle of the same process only after it has opened
    and closed the lock file once more, which releases the lock of the first handle."""
    try:
        wanted = os.stat(path)
        descriptors = [int(name) for name in os.listdir("/dev/fd")]
    except (OSError, ValueError):
        return False
    for descriptor in descriptors:
        try:
            if os.path.samestat(os.fstat(descriptor), wanted):
                return True
        except OSError:
            continue
    return False
