"""The judgement of a goal: its figure, run by run, out of the series of this run, and a verdict."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bench.figures import Series, curves, find, ratios
from bench.growth import law_of

Figures = Callable[[list[Series]], list[float] | None]
"""Returns the figure to be judged, run by run; None if it was not measured."""


@dataclass(frozen=True)
class Goal:
    """`wanted` is the least, or with `most` the greatest, that the median over the runs may be."""

    name: str
    wanted: float
    unit: str
    how: str
    figures: Figures
    most: bool = False


@dataclass(frozen=True)
class Judged:
    """`here`: the median over the runs; `least` and `greatest` of them; all None where nothing was measured."""

    name: str
    wanted: float
    most: bool
    unit: str
    how: str
    here: float | None
    least: float | None
    greatest: float | None
    verdict: str


def judge(goal: Goal, all_series: list[Series]) -> Judged:
    samples = goal.figures(all_series)
    if not samples:
        return Judged(goal.name, goal.wanted, goal.most, goal.unit, goal.how, None, None, None, "not measured")
    here, least, greatest = median(samples), min(samples), max(samples)
    worst = greatest if goal.most else least
    verdict = "short"
    if _reaches(goal, here):
        verdict = "reached" if _reaches(goal, worst) else "reached, not in every run"
    return Judged(goal.name, goal.wanted, goal.most, goal.unit, goal.how, here, least, greatest, verdict)


def _reaches(goal: Goal, value: float) -> bool:
    return value <= goal.wanted if goal.most else value >= goal.wanted


# -- what can be judged


def value(group: str, name: str) -> Figures:
    """Judge the figure itself, at the largest size."""

    def figures(all_series: list[Series]) -> list[float] | None:
        series = find(all_series, group, name)
        return None if series is None else series.samples

    return figures


def share(group: str, name: str, of: str, of_group: str | None = None) -> Figures:
    """Judge the figure as a multiple of another one of the same run, at the largest size that both have."""

    def figures(all_series: list[Series]) -> list[float] | None:
        mine = find(all_series, group, name)
        other = None if mine is None else find(all_series, of_group or group, of, mine.at if of_group is None else None)
        if mine is None or other is None or len(mine.samples) != len(other.samples):
            return None
        return ratios(mine, other)

    return figures


def exponent(group: str, name: str) -> Figures:
    """Judge the exponent of the growth of the figure with the size."""

    def figures(all_series: list[Series]) -> list[float] | None:
        for curve in curves(all_series):
            if (curve[0].group, curve[0].name) == (group, name):
                law = law_of(curve)
                return None if law is None else [law.exponent]
        return None

    return figures


def at_size(group: str, name: str, at: float, of_at: float) -> Figures:
    """Judge the figure at one size, as a multiple of that at another size."""

    def figures(all_series: list[Series]) -> list[float] | None:
        mine, other = (find(all_series, group, name, size) for size in (at, of_at))
        return None if mine is None or other is None else ratios(mine, other)

    return figures


def at(group: str, name: str, size: float) -> Figures:
    """Judge the figure itself, at this size."""

    def figures(all_series: list[Series]) -> list[float] | None:
        series = find(all_series, group, name, size)
        return None if series is None else series.samples

    return figures


def worst(*each: Figures) -> Figures:
    """Judge the greatest of several figures, run by run."""

    def figures(all_series: list[Series]) -> list[float] | None:
        found = [samples for one in each if (samples := one(all_series)) is not None]
        return [max(run) for run in zip(*found, strict=True)] if len(found) == len(each) else None

    return figures
