"""Figures of several runs: medians, spreads, and ratios of figures of the same run."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Series:
    """One figure over all runs, in their order. `baseline`: the series of the same group, and at the same size, that it
    is compared with. `at`: the size that was measured, in units of `over`; several of these make a curve."""

    group: str
    name: str
    unit: str
    samples: list[float]
    baseline: str | None = None
    at: float | None = None
    over: str | None = None

    @property
    def median(self) -> float:
        return median(self.samples)


def ratios(series: Series, baseline: Series) -> list[float]:
    """Return the ratios run by run: other load of the machine slows both figures of a run, so ratios vary less."""
    return [mine / other for mine, other in zip(series.samples, baseline.samples, strict=True)]


def find(all_series: list[Series], group: str, name: str, at: float | None = None) -> Series | None:
    """Return the series at the size `at`; without `at`, at the largest measured size."""
    found = [
        series
        for series in all_series
        if (series.group, series.name) == (group, name) and (at is None or series.at == at)
    ]
    return max(found, key=lambda series: series.at or 0, default=None)


def baseline_of(series: Series, all_series: list[Series]) -> Series | None:
    """Return the baseline of the series, if it was measured as often."""
    if series.baseline is None:
        return None
    baseline = find(all_series, series.group, series.baseline, series.at)
    return baseline if baseline is not None and len(baseline.samples) == len(series.samples) else None


def curves(all_series: list[Series], least: int = 3) -> list[list[Series]]:
    """Return the series that were measured at `least` sizes or more, each as a list in the order of the sizes."""
    grouped: dict[tuple[str, str], list[Series]] = {}
    for series in all_series:
        if series.at is not None:
            grouped.setdefault((series.group, series.name), []).append(series)
    return [sorted(curve, key=lambda series: series.at or 0) for curve in grouped.values() if len(curve) >= least]


class Collector:
    """Collects figures run by run, in the order in which they first came. `over`: what the sizes `at` count."""

    def __init__(self, group: str, over: str | None = None) -> None:
        self._group = group
        self._over = over
        self._samples: dict[tuple[str, str, str | None, float | None], list[float]] = {}

    def add(self, name: str, unit: str, value: float, *, baseline: str | None = None, at: float | None = None) -> None:
        self._samples.setdefault((name, unit, baseline, at), []).append(value)

    def series(self) -> list[Series]:
        return [
            Series(self._group, name, unit, samples, baseline, at, None if at is None else self._over)
            for (name, unit, baseline, at), samples in self._samples.items()
        ]
