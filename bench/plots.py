"""A picture of each group of figures, beside the JSON: curves where there are sizes, else bars. Needs matplotlib."""

import re
from pathlib import Path
from typing import Any

from bench.figures import Series

_MOST_BARS = 24


def draw(all_series: list[Series], directory: Path) -> list[Path]:
    """Draw an SVG file for each group, in `directory`; none where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("svg")
    from matplotlib import pyplot

    # names, not curves of letters: a tenth of the size; and the same file for the same figures
    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 8})
    directory.mkdir(parents=True, exist_ok=True)
    drawn = []
    for group in dict.fromkeys(series.group for series in all_series):
        mine = [series for series in all_series if series.group == group]
        units = list(dict.fromkeys(series.unit for series in mine))
        figure, axes = pyplot.subplots(len(units), 1, figsize=(8, 3.2 * len(units)), squeeze=False)
        for axis, unit in zip(axes[:, 0], units, strict=True):
            _draw_unit(axis, [series for series in mine if series.unit == unit])
            axis.set_title(unit or "count")
        figure.suptitle(group)
        figure.tight_layout()
        path = directory / f"{name_of(group)}.svg"
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)
        drawn.append(path)
    return drawn


def name_of(group: str) -> str:
    """Return a name for a file: lower-case words with dashes."""
    return re.sub(r"[^a-z0-9]+", "-", group.lower().replace(",", "")).strip("-")


def _draw_unit(axis: Any, mine: list[Series]) -> None:
    sized = [series for series in mine if series.at is not None]
    if len({series.at for series in sized}) > 1:
        for name in dict.fromkeys(series.name for series in sized):
            _draw_curve(axis, name, sorted((s for s in sized if s.name == name), key=lambda s: s.at or 0))
        axis.set_xlabel(sized[0].over)
        axis.legend(fontsize=6, bbox_to_anchor=(1.02, 1), loc="upper left")
    else:
        _draw_bars(axis, mine[:_MOST_BARS])


def _draw_curve(axis: Any, name: str, curve: list[Series]) -> None:
    """Draw medians, and the spread as a band, in log-log: a power law is a straight line."""
    sizes = [series.at for series in curve]
    (line,) = axis.plot(sizes, [series.median for series in curve], marker="o", markersize=3, label=name)
    least, most = ([edge(series.samples) for series in curve] for edge in (min, max))
    axis.fill_between(sizes, least, most, alpha=0.2, color=line.get_color())
    axis.set_xscale("log")
    if all(value > 0 for value in least):
        axis.set_yscale("log")


def _draw_bars(axis: Any, mine: list[Series]) -> None:
    medians = [series.median for series in mine]
    errors = [
        [series.median - min(series.samples) for series in mine],
        [max(series.samples) - series.median for series in mine],
    ]
    axis.barh(range(len(mine)), medians, xerr=errors, height=0.6, capsize=2)
    axis.set_yticks(range(len(mine)), [series.name for series in mine])
    axis.invert_yaxis()
