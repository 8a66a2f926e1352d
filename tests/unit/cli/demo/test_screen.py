"""The two screens show the same run."""

import io

from rich.console import Console

from level_replicator.cli.demo.rich_screen import RichScreen
from level_replicator.cli.demo.screen import PlainScreen, Row

ROWS = [
    Row("node 1", "running", 2, 1_234, 2_345, 0, 3_456),
    Row("node 2", "killed", 0, 12, 23, 99, 34),
]


def test_the_plain_screen_prints_a_line_a_second() -> None:
    out = io.StringIO()
    screen = PlainScreen(out)
    for _ in range(3):
        screen.show(ROWS)
    screen.event("the link is cut")
    screen.say("done")
    first, second, last = out.getvalue().splitlines()[0], *out.getvalue().splitlines()[-2:]
    assert "node 1 running: written 1,234, received 2,345, behind 0, keys 3,456 | node 2 killed" in first
    assert second.endswith("s  the link is cut")
    assert last == "done"


def test_the_rich_screen_shows_the_last_state_and_stops() -> None:
    out = io.StringIO()
    screen = RichScreen(Console(file=out, force_terminal=True, width=100))
    screen.show(ROWS)
    screen.event("the link [1-3] is cut")
    screen.close()
    screen.close()
    screen.say("converged: [bold]")
    text = out.getvalue()
    for shown in ("1,234", "2,345", "3,456", "killed", "the link [1-3] is cut"):
        assert shown in text
    assert text.endswith("converged: [bold]\n")
