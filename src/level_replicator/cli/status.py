"""`level-replicator status` and `top`."""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from level_replicator.api.replica import Replica
from level_replicator.api.status import PeerStatus
from level_replicator.api.status import Status as NodeStatus
from level_replicator.cli.output import UsageError, bytes_text, counted, duration, make_console, styled
from level_replicator.cli.target import DONE, FAILED, Database, NodeCommand, reached
from level_replicator.core.errors import ConnectionLostError

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

Sample = tuple[float, NodeStatus]
Counter = Literal["bytes_in", "bytes_out", "entries_in", "entries_out"]
_COLUMNS = ("peer", "state", "behind", "entries in/s", "out/s", "bytes in/s", "out/s", "last error")
_LEFT = ("peer", "state")
_FIXED_COLUMNS = 3
"""Peer, state and behind, which every terminal shows. The table itself never contains the last column, the error."""
_ANY_WIDTH = 10_000
_NAME_WIDTH = 12
_UNREACHABLE = "the node cannot be reached; trying again"
_STATE_STYLES = {
    "live": "green",
    "scanning": "cyan",
    "reconciling": "cyan",
    "connecting": "yellow",
    "handshake": "yellow",
    "waiting": "yellow",
    "quarantined": "bold red",
    "refused": "bold red",
    "gone": "dim",
}


class Status(NodeCommand):
    NAME = "status"
    HELP = (
        "Show the status of a node: its keys, its log, and for each peer the state, the number of entries that it is "
        "behind, and the last error. Exit status 1 if the node takes no more writes."
    )
    EXAMPLE = "level-replicator status /tmp/lrep-0"
    JSON = "the whole status as JSON"

    def run(self, arguments: argparse.Namespace) -> int:
        with reached(arguments) as database:
            status = database.status()
            running = not isinstance(database, Replica)
        if arguments.json:
            print(json.dumps({"running": running, **status}, indent=2))
        elif (console := make_console()) is None:
            print("\n".join([*_notice(running=running), *_summary(status), *_peer_lines(status)]))
        else:
            for line in _notice(running=running):
                styled(console, (line, "yellow"))
            for line in _summary(status):
                name, value = line[:_NAME_WIDTH], line[_NAME_WIDTH:]
                styled(console, (name, "bold red" if name.startswith("FAILED") else "bold"), value)
            if status["peers"]:
                console.print(_peer_table(status))
        return FAILED if status["failed"] else DONE


class Top(NodeCommand):
    NAME = "top"
    HELP = "Show the status of a node continuously, with rates, until Ctrl-C."
    EXAMPLE = "level-replicator top /tmp/lrep-0 --every 0.2 --times 2"

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--every", type=duration, default=1.0, metavar="TIME", help="time between two updates (default: 1s)"
        )
        parser.add_argument("--times", type=int, metavar="N", help="end after this many updates")

    def run(self, arguments: argparse.Namespace) -> int:
        if not arguments.every > 0:
            raise UsageError(f"--every: {arguments.every} is not a positive number of seconds")
        console = make_console()
        before: Sample | None = None
        with reached(arguments) as database, _display(console) as show:
            for line in _notice(running=not isinstance(database, Replica)):
                styled(console, (line, "yellow"))
            updates = 0
            with suppress(KeyboardInterrupt):  # the normal end
                while arguments.times is None or updates < arguments.times:
                    if updates:
                        time.sleep(arguments.every)
                    now, status = _read(database)
                    show(status, before, now)
                    if status is not None:
                        before = now, status
                    updates += 1
        return DONE


@contextmanager
def _display(console: "Console | None") -> Iterator[Callable[[NodeStatus | None, Sample | None, float], None]]:
    """Return a function that shows a status: in the place of the one before on a terminal, else as lines."""
    if console is None:
        yield lambda status, before, now: print("\n".join(_top_lines(status, before, now)), flush=True)
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        yield lambda status, before, now: live.update(_table(status, before, now), refresh=True)


def _top_lines(status: NodeStatus | None, before: Sample | None, now: float) -> list[str]:
    if status is None:
        return [_UNREACHABLE]
    rows = [list(_COLUMNS), *_rows(status, before, now)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [_head(status), *(lines if status["peers"] else [])]


def _notice(*, running: bool) -> list[str]:
    """Return the line that says that the command itself has opened the directory; none for a running node."""
    return [] if running else ["the node is not running; this is its data on disk"]


def _summary(status: NodeStatus) -> Iterator[str]:
    """Yield the lines about the node itself: a name in _NAME_WIDTH columns, then the value."""
    address = "{}:{}".format(*status["address"]) if status["address"] else "not listening"
    yield f"origin      {status['origin']}"
    yield f"address     {address}"
    if status["fingerprint"]:
        yield f"fingerprint {status['fingerprint']}"
    yield f"keys        {status['keys']:,}"
    yield f"log         {_log_text(status)}"
    yield f"clients     {status['clients']}"
    if status["bulk_load_incomplete"]:
        yield "bulk load   incomplete"
    if status["lost"]:
        yield f"lost        {status['lost']:,} values, which have not come back from a peer yet"
    if status["failed"]:
        yield f"FAILED      {status['failed']}"
    if not status["peers"]:
        yield "peers       none"


def _peer_lines(status: NodeStatus) -> Iterator[str]:
    """Yield the plain table of the peers, with whole addresses and errors."""
    if not status["peers"]:
        return
    width = max(len(_name(peer)) for peer in status["peers"])
    yield f"{'peer':{width}}  state        behind      in          out         last error"
    for peer in status["peers"]:
        flow = f"{bytes_text(peer['bytes_in']):11} {bytes_text(peer['bytes_out']):11}"
        line = f"{_name(peer):{width}}  {peer['state']:12} {_behind(peer):11} {flow} {peer['last_error'] or ''}"
        yield line.rstrip()
        if peer["waiting_for"] is not None:
            yield f"{'':{width}}  waits, for {peer['waiting_s']:.0f} s, for {peer['waiting_for']}"


def _log_text(status: NodeStatus) -> str:
    """Return the number of entries and their size. LevelDB's estimate does not count its write buffer."""
    entries = counted(status["entries"], "entry", "entries")
    if not status["entries"]:
        return entries
    if not status["log_bytes"]:
        return f"{entries}, still in the write buffer"
    return f"{entries}, about {bytes_text(status['log_bytes'])}"


def _name(peer: PeerStatus) -> str:
    return f"{peer['name']} ({peer['address']})" if peer["name"] else peer["address"]


def _behind(peer: PeerStatus) -> str:
    return "unknown" if peer["behind"] is None else f"{peer['behind']:,}"


def _read(database: Database) -> tuple[float, NodeStatus | None]:
    """Return the monotonic time in seconds, and the status; None: the node cannot be reached."""
    try:
        return time.monotonic(), database.status()
    except ConnectionLostError:
        return time.monotonic(), None


def _head(status: NodeStatus) -> str:
    if status["failed"]:
        return f"FAILED: {status['failed']}"
    keys, clients = counted(status["keys"], "key"), counted(status["clients"], "client")
    return f"{status['origin']}  {keys}  log: {_log_text(status)}  {clients}"


def _rows(status: NodeStatus, before: Sample | None, now: float) -> Iterator[list[str]]:
    """Yield the cells of _COLUMNS for each peer. `before`: the earlier status, for the rates."""
    earlier = {} if before is None else {peer["address"]: peer for peer in before[1]["peers"]}
    elapsed_s = 0.0 if before is None else max(now - before[0], 1e-6)
    for peer in status["peers"]:
        old = earlier.get(peer["address"])
        yield [
            _name(peer),
            peer["state"],
            _behind(peer),
            f"{_rate(peer, old, 'entries_in', elapsed_s):,.0f}",
            f"{_rate(peer, old, 'entries_out', elapsed_s):,.0f}",
            bytes_text(_rate(peer, old, "bytes_in", elapsed_s)),
            bytes_text(_rate(peer, old, "bytes_out", elapsed_s)),
            peer["last_error"] or "",
        ]


def _table(status: NodeStatus | None, before: Sample | None, now: float) -> Any:
    if status is None:
        return _UNREACHABLE
    return PeerTable(_COLUMNS, list(_rows(status, before, now)), title=_head(status), cut_errors=True)


def _peer_table(status: NodeStatus) -> Any:
    rows = []
    for peer in status["peers"]:
        error = peer["last_error"] or ""
        if peer["waiting_for"] is not None:
            error = f"waits, for {peer['waiting_s']:.0f} s, for {peer['waiting_for']}"
        flow = [bytes_text(peer["bytes_in"]), bytes_text(peer["bytes_out"])]
        rows.append([_name(peer), peer["state"], _behind(peer), *flow, error])
    return PeerTable(("peer", "state", "behind", "in", "out", "last error"), rows)


class PeerTable:
    """A table of the peers for a console of rich, with the errors in lines of their own below it.

    columns     the names of the columns: peer, state, behind, pairs of counters, and the last error
    rows        the cells of each peer
    title       the line above the table; empty: there is none
    cut_errors  cut a long error at the edge of the terminal; False: wrap it

    A narrow terminal shows fewer pairs of counters. If none is left, long names of peers are folded."""

    def __init__(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", cut_errors: bool = False
    ) -> None:
        self._columns = columns
        self._rows = rows
        self._title = title
        self._cut_errors = cut_errors

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """Return the parts for the width of the terminal, which may change while the table is shown."""
        from rich.measure import Measurement
        from rich.text import Text

        if self._title:
            yield Text(self._title, "bold")
        if not self._rows:
            return
        unlimited = options.update(max_width=_ANY_WIDTH)
        for dropped in range(0, len(self._columns) - _FIXED_COLUMNS, 2):
            table = self._table(dropped)
            if Measurement.get(console, unlimited, table).maximum <= options.max_width:
                break
        yield table
        for row in self._rows:
            if row[-1]:
                line = Text.assemble((row[0], "bold"), f": {row[-1]}")
                line.no_wrap = self._cut_errors
                line.overflow = "ellipsis" if self._cut_errors else "fold"
                yield line

    def _table(self, dropped: int) -> "Table":
        """Return the table without the first `dropped` counters, and without the errors."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, padding=(0, 1))
        shown = [0, 1, 2, *range(3 + dropped, len(self._columns) - 1)]
        for column in shown:
            name = self._columns[column]
            table.add_column(
                name, justify="left" if name in _LEFT else "right", overflow="fold", no_wrap=name != "peer"
            )
        for row in self._rows:
            state = Text(row[1], _STATE_STYLES.get(row[1], ""))
            table.add_row(Text(row[0]), state, *(Text(row[column]) for column in shown[2:]))
        return table


def _rate(peer: PeerStatus, old: PeerStatus | None, counter: Counter, elapsed_s: float) -> float:
    """Return the increase of a counter per second; 0 if there is no earlier status of the peer."""
    return 0.0 if old is None else max(0, peer[counter] - old[counter]) / elapsed_s
