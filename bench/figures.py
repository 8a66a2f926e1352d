"""Figures of several runs: medians, spreads, and ratios of what was measured in the same run."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Series:
    """One figure over all runs, in their order. `baseline`: the series of the same group that it is compared with."""

    group: str
    name: str
    unit: str
    samples: list[float]
    baseline: str | None = None

    @property
    def median(self) -> float:
        return median(self.samples)


def ratios(series: Series, baseline: Series) -> list[float]:
    """Run by run: what else the machine does in a run slows both, so a ratio says more than two medians."""
    return [mine / other for mine, other in zip(series.samples, baseline.samples, strict=True)]


def find(all_series: list[Series], group: str, name: str) -> Series | None:
    return next((series for series in all_series if (series.group, series.name) == (group, name)), None)


class Collector:
    """Collects figures run by run, in the order in which they first came."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._samples: dict[tuple[str, str, str | None], list[float]] = {}

    def add(self, name: str, unit: str, value: float, *, baseline: str | None = None) -> None:
        self._samples.setdefault((name, unit, baseline), []).append(value)

    def series(self) -> list[Series]:
        return [
            Series(self._group, name, unit, samples, baseline)
            for (name, unit, baseline), samples in self._samples.items()
        ]
