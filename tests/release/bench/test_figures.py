"""Figures, their curves and their laws: the parts of the measurements that measure nothing."""

import pytest

from bench.data import key_of, pairs
from bench.figures import Collector, Series, baseline_of, curves, find, ratios
from bench.growth import law_of


def curve(samples_at: dict[float, list[float]]) -> list[Series]:
    return [Series("g", "cost", "ms", samples, None, size, "keys") for size, samples in samples_at.items()]


def test_ratios_are_taken_run_by_run() -> None:
    mine, other = Series("g", "a", "x", [2.0, 9.0]), Series("g", "b", "x", [4.0, 3.0])
    assert ratios(mine, other) == [0.5, 3.0]


def test_a_collector_keeps_runs_and_sizes_apart() -> None:
    collector = Collector("g", over="keys")
    for run in (1.0, 2.0):
        for size in (10, 100):
            collector.add("bare", "ms", run, at=size)
            collector.add("mine", "ms", run * size, at=size, baseline="bare")
    series = collector.series()
    assert [(each.name, each.at, each.samples) for each in series] == [
        ("bare", 10, [1.0, 2.0]),
        ("mine", 10, [10.0, 20.0]),
        ("bare", 100, [1.0, 2.0]),
        ("mine", 100, [100.0, 200.0]),
    ]
    largest = find(series, "g", "mine")
    assert largest is not None
    assert (largest.at, largest.over) == (100, "keys")
    baseline = baseline_of(largest, series)
    assert baseline is not None
    assert ratios(largest, baseline) == [100.0, 100.0]


def test_what_was_not_measured_as_often_is_no_baseline() -> None:
    mine = Series("g", "a", "x", [1.0, 2.0], baseline="b")
    assert baseline_of(mine, [mine]) is None
    assert baseline_of(mine, [mine, Series("g", "b", "x", [1.0])]) is None


def test_curves_are_in_the_order_of_their_sizes() -> None:
    series = [*curve({100: [1.0], 10: [1.0], 1000: [1.0]}), Series("g", "no curve", "ms", [1.0])]
    assert [[each.at for each in found] for found in curves(series)] == [[10, 100, 1000]]
    assert curves(series, least=4) == []


@pytest.mark.parametrize(
    ("power", "word"), [(0.0, "constant"), (0.1, "constant"), (1.0, "linear"), (-1.0, "inverse"), (2.0, "N^2.00")]
)
def test_a_power_law_is_found(power: float, word: str) -> None:
    law = law_of(curve({size: [3 * size**power] for size in (10, 100, 1000)}))
    assert law is not None
    assert law.exponent == pytest.approx(power)
    assert law.factor == pytest.approx(3)
    assert law.fit == pytest.approx(1)
    assert law.word == word


def test_a_law_that_fits_badly_says_so() -> None:
    law = law_of(curve({10: [1.0], 100: [50.0], 1000: [2.0]}))
    assert law is not None
    assert law.fit < 0.2


def test_where_nothing_is_there_is_no_law() -> None:
    assert law_of(curve({10: [0.0], 100: [0.0], 1000: [0.0]})) is None


def test_pairs_are_the_same_in_each_process_and_none_comes_twice() -> None:
    keys = [key for key, _ in pairs(1000)]
    assert len(set(keys)) == 1000
    assert keys[5:8] == [key_of(number) for number in (5, 6, 7)] == [key for key, _ in pairs(3, first=5)]
    assert {len(value) for _, value in pairs(3, 2_000_000)} == {2_000_000}
