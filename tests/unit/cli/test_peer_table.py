"""The table of the peers in terminals of several widths."""

import io

import pytest

from level_replicator.cli.status import PeerTable

console = pytest.importorskip("rich.console", reason="needs the extra cli")

COLUMNS = ("peer", "state", "behind", "entries in/s", "out/s", "bytes in/s", "out/s", "last error")
ERROR = "127.0.0.1:8001 cannot be reached: [Errno 111] Connect call failed ('127.0.0.1', 8001)"
NAME = "127.0.0.1:8001"
ROW = [NAME, "connecting", "1,234", "10,000", "10,000", "1000.0 KiB", "1000.0 KiB", ERROR]


def shown(width: int, row: list[str] = ROW, *, cut_errors: bool = True) -> list[str]:
    out = io.StringIO()
    table = PeerTable(COLUMNS, [row], title="the node", cut_errors=cut_errors)
    console.Console(file=out, width=width, highlight=False).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(("width", "rates"), [(200, 4), (80, 2), (60, 0)])
def test_a_narrow_terminal_shows_fewer_rates(width: int, rates: int) -> None:
    lines = shown(width)
    assert lines[0] == "the node"
    assert sum(line.count("/s") for line in lines) == rates
    rows = [line for line in lines if "connecting" in line]
    assert len(rows) == 1
    assert rows[0].split()[:3] == [NAME, "connecting", "1,234"]


@pytest.mark.parametrize("width", [60, 80])
def test_an_error_is_one_line_below_the_table(width: int) -> None:
    *_, last = shown(width)
    assert last.startswith(f"{NAME}: {ERROR[:30]}")
    assert last.endswith("…")
    assert len(last) == width


def test_an_error_can_be_shown_whole() -> None:
    lines = shown(60, cut_errors=False)
    assert "".join(lines).replace(" ", "").endswith(f"{NAME}:{ERROR}".replace(" ", ""))


def test_the_name_of_a_peer_is_folded_when_nothing_else_can_be_dropped() -> None:
    name = "a-host-with-quite-a-long-name.of-a-data-centre.example:8000"
    lines = shown(60, [name, *ROW[1:-1], ""])
    assert all(len(line) <= 60 for line in lines)
    cells = [line[1:].split(" ")[1] for line in lines if line.startswith("  ") and "peer" not in line]
    assert "".join(cells) == name
