"""`level-replicator demo`."""

import argparse
import contextlib
import math
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from level_replicator.edges.demo.data_sets import open_data_set
from level_replicator.edges.demo.failures import DemoFailure, InputError
from level_replicator.edges.demo.process import MasterGone
from level_replicator.edges.demo.screen import Screen, open_screen
from level_replicator.edges.demo.story import Story
from level_replicator.edges.demo.summary import verdict, work_done

NAME = "demo"
HELP = (
    "Three masters on real data: concurrent writes, a SIGKILL, a cut link; then their contents are compared. "
    "Exit status 0 when they are equal, 1 when not, 2 when the input cannot be used."
)
EXAMPLE = "level-replicator demo --no-color"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        type=Path,
        metavar="DIR|FILE.jsonl|LEVELDB",
        help='the data: files of a directory; lines {"key": ..., "value": ...}, or key_base64 and so on; '
        "a LevelDB, which is copied first (default: the source of Python's standard library)",
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the three masters there, in a new or empty DIR")
    parser.add_argument("--seed", type=int, help="of the random edits (default: another one each time)")
    parser.add_argument(
        "--timeout", type=_seconds, default=120.0, metavar="SECONDS", help="to become level in (default: 120)"
    )
    parser.add_argument("--plain", action="store_true", help="plain lines in a terminal, too")


def run(arguments: argparse.Namespace) -> int:
    """Runs the demo; returns its exit status."""
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1_000_000)
    try:
        with _place(arguments.keep) as place:
            return _run(arguments, place, seed)
    except InputError as error:
        print(f"level-replicator demo: {error}", file=sys.stderr)
        return 2
    except (DemoFailure, MasterGone) as failure:
        print(f"level-replicator demo: {failure}\n(seed {seed})", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace, place: Path, seed: int) -> int:
    with open_data_set(arguments.input, place) as data:
        screen: Screen = open_screen(plain=arguments.plain)
        try:
            screen.event(f"seed {seed}, in {place}")
            outcome = Story(data, place, seed, arguments.timeout, screen).tell()
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
    """Where the masters live: `keep`, or a directory that goes away, unless there is something to look at."""
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
    except (DemoFailure, MasterGone) as failure:
        raise DemoFailure(f"{failure}\nthe three masters are left in {place}") from failure
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
