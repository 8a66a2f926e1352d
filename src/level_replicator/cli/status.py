"""`level-replicator status` and `top`."""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal

from level_replicator.api.status import PeerStatus
from level_replicator.api.status import Status as NodeStatus
from level_replicator.cli.output import UsageError, bytes_text
from level_replicator.cli.target import DONE, FAILED, Database, NodeCommand, reached
from level_replicator.core.errors import ConfigError, ConnectionLostError

Counter = Literal["bytes_in", "bytes_out", "entries_in", "entries_out"]
_COLUMNS = ("peer", "state", "behind", "entries in/s", "entries out/s", "in/s", "out/s", "last error")
_LEFT = ("peer", "state", "last error")
_NO_RICH = "top needs rich: pip install 'level-replicator[cli]'"


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
        print(json.dumps(status, indent=2) if arguments.json else "\n".join(_lines(status)))
        return FAILED if status["failed"] else DONE


class Top(NodeCommand):
    NAME = "top"
    HELP = "Show the status of a node continuously, with rates, until Ctrl-C."
    EXAMPLE = "level-replicator top /tmp/lrep-0 --every 0.2 --times 2"

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--every", type=float, default=1.0, metavar="SECONDS", help="time between two updates (default: 1)"
        )
        parser.add_argument("--times", type=int, metavar="N", help="end after this many updates")

    def run(self, arguments: argparse.Namespace) -> int:
        if not arguments.every > 0:
            raise UsageError(f"--every: {arguments.every} is not a positive number of seconds")
        try:
            from rich.live import Live
        except ImportError as error:
            raise ConfigError(_NO_RICH) from error
        with reached(arguments) as database, Live(auto_refresh=False) as live:
            updates = 0
            before: tuple[float, NodeStatus] | None = None
            with suppress(KeyboardInterrupt):  # the normal end
                while arguments.times is None or updates < arguments.times:
                    if updates:
                        time.sleep(arguments.every)
                    now, status = _read(database)
                    live.update(_table(status, before, now), refresh=True)
                    if status is not None:
                        before = now, status
                    updates += 1
        return DONE


def _lines(status: NodeStatus) -> Iterator[str]:
    address = "{}:{}".format(*status["address"]) if status["address"] else "not listening"
    yield f"origin      {status['origin']}"
    yield f"address     {address}"
    if status["fingerprint"]:
        yield f"fingerprint {status['fingerprint']}"
    yield f"keys        {status['keys']:,}"
    yield f"log         {status['entries']:,} entries, about {bytes_text(status['log_bytes'])}"
    yield f"clients     {status['clients']}"
    if status["bulk_load_incomplete"]:
        yield "bulk load   incomplete"
    if status["lost"]:
        yield f"lost        {status['lost']:,} values, which have not come back from a peer yet"
    if status["failed"]:
        yield f"FAILED      {status['failed']}"
    if not status["peers"]:
        yield "peers       none"
        return
    width = max(len(_name(peer)) for peer in status["peers"])
    yield f"{'peer':{width}}  state        behind      in          out         last error"
    for peer in status["peers"]:
        flow = f"{bytes_text(peer['bytes_in']):11} {bytes_text(peer['bytes_out']):11}"
        line = f"{_name(peer):{width}}  {peer['state']:12} {_behind(peer):11} {flow} {peer['last_error'] or ''}"
        yield line.rstrip()
        if peer["waiting_for"] is not None:
            yield f"{'':{width}}  waits, for {peer['waiting_s']:.0f} s, for {peer['waiting_for']}"


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


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _table(status: NodeStatus | None, before: tuple[float, NodeStatus] | None, now: float) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    if status is None:
        return "the node cannot be reached; trying again"
    head = f"{status['origin']}  {status['keys']:,} keys  {status['entries']:,} log entries"
    head += f"  {bytes_text(status['log_bytes'])}  {_count(status['clients'], 'client')}"
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1),
        title=f"FAILED: {status['failed']}" if status["failed"] else head,
        title_justify="left",
    )
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in _LEFT else "right")
    earlier = {} if before is None else {peer["address"]: peer for peer in before[1]["peers"]}
    elapsed_s = 0.0 if before is None else max(now - before[0], 1e-6)
    for peer in status["peers"]:
        old = earlier.get(peer["address"])
        table.add_row(
            _name(peer),
            peer["state"],
            _behind(peer),
            f"{_rate(peer, old, 'entries_in', elapsed_s):,.0f}",
            f"{_rate(peer, old, 'entries_out', elapsed_s):,.0f}",
            bytes_text(_rate(peer, old, "bytes_in", elapsed_s)),
            bytes_text(_rate(peer, old, "bytes_out", elapsed_s)),
            peer["last_error"] or "",
        )
    return table


def _rate(peer: PeerStatus, old: PeerStatus | None, counter: Counter, elapsed_s: float) -> float:
    """Return the increase of a counter per second; 0 if there is no earlier status of the peer."""
    return 0.0 if old is None else max(0, peer[counter] - old[counter]) / elapsed_s
