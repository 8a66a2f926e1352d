"""`level-replicator backup` and `restore`."""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from level_replicator.cli.output import UsageError, counted, print_result, progress
from level_replicator.cli.target import DONE, NodeCommand, offline, reached
from level_replicator.client.connect import path_of
from level_replicator.core.errors import ConfigError, LockedError, StorageError
from level_replicator.storage.engine.plyvel import open_engine


class Backup(NodeCommand):
    NAME = "backup"
    HELP = (
        "Copy a replica as of one moment, while writes continue. The node may run on this machine or be stopped. To "
        "restore it, see `restore`, or put the copy in the place of the directory: it gets a new origin when it is "
        "opened."
    )
    EXAMPLE = "level-replicator backup /tmp/lrep-0 /tmp/backup"
    JSON = "the number of keys and the duration in seconds as JSON"

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "destination", type=Path, metavar="DEST", help="a directory that does not exist or is empty"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        if path_of(arguments.where) is None:
            raise UsageError(
                f"{arguments.where}: a node writes files only for commands on its own machine: give the node's"
                " directory instead of HOST:PORT"
            )
        begun = time.monotonic()
        with reached(arguments) as database, progress("backup", database.status()["keys"]) as show:
            # a running node has another working directory than this process
            keys = database.backup(arguments.destination.absolute(), progress=show)
        result = {"keys": keys, "seconds": round(time.monotonic() - begun, 3)}
        print_result(arguments, result, f"{counted(keys, 'key')} copied to {arguments.destination}")
        return DONE


class Restore:
    NAME = "restore"
    HELP = (
        "Copy a backup to a directory and open it once, so that it gets a new origin. Writes that are newer than the "
        "backup come back from the peers. The directory must not exist or be empty; with --replace it is kept as "
        "DIR.before-restore."
    )
    EXAMPLE = "level-replicator restore /tmp/backup /tmp/lrep-restored"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("backup", type=Path, metavar="BACKUP", help="a directory that `backup` created")
        parser.add_argument("directory", type=Path, metavar="DIR", help="the directory of the restored node")
        parser.add_argument("--replace", action="store_true", help="rename the existing directory")
        parser.add_argument("--json", action="store_true", help="origin and number of keys as JSON")

    def run(self, arguments: argparse.Namespace) -> int:
        backup, directory = arguments.backup, arguments.directory
        for part in ("db", "rs"):
            if not (backup / part / "CURRENT").exists():
                raise ConfigError(f"{backup} is not a backup: there is no LevelDB {backup / part}")
        if _is_open(backup):
            raise LockedError(
                f"{backup} is in use, so a copy of its files would be inconsistent: stop the node, or copy it with"
                " `level-replicator backup` and restore that copy"
            )
        aside = _put_in_place(backup, directory, replace=arguments.replace)
        with offline(directory, None) as replica:
            status = replica.status()
        origin, keys = status["origin"], status["keys"]
        text = f"{counted(keys, 'key')} restored to {directory}; its new origin is {origin}"
        print_result(arguments, {"origin": origin, "keys": keys}, text)
        if aside is not None and not arguments.json:
            print(f"the directory that was there before is now {aside}", file=sys.stderr)
        return DONE


def _put_in_place(backup: Path, directory: Path, *, replace: bool) -> Path | None:
    """Copy the backup to the directory. Returns where the directory that was there before is now, if there was one.

    The copy is made beside the directory and renamed at the end, so a failure leaves the directory as it was. Raises
    ConfigError, StorageError."""
    aside = directory.with_name(directory.name + ".before-restore")
    occupied = directory.exists() and any(directory.iterdir())
    if occupied and not replace:
        raise ConfigError(f"{directory} is not empty: use --replace to rename it to {aside.name}")
    if occupied and aside.exists():
        raise ConfigError(f"{aside} exists already, from an earlier restore: remove or rename it")
    try:
        copy = Path(tempfile.mkdtemp(prefix=directory.name + ".", dir=directory.absolute().parent))
        try:
            for part in ("db", "rs"):
                shutil.copytree(backup / part, copy / part)
            if occupied:
                if _is_open(directory):
                    raise LockedError(f"{directory} is in use: stop the node first")
                directory.rename(aside)
            elif directory.exists():
                directory.rmdir()
            copy.rename(directory)
        except BaseException:
            shutil.rmtree(copy, ignore_errors=True)
            raise
    except OSError as error:
        raise StorageError(
            f"the restore failed: {error}. The previous content of {directory} is still there, or in {aside}"
        ) from error
    directory.chmod(0o777 & ~_umask())
    return aside if occupied else None


def _is_open(directory: Path) -> bool:
    """Return whether a process has the database or the replication set open."""
    for part in ("db", "rs"):
        try:
            open_engine(directory / part, create=False).close()
        except LockedError:
            return True
        except Exception:  # missing, damaged or read-only: no process has it open
            continue
    return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
