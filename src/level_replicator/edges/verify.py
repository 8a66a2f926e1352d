"""`level-replicator verify`."""

import argparse
import json
import sys
from base64 import b64encode
from typing import Any

from level_replicator.core.errors import LockedError, ReplicationError
from level_replicator.edges.offline import add_place, offline, progress
from level_replicator.storage.verifying import Report

NAME = "verify"
HELP = (
    "Whether the database of a replica that nobody has open holds what its index says, and the log what it should. "
    "Exit status 0 when all is sound or was repaired, 1 when something is left or had to be given up."
)
KINDS = {
    "missing": "in the index, but not in the database",
    "changed": "in the database with another value than the index says",
    "unknown": "in the database, but not in the index, or deleted there: written around the replica",
    "unlogged": "without their entry in the log",
    "damaged": "with an entry in the log that cannot be read",
    "orphaned": "entries of the log that belong to no key",
}
_MOST_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument(
        "--repair",
        action="store_true",
        help="mend what is found: from the log, from the database, else from peers, at their next connection; "
        "adopt what was written around the replica",
    )
    parser.add_argument("--json", action="store_true", help="the findings as JSON, with keys in Base64")


def run(arguments: argparse.Namespace) -> int:
    """Looks, and mends if asked to; returns the exit status."""
    try:
        with offline(arguments.directory, arguments.rs) as replica, progress("verify") as told:
            report = replica.verify(repair=arguments.repair, progress=told)
    except LockedError as error:
        print(f"level-replicator verify: {error}; a live replica offers replica.verify()", file=sys.stderr)
        return 1
    except ReplicationError as error:
        print(f"level-replicator verify: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(_plain(report)))
    else:
        _tell(report)
    return 1 if report.left or report.given_up else 0


def _plain(report: Report) -> dict[str, Any]:
    return {
        "keys": report.keys,
        **{kind: getattr(report, kind) for kind in KINDS},
        "repaired": report.repaired,
        "given_up": report.given_up,
        "left": report.left,
        "renewed": report.renewed,
        "examples": [{"kind": kind, "key_base64": b64encode(key).decode()} for kind, key in report.examples],
    }


def _tell(report: Report) -> None:
    print(f"{report.keys:,} keys")
    for kind, meaning in KINDS.items():
        if count := getattr(report, kind):
            print(f"{kind:9} {count:>12,}  {meaning}")
            examples = [key for each, key in report.examples if each == kind]
            for key in examples[:_MOST_SHOWN]:
                print(f"          {key!r}")
    if report.sound:
        print("sound")
        return
    print(f"repaired  {report.repaired:>12,}")
    if report.given_up:
        print(f"given up  {report.given_up:>12,}  nowhere any more: they come back from peers that have them")
    if report.left:
        print(f"left      {report.left:>12,}")
