"""The identity of a LevelDB's directory, and the claim of one replica on it. A small file in the directory has both."""

import errno
import os
import struct

from level_replicator.core.errors import LockedError, StorageError
from level_replicator.storage.engine.claim import Claim, FlockClaim, ProcessClaim, has_flock

IDENTITY_FILE = "REPLICA-ID"
"""Name of the file. It is empty, and never written or replaced. LevelDB ignores files that it does not know."""

_IDENTITY = struct.Struct(">QQq")


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Sync a directory, so that a power loss cannot remove the files in it. Does nothing on Windows."""
    if os.name == "nt":  # Windows cannot open a directory
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Directory:
    """The directory of an open LevelDB at `path`.

    With `add_file` False no file is added to it: the identity is then that of LevelDB's own LOCK file, and the claim is
    on the directory itself."""

    _claim: Claim | None = None

    def __init__(self, path: str, *, add_file: bool = True) -> None:
        # absolute, since the program may change its working directory later
        self.path = os.path.abspath(path)
        self._add_file = add_file

    def identity(self) -> bytes:
        """Return an id that survives close, open, kill and rename of the directory, but not a copy or a restore.

        It consists of the inodes of the directory and of our file in it, and of the file's ctime: a directory that is
        deleted and restored in its place often gets the same inodes, but no program can set a ctime. Opening, locking
        and reading do not change it; chmod, chown and hard links of the file do. The device number is left out, since
        it differs from one start of the machine to the next. Raises StorageError.
        """
        if self._add_file:
            os.close(self._open_file())
        try:
            file = os.stat(os.path.join(self.path, IDENTITY_FILE if self._add_file else "LOCK"))
            directory = os.stat(self.path)
        except OSError as error:
            raise self._unusable(error) from error
        return _IDENTITY.pack(directory.st_ino, file.st_ino, file.st_ctime_ns)

    def hold(self) -> None:
        """Claim the directory for one replica until `release`. A second call by the holder has no effect.

        LevelDB excludes other processes, but not a second replica on one handle. The end of the process releases the
        claim. A forked child inherits it: it cannot release it, but if the parent dies without releasing it, the
        directory stays claimed until the child has ended, too. Raises LockedError if another replica has the claim,
        and StorageError.
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
        """Release the claim. Idempotent."""
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.release()

    def __del__(self) -> None:
        self.release()

    def _new_claim(self) -> Claim:
        if has_flock():
            return FlockClaim(self._open_file())
        if self._add_file:
            os.close(self._open_file())
        return ProcessClaim(self.path)

    def _open_file(self) -> int:
        path = os.path.join(self.path, IDENTITY_FILE)
        try:
            if not self._add_file:
                return os.open(self.path, os.O_RDONLY)
            try:
                return os.open(path, os.O_RDWR)
            except FileNotFoundError:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            # a power loss that removes the file would change the identity
            os.fsync(descriptor)
            sync_directory(self.path)
        except OSError as error:
            os.close(descriptor)
            raise self._unusable(error) from error
        return descriptor

    def _unusable(self, error: OSError) -> StorageError:
        return StorageError(
            f"{os.path.join(self.path, IDENTITY_FILE if self._add_file else 'LOCK')}: {error.strerror or error}. The"
            " replica needs this file: make the directory readable and writable for this process"
        )
