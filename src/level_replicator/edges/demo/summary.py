"""The last lines of the demo: what was done, how fast, and whether it came out the same."""

import contextlib
from collections.abc import Iterator

import plyvel

from level_replicator.edges.demo.compare import compare
from level_replicator.edges.demo.failures import DemoFailure
from level_replicator.edges.demo.screen import Screen
from level_replicator.edges.demo.story import Outcome

MEGABYTE = 1_000_000


def work_done(outcome: Outcome) -> list[str]:
    """Lines for people. Rates are those of this run, with its kill and its cut link, all on one machine."""
    tallies = outcome.tallies
    writes = sum(tally.writes for tally in tallies)
    written = sum(tally.written_bytes for tally in tallies)
    entries = sum(tally.entries for tally in tallies)
    edits = sum(tally.edits for tally in tallies)
    deletes = sum(tally.deletes for tally in tallies)
    received = [master.received for master in outcome.masters]
    came = sum(entries for entries, _ in received)
    came_bytes = sum(count for _, count in received)
    return [
        f"written   {_rate(writes, written, outcome.fed_s)}",
        f"          {entries:,} entries of the data set, {edits:,} edits and {deletes:,} deletes",
        f"received  {_rate(came, came_bytes, outcome.level_s)}",
        *(f"meanwhile {incident}" for incident in outcome.incidents),
        f"level     {outcome.level_s - outcome.fed_s:.1f} s after the last write",
    ]


def verdict(outcome: Outcome, screen: Screen) -> None:
    """Compares the databases on disk and says `converged: ...` last. Raises DemoFailure with what differs."""
    databases = [(master.name, master.database) for master in outcome.masters]
    try:
        comparison = compare(databases)
        if not comparison.equal:
            head = f"NOT converged: {comparison.differing:,} keys differ"
            raise DemoFailure("\n  ".join([head, *comparison.differences]))
        with _contents(str(databases[0][1])) as contents:
            objections = outcome.ledger.objections(contents)
    except plyvel.Error as error:
        raise DemoFailure(f"a database of a master cannot be read: {error}") from error
    if objections:
        raise DemoFailure("\n  ".join(["NOT what was written, though equal everywhere:", *objections]))
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
