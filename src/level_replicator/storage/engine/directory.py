"""The identity of a LevelDB's directory, and the claim of one replica on it. A small file in the directory has both."""

import errno
import fcntl
import os
import struct

from level_replicator.core.errors import LockedError, StorageError

IDENTITY_FILE = "REPLICA-ID"
"""Name of the file. It is empty, and never written or replaced. LevelDB ignores files that it does not know."""

_IDENTITY = struct.Struct(">QQq")


class Directory:
    """The directory of an open LevelDB at `path`.

    `leave`: no file may be put into it. Then LevelDB's LOCK takes the place of our file for the identity, and the
    directory itself for the claim."""

    _held: int | None = None
    _held_by_pid = 0

    def __init__(self, path: str, *, leave: bool = False) -> None:
        # A program may change its working directory later
        self.path = os.path.abspath(path)
        self._leave = leave

    def identity(self) -> bytes:
        """Return the identity: stable over close, open, kill and rename of the directory, and another one after a
        copy or a restore.

        It consists of the inodes of the directory and of our file in it, and of the file's ctime: a directory that is
        deleted and restored in its place often gets the same inodes, but no program can set a ctime. Opening, locking
        and reading do not change it; chmod, chown and hard links of the file do. The device number is left out, since
        it differs from one start of the machine to the next. Raise StorageError.
        """
        if not self._leave:
            os.close(self._open_file())
        try:
            file = os.stat(os.path.join(self.path, "LOCK" if self._leave else IDENTITY_FILE))
            directory = os.stat(self.path)
        except OSError as error:
            raise self._unusable(error) from error
        return _IDENTITY.pack(directory.st_ino, file.st_ino, file.st_ctime_ns)

    def hold(self) -> None:
        """Claim the directory for one replica until `release`. A second call by the holder has no effect.

        LevelDB keeps other processes out, but not a second replica on one handle. The end of the process releases the
        claim. A forked child inherits it: it cannot release it, but if the parent dies without releasing it, the
        directory stays claimed until the child has ended, too. Raise LockedError if it is claimed by another replica,
        and StorageError.
        """
        if self._held is not None:
            return
        descriptor = self._open_file()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise self._unusable(error) from error
            raise LockedError(
                f"{self.path} is in use by another replica, in this process or another one: close that first"
            ) from error
        self._held, self._held_by_pid = descriptor, os.getpid()

    def release(self) -> None:
        """Release the claim. Idempotent."""
        descriptor, self._held = self._held, None
        if descriptor is None:
            return
        try:
            # closing alone would leave the claim to a forked child; and a child must not release its parent's claim
            if self._held_by_pid == os.getpid():
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def __del__(self) -> None:
        self.release()

    def _open_file(self) -> int:
        path = os.path.join(self.path, IDENTITY_FILE)
        try:
            if self._leave:
                return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._sync(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise self._unusable(error) from error
        return descriptor

    def _sync(self, new_file: int) -> None:
        """Sync a new file and the directory, since a power loss that takes the file would take the identity with it."""
        os.fsync(new_file)
        directory = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _unusable(self, error: OSError) -> StorageError:
        return StorageError(
            f"{os.path.join(self.path, 'LOCK' if self._leave else IDENTITY_FILE)}: {error.strerror or error}. The"
            " replica needs this file: make the directory readable and writable for this process"
        )
