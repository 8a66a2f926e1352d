"""The claim of one replica on a directory.

LevelDB's own lock excludes other processes, but not a second replica on the same handle. The claim excludes it, by a
`flock` on a file or directory. Windows has neither `flock` nor fork; there an entry in a table of this process
suffices.
"""

import errno
import os
from functools import partial
from typing import Protocol


class Claim(Protocol):
    def release(self) -> None:
        """Release the claim. Call this once."""


def has_flock() -> bool:
    try:
        import fcntl  # noqa: F401
    except ImportError:
        return False
    return True


class FlockClaim:
    """A claim by `flock` on an open file, whose descriptor it takes over."""

    def __init__(self, descriptor: int) -> None:
        """Claim the file. Raises OSError (EWOULDBLOCK, EACCES) if it is claimed already, and closes the descriptor."""
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._pid = os.getpid()
        self._unlock = partial(fcntl.flock, descriptor, fcntl.LOCK_UN)  # no import while the interpreter ends

    def release(self) -> None:
        try:
            # without the unlock a forked child would keep the claim; and a child must not release its parent's claim
            if self._pid == os.getpid():
                self._unlock()
        finally:
            os.close(self._descriptor)


class ProcessClaim:
    """A claim on a path within this process."""

    def __init__(self, path: str) -> None:
        """Claim the path. Raises BlockingIOError if it is claimed already."""
        self._path = os.path.normcase(os.path.realpath(path))
        if _claims.setdefault(self._path, self) is not self:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), path)

    def release(self) -> None:
        del _claims[self._path]


_claims: dict[str, ProcessClaim] = {}
