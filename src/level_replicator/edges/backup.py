"""`level-replicator backup`."""

import argparse
import json
import sys
import time
from pathlib import Path

from level_replicator.core.errors import LockedError, ReplicationError
from level_replicator.edges.offline import add_place, offline, progress

NAME = "backup"
HELP = (
    "Copies a replica that nobody has open. To restore it, put the copy in the place of the directory: it goes on as a "
    "new origin by itself."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("destination", type=Path, metavar="DEST", help="a directory that does not exist, or is empty")
    parser.add_argument("--json", action="store_true", help="the number of keys, and the seconds it took, as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Copies; returns the exit status."""
    begun = time.monotonic()
    try:
        with offline(arguments.directory, arguments.rs) as replica, progress("backup") as told:
            keys = replica.backup(arguments.destination, progress=told)
    except LockedError as error:
        print(f"level-replicator backup: {error}; a live replica offers replica.backup(path)", file=sys.stderr)
        return 1
    except ReplicationError as error:
        print(f"level-replicator backup: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps({"keys": keys, "seconds": round(time.monotonic() - begun, 3)}))
    else:
        print(f"{keys:,} keys copied to {arguments.destination}")
    return 0
