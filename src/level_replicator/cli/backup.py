"""`level-replicator backup`."""

import argparse
import json
import time
from pathlib import Path

from level_replicator.cli.target import add_keys, add_where, progress, reached

NAME = "backup"
HELP = (
    "Copies a replica, also one that runs on this machine, as of one moment and while writes go on. To restore it, see "
    "`restore`, or put the copy in the place of the directory: it goes on as a new origin by itself."
)
EXAMPLE = "level-replicator backup /tmp/lrep-0 /tmp/backup"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_where(parser, rs=True)
    parser.add_argument("destination", type=Path, metavar="DEST", help="a directory that does not exist, or is empty")
    parser.add_argument("--json", action="store_true", help="the number of keys, and the seconds it took, as JSON")
    add_keys(parser)


def run(arguments: argparse.Namespace) -> int:
    """Copies; returns the exit status."""
    begun = time.monotonic()
    with reached(arguments) as database, progress("backup") as told:
        # the node that runs has another working directory than we
        keys = database.backup(arguments.destination.absolute(), progress=told)
    if arguments.json:
        print(json.dumps({"keys": keys, "seconds": round(time.monotonic() - begun, 3)}))
    else:
        print(f"{keys:,} keys copied to {arguments.destination}")
    return 0
