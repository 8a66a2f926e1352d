"""Read a small file completely, with a bound on its size, and without blocking on a pipe.

Separate from key_files, which needs the extra `tls`: the trusted list is read without it.
"""

import os
import stat
from pathlib import Path

from level_replicator.core.errors import ConfigError


def read_small_file(path: Path, most_bytes: int, what: str) -> bytes:
    """Read a regular file of at most `most_bytes` bytes.

    Raises ConfigError, whose text begins with `what`, if the file is larger, cannot be read, or is not a regular file:
    a pipe could block its reader for ever."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigError(f"{what}: {path} is a directory, a pipe or a device; expected a regular file")
            raw = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{what}: {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(raw) > most_bytes:
        raise ConfigError(f"{what}: {path} has more than {most_bytes} bytes, the limit")
    return raw
