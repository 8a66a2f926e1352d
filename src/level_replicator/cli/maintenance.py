"""`level-replicator adopt` and `verify`."""

import argparse
import json
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from level_replicator.cli.output import UsageError, counted, make_console, print_result, progress, styled
from level_replicator.cli.target import DONE, FAILED, OFFLINE, NodeCommand, offline, reached
from level_replicator.core.errors import ConfigError
from level_replicator.install import RS_OPTIONS, install, new_origin
from level_replicator.storage.engine.plyvel import PlyvelEngine, open_engine
from level_replicator.storage.maintenance.verify import Report
from level_replicator.storage.reconcile.comparison import Difference

_FINDINGS = {
    "missing": "in the index, but not in the database",
    "changed": "in the database with another value than in the index",
    "unknown": "in the database, but not in the index, or deleted there: written without the replica",
    "unlogged": "not in the log, although the log should have an entry",
    "damaged": "with an entry in the log that cannot be read",
    "orphaned": "entries of the log that belong to no key",
}
_MAX_EXAMPLES = 10


class Adopt:
    NAME = "adopt"
    HELP = (
        "Turn a LevelDB with data, which no process has open, into a node: each of its keys becomes a write of this "
        "node. The database is not changed, and no value is stored a second time. The same command continues an "
        "adoption that was interrupted, and does nothing after a complete one."
    )
    EXAMPLE = "level-replicator adopt /tmp/notes"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "directory", type=Path, metavar="DIR", help="a directory with the LevelDB `db` in it, or a LevelDB"
        )
        parser.add_argument(
            "--rs",
            type=Path,
            help="directory of the replication set, created if missing (default: DIR/rs, if DIR has a `db` in it)",
        )
        parser.add_argument(
            "--json", action="store_true", help="the number of keys and the duration in seconds as JSON"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        begun = time.monotonic()
        db, rs = _directories(arguments.directory, arguments.rs)
        try:
            with progress("adopt") as show:
                keys, adopted = _adopt(db, rs, show)
        except KeyboardInterrupt:
            print("level-replicator adopt: the same command continues the adoption", file=sys.stderr)
            raise
        seconds = time.monotonic() - begun
        if adopted:
            text = f"{counted(keys, 'key')} adopted in {seconds:.1f} s ({keys / seconds:,.0f} keys/s)"
        else:
            text = f"nothing to adopt: the replication set has {counted(keys, 'key')} already"
        print_result(arguments, {"keys": keys, "seconds": round(seconds, 3)}, text)
        return DONE


def _directories(directory: Path, rs: Path | None) -> tuple[Path, Path]:
    """Return the directories of database and replication set. Raises ConfigError."""
    db = directory
    if not _is_leveldb(db):
        db = directory / "db"
        rs = rs or directory / "rs"
        if not _is_leveldb(db):
            raise ConfigError(f"there is no LevelDB {directory} or {db}")
    if rs is None:
        raise ConfigError(f"{db} is itself a LevelDB: give a directory for its replication set with --rs")
    if rs.resolve() == db.resolve():
        raise ConfigError(f"the replication set of {db} needs a directory of its own")
    return db, rs


def _is_leveldb(directory: Path) -> bool:
    return (directory / "CURRENT").is_file()


def _adopt(db: Path, rs: Path, show: Callable[[int], None]) -> tuple[int, bool]:
    """Return the number of keys, and whether there was anything to adopt."""
    adopted = False

    def count(keys: int) -> None:
        nonlocal adopted
        adopted = True
        show(keys)

    with (
        closing(open_engine(db, create=False)) as database,
        closing(_open_rs(rs)) as replication_set,
        install(database.db, replication_set.db, OFFLINE, adopt=True, progress=count) as replica,
    ):
        return replica.status()["keys"], adopted


def _open_rs(rs: Path) -> PlyvelEngine:
    try:
        rs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{rs}: {error.strerror or error}") from error
    return open_engine(rs, **RS_OPTIONS)


class Verify(NodeCommand):
    NAME = "verify"
    HELP = (
        "Check that the database of a node, running or stopped, agrees with its index and its log. With --peer: "
        "compare it at this moment with a node that it is connected to. Exit status 0 if it is sound, repaired or "
        "equal; 1 if something is left or was given up, or the nodes differ."
    )
    EXAMPLE = "level-replicator verify /tmp/lrep-0"
    JSON = "the findings as JSON, with keys in Base64"

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--repair",
            action="store_true",
            help="repair the findings: from the log, from the database, or from peers at their next connection; adopt "
            "keys that were written without the replica",
        )
        parser.add_argument("--peer", metavar="PEER", help="address, name or origin of a connected peer")

    def run(self, arguments: argparse.Namespace) -> int:
        if arguments.peer is not None:
            if arguments.repair:
                raise UsageError("--repair: replication repairs two nodes that differ; verify each of them alone")
            with reached(arguments) as database:
                return _print_difference(database.verify(arguments.peer), arguments)
        with reached(arguments) as database, progress("verify", database.status()["keys"]) as show:
            report = database.verify(repair=arguments.repair, progress=show)
        if arguments.json:
            print(json.dumps(_report_json(report)))
        else:
            _print_report(report)
        return FAILED if report.left or report.lost or report.given_up else DONE


def _print_difference(found: Difference, arguments: argparse.Namespace) -> int:
    counts = {name: getattr(found, name) for name in ("only_here", "only_there", "differing")}
    if arguments.json:
        print(json.dumps({"equal": found.equal, **counts, "examples": _examples_json(found)}))
    elif found.equal:
        styled(make_console(), ("equal", "green"))
    else:
        for name, count in counts.items():
            print(f"{name.replace('_', ' '):10} {count:>12,}")
            for kind, key in found.examples[:_MAX_EXAMPLES]:
                if kind == name:
                    print(f"           {key!r}")
    return DONE if found.equal else FAILED


def _examples_json(found: Report | Difference) -> list[dict[str, str]]:
    return [{"kind": kind, "key_base64": b64encode(key).decode()} for kind, key in found.examples]


def _report_json(report: Report) -> dict[str, Any]:
    return {
        "keys": report.keys,
        "tombstones": report.tombstones,
        **{kind: getattr(report, kind) for kind in _FINDINGS},
        "repaired": report.repaired,
        "lost": report.lost,
        "given_up": report.given_up,
        "left": report.left,
        "new_origin": report.new_origin,
        "renewed": report.new_origin,  # deprecated
        "examples": _examples_json(report),
    }


def _print_report(report: Report) -> None:
    console = make_console()
    print(f"{counted(report.keys, 'key')} and {counted(report.tombstones, 'tombstone')} checked")
    for kind, meaning in _FINDINGS.items():
        if count := getattr(report, kind):
            styled(console, (f"{kind:9}", "yellow"), f" {count:>12,}  {meaning}")
            examples = [key for each, key in report.examples if each == kind]
            for key in examples[:_MAX_EXAMPLES]:
                print(f"          {key!r}")
    if report.sound:
        styled(console, ("sound", "green"))
        return
    print(f"repaired  {report.repaired:>12,}")
    if report.lost:
        print(
            f"lost      {report.lost:>12,}  neither in the log nor in the database: they come back from peers that have"
            " them; a second repair gives up the others"
        )
    if report.given_up:
        print(f"given up  {report.given_up:>12,}  not on this node, and no peer sent them: forgotten")
    if report.left:
        styled(console, ("left     ", "bold red"), f" {report.left:>12,}")


class NewOrigin:
    NAME = "new-origin"
    HELP = (
        "Let a stopped node start under a new origin. Use this for one of two nodes that have the same origin because "
        "a directory was copied."
    )
    EXAMPLE = "level-replicator new-origin /tmp/notes"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("directory", type=Path, metavar="DIR", help="the directory of the node, or its LevelDB")
        parser.add_argument("--rs", type=Path, help="directory of the replication set (default: DIR/rs)")
        parser.add_argument("--json", action="store_true", help="the new origin as JSON")

    def run(self, arguments: argparse.Namespace) -> int:
        rs = arguments.rs or arguments.directory / "rs"
        if not _is_leveldb(rs):
            raise ConfigError(f"there is no replication set {rs}")
        with closing(open_engine(rs, create=False, **RS_OPTIONS)) as engine:
            new_origin(engine.db)
        with offline(arguments.directory, arguments.rs) as replica:
            origin = replica.origin
        print_result(arguments, {"origin": origin}, f"the new origin of {arguments.directory} is {origin}")
        return DONE
