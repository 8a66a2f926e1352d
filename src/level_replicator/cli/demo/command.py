"""The command `level-replicator demo`, and the summary at its end: the work done, the rates, and the verdict."""

import argparse
import contextlib
import math
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from level_replicator.cli.demo.checks import compare
from level_replicator.cli.demo.data_sets import open_data_set
from level_replicator.cli.demo.errors import DemoFailure, InputError
from level_replicator.cli.demo.scenario import Outcome, Scenario
from level_replicator.cli.demo.screen import PlainScreen, Screen
from level_replicator.leveldb import plyvel
from level_replicator.testing.process import ProcessError

MEGABYTE = 1_000_000


def work_done(outcome: Outcome) -> list[str]:
    """Return the summary, a line each. The rates include the kill and the cut link, and all nodes share one machine."""
    tallies = outcome.tallies
    writes = sum(tally.writes for tally in tallies)
    written = sum(tally.written_bytes for tally in tallies)
    entries = sum(tally.entries for tally in tallies)
    edits = sum(tally.edits for tally in tallies)
    deletes = sum(tally.deletes for tally in tallies)
    received = [node.received for node in outcome.nodes]
    came = sum(entries for entries, _ in received)
    came_bytes = sum(count for _, count in received)
    return [
        f"written   {_rate(writes, written, outcome.fed_s)}",
        f"          {entries:,} entries of the data set, {edits:,} edits and {deletes:,} deletes",
        f"received  {_rate(came, came_bytes, outcome.in_sync_s)}",
        *(f"incident  {incident}" for incident in outcome.incidents),
        f"in sync   {outcome.in_sync_s - outcome.fed_s:.1f} s after the last write",
    ]


def verdict(outcome: Outcome, screen: Screen) -> None:
    """Compare the databases on disk, and show `converged: ...` last. Raises DemoFailure with the differences."""
    databases = [(node.name, node.database) for node in outcome.nodes]
    try:
        comparison = compare(databases)
        if not comparison.equal:
            head = f"NOT converged: {comparison.differing:,} keys differ"
            raise DemoFailure("\n  ".join([head, *comparison.differences]))
        with _contents(str(databases[0][1])) as contents:
            objections = outcome.ledger.objections(contents)
    except plyvel.Error as error:
        raise DemoFailure(f"the database of a node cannot be read: {error}") from error
    if objections:
        raise DemoFailure("\n  ".join(["NOT converged: all nodes are equal, but differ from the writes:", *objections]))
    screen.say(f"converged: {comparison.contents[0].keys:,} keys, sha256 {comparison.contents[0].digest}")


@contextlib.contextmanager
def _contents(path: str) -> Iterator[Iterator[tuple[bytes, bytes]]]:
    with contextlib.closing(plyvel.DB(path)) as db, db.iterator() as contents:
        yield contents


def _rate(entries: int, count: int, seconds: float) -> str:
    seconds = max(seconds, 1e-3)
    return (
        f"{entries:,} entries, {count / MEGABYTE:,.1f} MB in {seconds:.1f} s: "
        f"{entries / seconds:,.0f} entries/s, {count / MEGABYTE / seconds:,.1f} MB/s"
    )


NAME = "demo"
HELP = (
    "Three nodes on real data: concurrent writes, a SIGKILL, a cut link; then their contents are compared. "
    "Exit status 0 when they are equal, 1 when not, 2 when the input cannot be used."
)
EXAMPLE = "level-replicator demo --plain --seed 1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        type=Path,
        metavar="DIR|FILE.jsonl|LEVELDB",
        help='the data: files of a directory; lines {"key": ..., "value": ...}, or key_base64 and so on; '
        "a LevelDB, which is copied first (default: the source of Python's standard library)",
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the three nodes there, in a new or empty DIR")
    parser.add_argument("--seed", type=int, help="seed of the random edits (default: a new one each time)")
    parser.add_argument(
        "--timeout", type=_seconds, default=120.0, metavar="SECONDS", help="time to get in sync (default: 120)"
    )
    parser.add_argument("--plain", action="store_true", help="print plain lines in a terminal, too")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo, and return its exit status."""
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1_000_000)
    try:
        with _place(arguments.keep) as place:
            return _run(arguments, place, seed)
    except InputError as error:
        print(f"level-replicator demo: {error}", file=sys.stderr)
        return 2
    except (DemoFailure, ProcessError) as failure:
        print(f"level-replicator demo: {failure}\n(seed {seed})", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace, place: Path, seed: int) -> int:
    with open_data_set(arguments.input, place) as data:
        screen: Screen = open_screen(plain=arguments.plain)
        try:
            screen.event(f"seed {seed}, in {place}")
            outcome = Scenario(data, place, seed, arguments.timeout, screen).run()
        finally:
            screen.close()
        for line in work_done(outcome):
            screen.say(line)
        if arguments.keep is not None:
            screen.say(f"kept      {arguments.keep}")
        verdict(outcome, screen)
    return 0


@contextlib.contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    """Give the directory of the nodes: `keep`, or a temporary one, which is kept only after a failure."""
    if keep is not None:
        try:
            keep.mkdir(parents=True, exist_ok=True)
            if any(keep.iterdir()):
                raise InputError(f"{keep}: not empty")
        except OSError as error:
            raise InputError(f"{keep}: {error.strerror or error}") from error
        yield keep
        return
    place = Path(tempfile.mkdtemp(prefix="level-replicator-demo-"))
    try:
        yield place
    except (DemoFailure, ProcessError) as failure:
        raise DemoFailure(f"{failure}\nthe three nodes are left in {place}") from failure
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    shutil.rmtree(place, ignore_errors=True)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def open_screen(*, plain: bool = False) -> Screen:
    """Return the best screen for standard output. Without rich it is plain, and a hint is printed on stderr."""
    if plain or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return PlainScreen(sys.stdout)
    try:
        from level_replicator.cli.demo.rich_screen import RichScreen
    except ImportError:
        print("hint: pip install 'level-replicator[demo]' shows this as a live table", file=sys.stderr)
        return PlainScreen(sys.stdout)
    return RichScreen()
