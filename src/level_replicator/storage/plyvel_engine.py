"""A LevelDB opened with plyvel, as an engine.

As thin as it can be: the methods that every write passes are plyvel's own, bound as they are, so they raise
plyvel's own errors. Who calls them catches `ENGINE_ERRORS` at its boundary. A handle that is closed while
another thread is inside it crashes the process: whoever owns the engine keeps the two apart.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from os import PathLike
from types import TracebackType
from typing import Any, Protocol, Self

import plyvel

from level_replicator.core.errors import ClosedError, LockedError, StorageError
from level_replicator.storage.engine import Batch, Bytes

ENGINE_ERRORS = (plyvel.Error, StorageError, OSError)
"""What any engine raises when the disk or the LevelDB on it fails."""

IDENTITY_FILE = "REPLICA-ID"
"""An empty file beside LevelDB's own, which LevelDB leaves alone."""

_IDENTITY = struct.Struct(">QQq")


class _Put(Protocol):
    def __call__(self, key: bytes, value: Bytes, /, *, sync: bool = False) -> None: ...


class _Delete(Protocol):
    def __call__(self, key: bytes, /, *, sync: bool = False) -> None: ...


class _NewBatch(Protocol):
    def __call__(self, *, sync: bool = False) -> Batch: ...


class _Readable:
    """Reads of a plyvel handle: the database or a snapshot of it."""

    get: Callable[[bytes], bytes | None]

    def __init__(self, raw: "plyvel.DB | plyvel._plyvel.Snapshot") -> None:
        self._raw = raw
        self.get = raw.get

    def scan(
        self, start: bytes | None = None, stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        if reverse and start is not None:
            return _pairs_down_to(start, self._raw.iterator(stop=stop, reverse=True))
        return self._raw.iterator(start=start, stop=stop, reverse=reverse)

    def scan_keys(
        self, start: bytes | None = None, stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[bytes]:
        if reverse and start is not None:
            return _keys_down_to(start, self._raw.iterator(stop=stop, reverse=True, include_value=False))
        return self._raw.iterator(start=start, stop=stop, reverse=reverse, include_value=False)


# plyvel's reverse iterator loses the entry at exactly `start` when it is the greatest one of the range,
# so it is never told of `start`. It looks at the entry below the range either way.


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
    """A snapshot of a LevelDB. Close it: LevelDB keeps what it sees for as long."""

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
    _hold_fd: int | None = None
    _hold_pid = 0

    def __init__(self, db: plyvel.DB) -> None:
        super().__init__(db)
        self.db = db
        """The LevelDB itself."""
        self.put = db.put
        self.delete = db.delete
        self.batch = db.write_batch
        # A program may change its working directory later
        self._directory = os.path.abspath(os.fsdecode(db.name))

    @property
    def name(self) -> str:
        return self._directory

    @property
    def closed(self) -> bool:
        return self.db.closed

    def snapshot(self) -> PlyvelSnapshot:
        return PlyvelSnapshot(self.db.snapshot())

    def identity(self) -> bytes:
        """Stable over close, open, kill and rename of the directory; another one after a copy or restore.

        Made of the inodes of the directory and of a file of ours in it, and of the file's ctime: a directory
        that is deleted and restored in its place often gets the very same inodes, but no program can set a
        ctime. Opening, locking and reading leave it alone; chmod, chown and hard links of the file do not, and
        give a new identity. The device number is left out: it differs from one start of the machine to the
        next. Raises ClosedError, StorageError.
        """
        descriptor = self._open_identity_file()
        try:
            file, directory = os.fstat(descriptor), os.stat(self._directory)
        except OSError as error:
            raise self._unusable(error) from error
        finally:
            os.close(descriptor)
        return _IDENTITY.pack(directory.st_ino, file.st_ino, file.st_ctime_ns)

    def hold(self) -> None:
        """Claims the directory for one replica until `release` or `close`. Again by the holder: no effect.

        LevelDB keeps other processes out, but not a second replica on one handle. The end of the process
        releases it. A forked child inherits the claim: it cannot give it up, but when the parent dies without
        releasing, the directory stays claimed until the child has ended too. Raises LockedError when somebody
        else has claimed it, ClosedError, StorageError.
        """
        if self._hold_fd is not None:
            return
        descriptor = self._open_identity_file()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise self._unusable(error) from error
            raise LockedError(
                f"{self.name} is in use by another replica, in this process or another one: close that first"
            ) from error
        self._hold_fd, self._hold_pid = descriptor, os.getpid()

    def release(self) -> None:
        """Gives up what `hold` claimed. Idempotent."""
        descriptor, self._hold_fd = self._hold_fd, None
        if descriptor is None:
            return
        try:
            # Closing alone would leave it to a forked child; and a child must not undo its parent's claim
            if self._hold_pid == os.getpid():
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Idempotent."""
        try:
            self.db.close()
        finally:
            self.release()

    def __del__(self) -> None:
        self.release()

    def _open_identity_file(self) -> int:
        if self.db.closed:
            raise ClosedError(f"{self.name} is closed")
        path = os.path.join(self._directory, IDENTITY_FILE)
        try:
            try:
                return os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                _sync_new_file(descriptor, self._directory)
                return descriptor
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> StorageError:
        return StorageError(
            f"{os.path.join(self.name, IDENTITY_FILE)}: {error.strerror or error}. The replica needs this"
            " file: make the directory readable and writable for this process"
        )


def open_engine(path: str | PathLike[str], *, create: bool = True, **options: Any) -> PlyvelEngine:
    """Opens the LevelDB at `path`; `options` go to plyvel.

    Raises LockedError when another handle or process has it open, StorageError when it cannot be opened."""
    name = os.fspath(path)
    locked = (
        f"{name} is open already, in this process or another one: a LevelDB can have one handle only, so"
        " close the other, or stop the process that has it"
    )
    if _has_open(os.path.join(name, "LOCK")):
        raise LockedError(locked)
    try:
        return PlyvelEngine(plyvel.DB(name, create_if_missing=create, **options))
    except plyvel.Error as error:
        text = _text(error)
        if isinstance(error, plyvel.IOError) and "lock " in text and _LOCKED.intersection(text.split(": ")):
            raise LockedError(locked) from error
        advice = (
            "restore it from a backup, or begin with an empty directory and let a peer fill it"
            if isinstance(error, plyvel.CorruptionError) or "orruption" in text
            else "check the path, its permissions and the space on the disk"
        )
        raise StorageError(f"{name} cannot be opened ({text}): {advice}") from error


_LOCKED = {"already held by process", os.strerror(errno.EAGAIN), os.strerror(errno.EACCES)}


def _has_open(path: str) -> bool:
    """Whether this process has the file open. Asked before LevelDB is: when LevelDB finds that this process
    has the database open, it has opened and closed the lock file again, which gives up the lock on it."""
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


def _sync_new_file(descriptor: int, directory: str) -> None:
    """So that a power loss does not take the file away, and the identity with it."""
    os.fsync(descriptor)
    parent = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _text(error: plyvel.Error) -> str:
    first = error.args[0] if error.args else b""
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)
