"""How goals are judged, and that each has a figure to be judged by."""

from pathlib import Path

import pytest

from bench import goals, table
from bench.figures import Series
from bench.judging import Goal, at_size, exponent, judge, share, value, worst
from bench.options import full


@pytest.mark.parametrize(
    ("samples", "most", "verdict"),
    [
        ([3.0, 4.0, 5.0], False, "reached"),
        ([2.9, 4.0, 5.0], False, "reached, not in every run"),
        ([2.0, 2.9, 5.0], False, "short"),
        ([1.0, 2.0, 3.0], True, "reached"),
        ([1.0, 2.0, 3.1], True, "reached, not in every run"),
        ([1.0, 3.1, 3.2], True, "short"),
    ],
)
def test_the_median_decides_and_the_worst_run_is_told(samples: list[float], most: bool, verdict: str) -> None:
    judged = judge(Goal("n", 3.0, "ms", "h", value("g", "a"), most), [Series("g", "a", "ms", samples)])
    assert judged.verdict == verdict
    assert (judged.here, judged.least, judged.greatest) == (sorted(samples)[1], min(samples), max(samples))


def test_what_was_not_measured_is_not_judged() -> None:
    judged = judge(Goal("n", 3.0, "ms", "h", value("g", "a")), [])
    assert judged.verdict == "not measured"
    assert judged.here is None


def test_a_share_is_of_the_same_size() -> None:
    series = [
        Series("g", "copy", "/s", [10.0], None, 1),
        Series("g", "copy", "/s", [100.0], None, 2),
        Series("g", "mine", "/s", [5.0], None, 1),
        Series("g", "mine", "/s", [20.0], None, 2),
    ]
    assert share("g", "mine", "copy")(series) == [0.2]
    assert at_size("g", "mine", 2, 1)(series) == [4.0]
    assert at_size("g", "mine", 3, 1)(series) is None
    assert share("g", "mine", "none")(series) is None


def test_the_worst_of_several_is_there_only_if_all_are() -> None:
    series = [Series("g", "a", "x", [1.0, 5.0]), Series("g", "b", "x", [3.0, 2.0])]
    assert worst(value("g", "a"), value("g", "b"))(series) == [3.0, 5.0]
    assert worst(value("g", "a"), value("g", "c"))(series) is None


def test_growth_is_judged_by_its_exponent() -> None:
    series = [Series("g", "a", "ms", [size**0.5], None, size, "keys") for size in (1.0, 10.0, 100.0)]
    (found,) = exponent("g", "a")(series) or []
    assert found == pytest.approx(0.5)
    assert exponent("g", "b")(series) is None


def test_the_table_tells_ratio_size_law_and_verdict() -> None:
    series = [
        Series("g", name, "ms", [factor * size], baseline, size, "keys")
        for size in (1, 10, 100)
        for name, factor, baseline in (("bare", 1.0, None), ("mine", 2.0, "bare"))
    ]
    judged = judge(Goal("a goal", 1.0, "×", "of bare", share("g", "mine", "bare"), most=True), series)
    text = table.render({"python": "3"}, series, [judged])
    assert "2.000" in text
    assert "mine  [100 keys]" in text
    assert "linear" in text
    assert "short" in text


def test_goals_have_names_of_their_own() -> None:
    names = [(goal.name, goal.how) for goal in goals.goals(full(Path()))]
    assert len(set(names)) == len(names)
