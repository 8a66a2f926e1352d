"""A replica that nobody has open, for a command that looks after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from level_replicator.core.errors import ConfigError
from level_replicator.face.config import Config
from level_replicator.face.install import RS_OPTIONS, install
from level_replicator.face.install import open as open_replica
from level_replicator.face.replica import Replica
from level_replicator.storage.plyvel_engine import open_engine

_ALONE = Config(log_max_bytes=None, log_max_age=None, tombstone_ttl=None)
"""It meets nobody, and how long things are kept is not for a command to decide."""


@contextmanager
def offline(directory: Path, rs: Path | None) -> Iterator[Replica]:
    """Opens `directory`/db and `directory`/rs; with `rs`, the LevelDB `directory` itself and that replication set.

    Raises as `open`, ConfigError also when there is no replica."""
    parts = (directory / "db", directory / "rs") if rs is None else (directory, rs)
    for part in parts:
        if (part / "CURRENT").exists():
            continue
        if rs is None and (directory / "CURRENT").exists():
            raise ConfigError(f"{directory} is itself a LevelDB: say with --rs where its replication set is")
        raise ConfigError(f"{directory} is not a replica: there is no LevelDB {part}")
    if rs is None:
        with open_replica(directory, _ALONE) as replica:
            yield replica
        return
    engines = [open_engine(part, create=False) for part in parts[:1]]
    try:
        engines.append(open_engine(rs, create=False, **RS_OPTIONS))
        replica = install(engines[0].db, engines[1].db, _ALONE)
    except BaseException:
        for engine in engines:
            engine.close()
        raise
    with replica:
        yield replica
