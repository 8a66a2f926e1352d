"""`level-replicator restore`."""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from level_replicator.cli.target import offline
from level_replicator.core.errors import ConfigError, LockedError, StorageError
from level_replicator.storage.engine.plyvel import open_engine

NAME = "restore"
HELP = (
    "Puts a backup in the place of a directory, and opens it once: it goes on as a new origin, and what it does not "
    "know comes back from its peers. The directory must not be there, or be empty; with --replace it is kept "
    "beside, as DIR.before-restore."
)
EXAMPLE = "level-replicator restore /tmp/backup /tmp/lrep-restored"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("backup", type=Path, metavar="BACKUP", help="what `backup` made")
    parser.add_argument("directory", type=Path, metavar="DIR", help="where it is to run")
    parser.add_argument("--replace", action="store_true", help="put what is there aside")
    parser.add_argument("--json", action="store_true", help="origin and number of keys as JSON")


def run(arguments: argparse.Namespace) -> int:
    backup, directory = arguments.backup, arguments.directory
    for part in ("db", "rs"):
        if not (backup / part / "CURRENT").exists():
            raise ConfigError(f"{backup} is no backup: there is no LevelDB {backup / part}")
    aside = directory.with_name(directory.name + ".before-restore")
    occupied = directory.exists() and any(directory.iterdir())
    if occupied and not arguments.replace:
        raise ConfigError(f"{directory} is not empty: say --replace to put it aside")
    if occupied and aside.exists():
        raise ConfigError(f"{aside} is there already, from an earlier restore: take it away")
    try:
        copy = Path(tempfile.mkdtemp(prefix=directory.name + ".", dir=directory.absolute().parent))
        try:
            for part in ("db", "rs"):
                shutil.copytree(backup / part, copy / part)
            if occupied:
                if _is_open(directory):
                    raise ConfigError(f"{directory} is in use: stop the node first")
                directory.rename(aside)
            elif directory.exists():
                directory.rmdir()
            copy.rename(directory)
        except BaseException:
            shutil.rmtree(copy, ignore_errors=True)
            raise
    except OSError as error:
        raise StorageError(
            f"restoring failed: {error}. What was in {directory} is still there, or in {aside}"
        ) from error
    directory.chmod(0o777 & ~_umask())
    with offline(directory, None) as replica:
        status = replica.status()
    if arguments.json:
        print(json.dumps({"origin": status["origin"], "keys": status["keys"]}))
    else:
        print(f"{status['keys']:,} keys restored to {directory}, which goes on as origin {status['origin']}")
        if occupied:
            print(f"what was there before is in {aside}", file=sys.stderr)
    return 0


def _is_open(directory: Path) -> bool:
    """Whether a process holds the database."""
    try:
        open_engine(directory / "db", create=False).close()
    except LockedError:
        return True
    except Exception:
        return False  # it is no sound LevelDB: nobody has it open
    return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
