"""The screen for a terminal, drawn with rich. Importing this raises ImportError where rich is not installed."""

import collections
import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from level_replicator.cli.demo.screen import Row

EVENTS_SHOWN = 12
FRAMES_A_SECOND = 8
STATE_STYLES = {"running": "green", "starting": "yellow", "killed": "bold red"}


class RichScreen:
    """Shows a table of the nodes above the last events."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._began_s = time.monotonic()
        self._events: collections.deque[Text] = collections.deque(maxlen=EVENTS_SHOWN)
        self._rows: Sequence[Row] = ()
        self._live = Live(console=self._console, get_renderable=self._draw, refresh_per_second=FRAMES_A_SECOND)
        self._live.start()

    def event(self, text: str) -> None:
        elapsed_s = time.monotonic() - self._began_s
        self._events.append(Text.assemble((f"{elapsed_s:6.2f} s  ", "dim"), text))

    def show(self, rows: Sequence[Row]) -> None:
        self._rows = list(rows)

    def say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        self._live.stop()

    def _draw(self) -> RenderableType:
        table = Table(title="level-replicator demo", title_justify="left", header_style="bold")
        table.add_column("node")
        table.add_column("state", min_width=8)
        table.add_column("links", justify="right")
        for column in ("written", "received", "behind", "keys"):
            table.add_column(column, justify="right", min_width=9)
        for row in self._rows:
            table.add_row(
                row.name,
                Text(row.state, STATE_STYLES.get(row.state, "")),
                f"{row.links} of {len(self._rows) - 1}",
                f"{row.written:,}",
                f"{row.received:,}",
                Text(f"{row.behind:,}", "yellow" if row.behind else "green"),
                f"{row.keys:,}",
            )
        return Group(table, *list(self._events))
