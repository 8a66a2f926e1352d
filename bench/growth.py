"""The growth of a cost with a size: the power law that fits its curve."""

from dataclasses import dataclass
from math import exp, log

from bench.figures import Series

_FLAT, _LINE = 0.15, 0.15
"""The tolerance of an exponent that counts as 0 or as 1: measured curves are never quite straight."""


@dataclass(frozen=True)
class Law:
    """figure = factor · size ^ exponent. `fit`: the part of the variance of the logarithms that it explains, 0 to 1."""

    group: str
    name: str
    unit: str
    over: str
    exponent: float
    factor: float
    fit: float

    @property
    def word(self) -> str:
        if abs(self.exponent) <= _FLAT:
            return "constant"
        if abs(self.exponent - 1) <= _LINE:
            return "linear"
        if abs(self.exponent + 1) <= _LINE:
            return "inverse"
        return f"N^{self.exponent:.2f}"


def law_of(curve: list[Series]) -> Law | None:
    """Fit the medians by least squares in log-log. Return None if a figure is 0, which has no logarithm."""
    points = [(log(series.at), log(series.median)) for series in curve if series.at and series.median > 0]
    if len(points) < len(curve) or len(points) < 2:
        return None
    mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    spread_x = sum((x - mean_x) ** 2 for x, _ in points)
    spread_y = sum((y - mean_y) ** 2 for _, y in points)
    together = sum((x - mean_x) * (y - mean_y) for x, y in points)
    exponent = together / spread_x
    fit = together * together / (spread_x * spread_y) if spread_y else 1.0
    first = curve[0]
    return Law(
        first.group, first.name, first.unit, first.over or "", exponent, exp(mean_y - exponent * mean_x), min(fit, 1.0)
    )
