"""A replica that nobody has open, for a command that looks after it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from level_replicator.core.errors import ConfigError
from level_replicator.face.config import Config
from level_replicator.face.install import open as open_replica
from level_replicator.face.replica import Replica

_ALONE = Config(log_max_bytes=None, log_max_age=None, tombstone_ttl=None)
"""It meets nobody, and how long things are kept is not for a command to decide."""


@contextmanager
def offline(directory: Path) -> Iterator[Replica]:
    """Opens `directory`/db and `directory`/rs. Raises as `open`, ConfigError also when there is no replica."""
    for part in ("db", "rs"):
        if not (directory / part / "CURRENT").exists():
            raise ConfigError(f"{directory} is not a replica: there is no LevelDB {directory / part}")
    with open_replica(directory, _ALONE) as replica:
        yield replica


@contextmanager
def progress(what: str) -> Iterator[Callable[[int], None] | None]:
    """A line on stderr that counts keys; None, and nothing is shown, where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        yield lambda keys: print(f"\r{what}: {keys:,} keys", end="", file=sys.stderr, flush=True)
    finally:
        print(file=sys.stderr)
