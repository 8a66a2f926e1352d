"""The figures as plain tables: all of them, ratios first; then the laws of growth; then the goals."""

from statistics import median

from bench.figures import Series, baseline_of, curves, ratios
from bench.growth import Law, law_of
from bench.judging import Judged


def render(about: dict[str, str], all_series: list[Series], goals: list[Judged]) -> str:
    return "\n".join([*_machine(about), *_figures(all_series), *_laws(all_series), *_goals(goals)])


def laws(all_series: list[Series]) -> list[Law]:
    """Return the law of growth of each curve that has one."""
    return [law for curve in curves(all_series) if (law := law_of(curve)) is not None]


def _machine(about: dict[str, str]) -> list[str]:
    width = max(map(len, about))
    return [f"{name:<{width}}  {text}" for name, text in about.items()]


def _figures(all_series: list[Series]) -> list[str]:
    lines: list[str] = []
    # a group of which other systems were measured elsewhere is one table all the same
    for group in dict.fromkeys(series.group for series in all_series):
        lines += ["", group, f"  {'ratio':>6} {'(spread)':>15}  {'median':>12} {'(spread)':>27}"]
        lines += [_row(series, all_series) for series in all_series if series.group == group]
    return lines


def _row(series: Series, all_series: list[Series]) -> str:
    ratio = spread = ""
    baseline = baseline_of(series, all_series)
    if baseline is not None and all(baseline.samples):
        shares = ratios(series, baseline)
        ratio, spread = f"{median(shares):.3f}", f"({min(shares):.3f}–{max(shares):.3f})"
    values = f"({number(min(series.samples))}–{number(max(series.samples))})"
    size = "" if series.at is None else f"  [{series.at:,.0f} {series.over}]"
    return (
        f"  {ratio:>6} {spread:>15}  {number(series.median):>12} {values:>27}  {series.unit:<11}  {series.name}{size}"
    )


def _laws(all_series: list[Series]) -> list[str]:
    found = laws(all_series)
    if not found:
        return []
    lines = ["", "how it grows: figure ~ size ^ exponent", f"  {'exponent':>8} {'fit':>5}  {'law':<10} figure"]
    return lines + [
        f"  {law.exponent:>8.2f} {law.fit:>5.2f}  {law.word:<10} {law.group}: {law.name}, {law.unit} over {law.over}"
        for law in found
    ]


def _goals(goals: list[Judged]) -> list[str]:
    if not goals:
        return []
    lines = [
        "",
        "goals",
        f"  {'wanted':>9} {'here':>9} {'(spread)':>21}  {'unit':<14} {'verdict':<24} goal (how judged)",
    ]
    return lines + [_goal_row(goal) for goal in goals]


def _goal_row(goal: Judged) -> str:
    wanted = ("≤ " if goal.most else "≥ ") + number(goal.wanted)
    here = "" if goal.here is None else number(goal.here)
    spread = "" if goal.least is None or goal.greatest is None else f"({number(goal.least)}–{number(goal.greatest)})"
    return f"  {wanted:>9} {here:>9} {spread:>21}  {goal.unit:<14} {goal.verdict:<24} {goal.name} ({goal.how})"


def number(figure: float) -> str:
    if abs(figure) >= 1000:
        return f"{figure:,.0f}"
    return f"{figure:.2f}" if abs(figure) >= 1 or figure == 0 else f"{figure:.3f}"
