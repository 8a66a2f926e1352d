"""What a LevelDB's directory is known by, and who may use it: both hang on one small file of ours in it."""

import errno
import os
import struct

from level_replicator.core.errors import LockedError, StorageError
from level_replicator.storage.engine.claim import Claim, FlockClaim, ProcessClaim, has_flock

IDENTITY_FILE = "REPLICA-ID"
"""Empty, and never written or replaced. LevelDB leaves files that it does not know alone."""

_IDENTITY = struct.Struct(">QQq")


class Directory:
    """The directory of an open LevelDB at `path`. `leave`: nothing of ours may be put into it.

    Then LevelDB's LOCK takes the place of our file for the identity, and the directory itself that for the claim."""

    _claim: Claim | None = None

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
        if self._claim is not None:
            return
        try:
            self._claim = self._new_claim()
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise self._unusable(error) from error
            raise LockedError(
                f"{self.path} is in use by another replica, in this process or another one: close that first"
            ) from error

    def release(self) -> None:
        """Gives up what `hold` claimed. Idempotent."""
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.release()

    def __del__(self) -> None:
        self.release()

    def _new_claim(self) -> Claim:
        if has_flock():
            return FlockClaim(self._open_file())
        if not self._leave:
            os.close(self._open_file())
        return ProcessClaim(self.path)

    def _open_file(self) -> int:
        path = os.path.join(self.path, IDENTITY_FILE)
        try:
            if self._leave:
                return os.open(self.path, os.O_RDONLY)
            try:
                return os.open(path, os.O_RDWR)
            except FileNotFoundError:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
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
        if os.name == "nt":  # Windows cannot open a directory
            return
        directory = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _unusable(self, error: OSError) -> StorageError:
        return StorageError(
            f"{os.path.join(self.path, 'LOCK' if self._leave else IDENTITY_FILE)}: {error.strerror or error}. The"
            " replica needs this file: make the directory readable and writable for this process"
        )
