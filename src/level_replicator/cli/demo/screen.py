"""The output of the demo: a live table in a terminal, plain lines anywhere else."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TextIO

PROGRESS_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Row:
    """One node at one moment."""

    name: str
    state: str
    links: int
    """Peers that the node is connected to, and receives from as they write."""
    written: int
    received: int
    behind: int
    keys: int


class Screen(Protocol):
    """Shows the run. `close` is idempotent; `say` and `event` work after it."""

    def event(self, text: str) -> None:
        """Show that something happened."""

    def show(self, rows: Sequence[Row]) -> None:
        """Show the present state of the nodes; to be called often."""

    def say(self, text: str) -> None:
        """Show a line of the summary."""

    def close(self) -> None: ...


class PlainScreen:
    """Prints a line for each event, and a line of progress each second; no escape codes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._began_s = time.monotonic()
        self._next_s = 0.0

    def event(self, text: str) -> None:
        self.say(f"{time.monotonic() - self._began_s:6.2f} s  {text}")

    def show(self, rows: Sequence[Row]) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + PROGRESS_INTERVAL_S
        self.event(" | ".join(_plain(row) for row in rows))

    def say(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def close(self) -> None:
        pass


def _plain(row: Row) -> str:
    return (
        f"{row.name} {row.state}: written {row.written:,}, received {row.received:,}, "
        f"behind {row.behind:,}, keys {row.keys:,}"
    )
