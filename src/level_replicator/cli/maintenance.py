"""`level-replicator adopt`."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from level_replicator.api.config import Config
from level_replicator.core.errors import ConfigError, ReplicationError
from level_replicator.install import RS_OPTIONS, install
from level_replicator.storage.engine.plyvel import PlyvelEngine, open_engine

NAME = "adopt"
HELP = (
    "Makes a LevelDB that has data, and that nobody has open, a master: each of its keys becomes a write of it. "
    "Nothing is changed in it, and no value is stored a second time. An adoption that was interrupted goes on where "
    "it was; one that is complete is left as it is."
)
_QUIET = Config(log_max_bytes=None, log_max_age=None, tombstone_ttl=None)
"""It meets nobody, and how long things are kept is not for a command to decide."""
_REDRAW_S = 0.1
EXAMPLE = "level-replicator adopt /tmp/notes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="with the LevelDB `db` in it, or itself a LevelDB")
    parser.add_argument(
        "--rs", type=Path, help="directory of the replication set, made if missing (DIR/rs, if DIR has a `db` in it)"
    )
    parser.add_argument("--json", action="store_true", help="the number of keys, and the seconds it took, as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Adopts; returns the exit status."""
    begun = time.monotonic()
    try:
        db, rs = _places(arguments.directory, arguments.rs)
        with _progress(begun) as told:
            keys, adopted = _adopt(db, rs, told)
    except ReplicationError as error:
        print(f"level-replicator adopt: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("level-replicator adopt: the same command goes on with it", file=sys.stderr)
        raise
    seconds = time.monotonic() - begun
    if arguments.json:
        print(json.dumps({"keys": keys, "seconds": round(seconds, 3)}))
    elif adopted:
        print(f"{keys:,} keys adopted in {seconds:.1f} s ({keys / seconds:,.0f} keys/s)")
    else:
        print(f"nothing to adopt: {keys:,} keys, all of them this master's")
    return 0


def _places(directory: Path, rs: Path | None) -> tuple[Path, Path]:
    """Of database and replication set. Raises ConfigError."""
    db = directory
    if not _is_leveldb(db):
        db = directory / "db"
        rs = rs or directory / "rs"
        if not _is_leveldb(db):
            raise ConfigError(f"there is no LevelDB {directory} or {db}")
    if rs is None:
        raise ConfigError(f"{db} is itself a LevelDB: say with --rs where its replication set is to be")
    if rs.resolve() == db.resolve():
        raise ConfigError(f"the replication set of {db} needs a directory of its own")
    return db, rs


def _is_leveldb(directory: Path) -> bool:
    return (directory / "CURRENT").is_file()


def _adopt(db: Path, rs: Path, told: Callable[[int], None]) -> tuple[int, bool]:
    """(Keys, whether they had to be looked at)."""
    looked: list[int] = []

    def progress(keys: int) -> None:
        looked[:] = [keys]
        told(keys)

    with (
        closing(open_engine(db, create=False)) as database,
        closing(_open_rs(rs)) as replication_set,
        install(database.db, replication_set.db, _QUIET, adopt=True, progress=progress) as replica,
    ):
        return replica.status()["keys"], bool(looked)


def _open_rs(rs: Path) -> PlyvelEngine:
    try:
        rs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{rs}: {error.strerror or error}") from error
    return open_engine(rs, **RS_OPTIONS)


@contextmanager
def _progress(begun: float) -> Iterator[Callable[[int], None]]:
    """A line on stderr with keys and keys a second; nothing is shown where nobody looks."""
    if not sys.stderr.isatty():
        yield lambda keys: None
        return
    shown = begun

    def show(keys: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= _REDRAW_S:
            shown = now
            print(f"\radopt: {keys:,} keys, {keys / (now - begun):,.0f} keys/s", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if shown > begun:
            print(file=sys.stderr)
