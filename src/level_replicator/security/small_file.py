"""Read a file of settings: whole, bounded, and without waiting for somebody to write it.

Not part of key_files, which needs the extra `tls`: the list of trusted keys is read without it.
"""

import os
import stat
from pathlib import Path

from level_replicator.core.errors import ConfigError


def read_small_file(path: Path, most_bytes: int, what: str) -> bytes:
    """Raises ConfigError, which begins with `what`, also for a pipe, which could keep its reader waiting for ever."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigError(f"{what}: {path} is not a file, but a directory, a pipe or a device")
            raw = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{what}: {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(raw) > most_bytes:
        raise ConfigError(f"{what}: {path} has more than {most_bytes} bytes")
    return raw
