"""Read a small file completely, with a bound on its size, and without blocking on a pipe.

Separate from key_files, which needs the extra `tls`: the trusted list is read without it.
"""

import os
import stat
from pathlib import Path

from level_replicator.core.errors import ConfigError


def check_path(path: object, what: str) -> None:
    """Raise ConfigError, whose text begins with `what`, for a path that is no path, or is the content of a key file.

    Such a value is never shown: an error for a missing file would print a private key."""
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(
            f"{what}: this is of type {type(path).__name__}, and not shown, since it may be a key: expected the path of"
            " a key file, or a dict"
        )
    text = os.fsdecode(path)
    if "-----BEGIN" in text or "\n" in text:
        raise ConfigError(
            f"{what}: this is the text of a key or certificate, and not shown, since it may be a private key: expected"
            " the path of a key file, or a dict with the texts"
        )


def read_small_file(path: Path, most_bytes: int, what: str) -> bytes:
    """Read a regular file of at most `most_bytes` bytes.

    Raises ConfigError, whose text begins with `what`, if the file is larger, cannot be read, or is not a regular file:
    a pipe could block its reader for ever."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
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
