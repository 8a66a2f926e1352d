"""`level-replicator status` and `top`."""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal

from level_replicator.api.status import PeerStatus
from level_replicator.api.status import Status as NodeStatus
from level_replicator.cli.target import Database, UsageError, add_keys, add_where, reached
from level_replicator.core.errors import ConfigError, ConnectionLostError

Counter = Literal["bytes_in", "bytes_out", "entries_in", "entries_out"]
_NO_RICH = "top needs rich: pip install 'level-replicator[cli]'"


def bytes_text(count: float) -> str:
    """For people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def behind_text(peer: PeerStatus) -> str:
    return "unknown" if peer["behind"] is None else f"{peer['behind']:,}"


class Status:
    NAME = "status"
    HELP = "How a node is: its keys, its log, and of each peer the state, how far it is behind, and the last error."
    EXAMPLE = "level-replicator status /tmp/lrep-0"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_where(parser)
        parser.add_argument("--json", action="store_true", help="everything, as JSON")
        add_keys(parser)

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Exit status 1 when the node takes no more writes."""
        with reached(arguments) as database:
            status = database.status()
        if arguments.json:
            print(json.dumps(status, indent=2))
        else:
            print("\n".join(rows_of(status)))
        return 1 if status["failed"] else 0


def rows_of(status: NodeStatus) -> Iterator[str]:
    """For people."""
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
        yield f"lost        {status['lost']:,} values, which wait to come from a peer"
    if status["failed"]:
        yield f"FAILED      {status['failed']}"
    if not status["peers"]:
        yield "peers       none"
        return
    width = max(len(_name(peer)) for peer in status["peers"])
    yield f"{'peer':{width}}  state        behind      in          out         last error"
    for peer in status["peers"]:
        flow = f"{bytes_text(peer['bytes_in']):11} {bytes_text(peer['bytes_out']):11}"
        line = f"{_name(peer):{width}}  {peer['state']:12} {behind_text(peer):11} {flow} {peer['last_error'] or ''}"
        yield line.rstrip()
        if peer["waiting_for"] is not None:
            yield f"{'':{width}}  waits, for {peer['waiting_s']:.0f} s, for {peer['waiting_for']}"


def _name(peer: PeerStatus) -> str:
    return f"{peer['name']} ({peer['address']})" if peer["name"] else str(peer["address"])


class Top:
    NAME = "top"
    HELP = "The same, live, with rates, until Ctrl-C."
    EXAMPLE = "level-replicator top /tmp/lrep-0 --every 0.2 --times 2"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_where(parser)
        parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="default: 1")
        parser.add_argument("--times", type=int, metavar="N", help="end after so many looks")
        add_keys(parser)

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        if not arguments.every > 0:
            raise UsageError(f"--every: {arguments.every} is no number of seconds")
        try:
            from rich.live import Live
        except ImportError as error:
            raise ConfigError(_NO_RICH) from error
        with reached(arguments) as database, Live(auto_refresh=False) as live:
            looks = 0
            before: tuple[float, NodeStatus] | None = None
            # Ctrl-C is how it is meant to end
            with suppress(KeyboardInterrupt):
                while arguments.times is None or looks < arguments.times:
                    if looks:
                        time.sleep(arguments.every)
                    now, status = _look(database)
                    live.update(_table(status, before, now), refresh=True)
                    if status is not None:
                        before = now, status
                    looks += 1
        return 0


def _look(database: Database) -> tuple[float, NodeStatus | None]:
    try:
        return time.monotonic(), database.status()
    except ConnectionLostError:
        return time.monotonic(), None


def _table(status: NodeStatus | None, before: tuple[float, NodeStatus] | None, now: float) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    if status is None:
        return "the node is not there; looking again"
    head = f"{status['origin']}  {status['keys']:,} keys  {status['entries']:,} log entries"
    head += f"  {bytes_text(status['log_bytes'])}  {status['clients']} clients"
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1),
        title=f"FAILED: {status['failed']}" if status["failed"] else head,
        title_justify="left",
    )
    for name in ("peer", "state", "behind", "entries in/s", "entries out/s", "in/s", "out/s", "last error"):
        table.add_column(name, justify="left" if name in ("peer", "state", "last error") else "right")
    then = {} if before is None else {peer["address"]: peer for peer in before[1]["peers"]}
    elapsed = None if before is None else max(now - before[0], 1e-6)
    for peer in status["peers"]:
        old = then.get(peer["address"])

        def rate(counter: Counter, old: PeerStatus | None = old, peer: PeerStatus = peer) -> float:
            return 0.0 if old is None or elapsed is None else max(0, peer[counter] - old[counter]) / elapsed

        table.add_row(
            _name(peer),
            peer["state"],
            behind_text(peer),
            f"{rate('entries_in'):,.0f}",
            f"{rate('entries_out'):,.0f}",
            bytes_text(rate("bytes_in")),
            bytes_text(rate("bytes_out")),
            peer["last_error"] or "",
        )
    return table
