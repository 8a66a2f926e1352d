"""What a LevelDB's directory is known by, and who may use it: both hang on one small file of ours in it."""

import errno
import fcntl
import os
import struct

from level_replicator.core.errors import LockedError, StorageError

IDENTITY_FILE = "REPLICA-ID"
"""Empty, and never written or replaced. LevelDB leaves files that it does not know alone."""

_IDENTITY = struct.Struct(">QQq")


class Directory:
    """The directory of an open LevelDB at `path`. `leave`: nothing of ours may be put into it.

    Then LevelDB's LOCK takes the place of our file for the identity, and the directory itself that for the claim."""

    _held: int | None = None
    _held_by_pid = 0

    def __init__(self, path: str, *, leave: bool = False) -> None:
        # A program may change its working directory later
        self.path = os.path.abspath(path)
        self._leave = leave

    def identity(self) -> bytes:
        """Stable over close, open, kill and rename of the directory; another one after a copy or restore.

        Made of the inodes of the directory and of a file of ours in it, and of the file's ctime: a directory
        that is deleted and restored in its place often gets the very same inodes, but no program can set a
        ctime. Opening, locking and reading leave it alone; chmod, chown and hard links of the file do not,
        and give a new identity. The device number is left out: it differs from one start of the machine to
        the next. Raises StorageError.
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
        """Claims the directory for one replica until `release`. Again by the holder: no effect.

        LevelDB keeps other processes out, but not a second replica on one handle. The end of the process
        releases the claim. A forked child inherits it: it cannot give it up, but when the parent dies without
        releasing, the directory stays claimed until the child has ended too. Raises LockedError when somebody
        else has claimed it, StorageError.
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
        """Gives up what `hold` claimed. Idempotent."""
        descriptor, self._held = self._held, None
        if descriptor is None:
            return
        try:
            # Closing alone would leave it to a forked child; and a child must not undo its parent's claim
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
        """So that a power loss does not take the file away, and the identity with it."""
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
