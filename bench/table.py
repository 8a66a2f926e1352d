"""The figures as a plain table, ratios first."""

from statistics import median

from bench.figures import Series, find, ratios
from bench.floors import Floor


def render(machine: dict[str, str], all_series: list[Series], floors: list[Floor]) -> str:
    width = max(map(len, machine))
    lines = [f"{name:<{width}}  {value}" for name, value in machine.items()]
    group = None
    for series in all_series:
        if series.group != group:
            group = series.group
            lines += ["", f"{group}", f"  {'ratio':>6} {'(spread)':>14}  {'median':>12} {'(spread)':>25}"]
        lines.append(_row(series, all_series))
    if floors:
        lines += [
            "",
            "floors, as shares of bare single puts in the same run",
            f"  {'needed':>6} {'here':>7} {'(spread)':>14}",
        ]
        lines += [_floor_row(floor) for floor in floors]
    return "\n".join(lines)


def _row(series: Series, all_series: list[Series]) -> str:
    ratio = spread = ""
    if series.baseline is not None:
        baseline = find(all_series, series.group, series.baseline)
        assert baseline is not None
        shares = ratios(series, baseline)
        ratio, spread = f"{median(shares):.3f}", f"({min(shares):.3f}–{max(shares):.3f})"
    values = f"({_number(min(series.samples))}–{_number(max(series.samples))})"
    return f"  {ratio:>6} {spread:>14}  {_number(series.median):>12} {values:>25}  {series.unit:<11}  {series.name}"


def _floor_row(floor: Floor) -> str:
    verdict = "BELOW"
    if floor.reached >= floor.wanted:
        verdict = "reached" if floor.least >= floor.wanted else "reached, but not in every run"
    spread = f"({floor.least:.3f}–{floor.most:.3f})"
    return f"  {floor.wanted:>6.3f} {floor.reached:>7.3f} {spread:>14}  {floor.name}: {verdict}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"
