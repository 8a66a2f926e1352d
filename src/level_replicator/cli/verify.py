"""`level-replicator verify`."""

import argparse
import json
from base64 import b64encode
from typing import Any

from level_replicator.cli.target import UsageError, add_keys, add_where, progress, reached
from level_replicator.storage.maintenance.verify import Report
from level_replicator.storage.reconcile.comparison import Difference

NAME = "verify"
HELP = (
    "Whether the database of a node, running or not, holds what its index says, and the log what it should. With "
    "--peer: how it differs at this moment from a node that it is connected with. Exit status 0 when all is "
    "sound, repaired or equal, 1 when something is left, had to be given up, or differs."
)
EXAMPLE = "level-replicator verify /tmp/lrep-0"
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
    add_where(parser, rs=True)
    parser.add_argument(
        "--repair",
        action="store_true",
        help="repair what is found: from the log, from the database, else from peers, at their next connection; "
        "adopt what was written around the replica",
    )
    parser.add_argument("--peer", metavar="PEER", help="address, name or origin of a connected node")
    parser.add_argument("--json", action="store_true", help="the findings as JSON, with keys in Base64")
    add_keys(parser)


def run(arguments: argparse.Namespace) -> int:
    """Look, and repair if asked to; returns the exit status."""
    if arguments.peer is not None:
        if arguments.repair:
            raise UsageError("--repair: two nodes that differ are repaired by replication; verify each of them alone")
        with reached(arguments) as database:
            return _tell_difference(database.verify(arguments.peer), arguments)
    with reached(arguments) as database, progress("verify") as told:
        report = database.verify(repair=arguments.repair, progress=told)
    if arguments.json:
        print(json.dumps(_plain(report)))
    else:
        _tell(report)
    return 1 if report.left or report.lost or report.given_up else 0


def _tell_difference(found: Difference, arguments: argparse.Namespace) -> int:
    counts = {name: getattr(found, name) for name in ("only_here", "only_there", "differing")}
    if arguments.json:
        examples = [{"kind": kind, "key_base64": b64encode(key).decode()} for kind, key in found.examples]
        print(json.dumps({"equal": found.equal, **counts, "examples": examples}))
    elif found.equal:
        print("equal")
    else:
        for name, count in counts.items():
            print(f"{name.replace('_', ' '):10} {count:>12,}")
            for kind, key in found.examples[:_MOST_SHOWN]:
                if kind == name:
                    print(f"           {key!r}")
    return 0 if found.equal else 1


def _plain(report: Report) -> dict[str, Any]:
    return {
        "keys": report.keys,
        **{kind: getattr(report, kind) for kind in KINDS},
        "repaired": report.repaired,
        "lost": report.lost,
        "given_up": report.given_up,
        "left": report.left,
        "new_origin": report.new_origin,
        "renewed": report.new_origin,  # deprecated
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
    if report.lost:
        print(
            f"lost      {report.lost:>12,}  nowhere on this node: they come back from peers that have them; a second"
            " repair gives up the others"
        )
    if report.given_up:
        print(f"given up  {report.given_up:>12,}  nowhere on this node, and no peer brought them: forgotten")
    if report.left:
        print(f"left      {report.left:>12,}")
