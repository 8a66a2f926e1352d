"""The chart of the README: the speed of a replica beside what it is built on, from the stored results."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import catch_up, local_writes
from bench.figures import Series, find

CHART = Path(__file__).parents[1] / "docs" / "images" / "speed.svg"
_REPLICA, _BASE = "#4059d6", "#a8adbd"


@dataclass(frozen=True)
class Panel:
    """A group of bars. `bars`: name of the series and label; the first one is what the others are compared with.
    `at`: the size that was measured, for groups with several."""

    title: str
    group: str
    bars: list[tuple[str, str]]
    at: int | None = None


_WRITES = [
    (local_writes.BARE, "plyvel"),
    (local_writes.TWO, "plyvel, two LevelDBs"),
    (local_writes.ALONE, "replica alone"),
    (local_writes.LIVE_ARRIVED, "replica, until the\npeer has everything"),
]
PANELS = [
    Panel("Single puts", local_writes.GROUPS["puts"], _WRITES),
    Panel("Batches of 1,000", local_writes.GROUPS["batches"], _WRITES),
    Panel(
        "Copying 100,000 entries to another process",
        catch_up.GROUP,
        [
            (catch_up.COPY, "plyvel to plyvel over TCP"),
            (catch_up.EMPTY, "replica, into an empty node"),
            (catch_up.HOLDING, "replica, into a node with\nkeys of its own"),
        ],
        100_000,
    ),
]


def newest(panel: Panel, results: Path) -> tuple[dict[str, Any], list[Series]]:
    """Return the newest full results that have every bar of the panel, and the series of its bars.

    All bars of a panel come from the same file, since figures of different runs cannot be compared. Raises LookupError
    if no file in `results` has them."""
    for path in sorted(results.glob("*.json"), reverse=True):
        stored = json.loads(path.read_text("utf-8"))
        if stored.get("sizes") != "full":
            continue
        every = [Series(**fields) for fields in stored["series"]]
        found = [find(every, panel.group, name, panel.at) for name, _ in panel.bars]
        series = [each for each in found if each is not None]
        if len(series) == len(panel.bars):
            return stored, series
    raise LookupError(f"{results}: no full results of {panel.group!r}; run `python -m bench` first")


def draw(results: Path, path: Path = CHART) -> None:
    """Draw the chart as SVG. Needs matplotlib. Raises LookupError if a figure is missing."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9, "axes.titlesize": 10})
    pyplot.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
    heights = [len(panel.bars) for panel in PANELS]
    figure, axes = pyplot.subplots(len(PANELS), 1, figsize=(8, 6.2), gridspec_kw={"height_ratios": heights})
    stored: dict[str, Any] = {}
    for axis, panel in zip(axes, PANELS, strict=True):
        stored, series = newest(panel, results)
        _draw_panel(axis, panel, series)
    axes[-1].set_xlabel(f"entries per second: median, least and greatest of {stored['runs']} runs")
    machine = stored["machine"]
    about = f"{machine['cores']} cores ({machine['processor']}), {machine['python']}, {stored['date'][:10]}"
    figure.text(0.01, 0.01, f"Keys of 16 bytes, values of 100 bytes. {about}", fontsize=8, color="#555555")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _draw_panel(axis: Any, panel: Panel, series: list[Series]) -> None:
    medians = [each.median for each in series]
    errors = [
        [each.median - min(each.samples) for each in series],
        [max(each.samples) - each.median for each in series],
    ]
    colors = [_REPLICA if "replica" in label else _BASE for _, label in panel.bars]
    axis.barh(range(len(series)), medians, xerr=errors, height=0.65, color=colors, ecolor="#333333", capsize=2)
    axis.set_yticks(range(len(series)), [label for _, label in panel.bars])
    axis.invert_yaxis()
    axis.set_title(panel.title, loc="left", fontweight="bold")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    most = max(max(each.samples) for each in series)
    axis.set_xlim(0, most * 1.14)
    for row, each in enumerate(series):
        axis.text(max(each.samples) + most * 0.01, row, _rounded(each.median), va="center", fontsize=8)


def _rounded(figure: float) -> str:
    """Return the figure with three significant digits: the spread is larger than the rest."""
    return f"{float(f'{figure:.3g}'):,.0f}"
