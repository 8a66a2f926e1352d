"""The figures as the tables of BEYOND.md."""

from statistics import median

from bench.beyond.subjects import BARE, PACKAGE
from bench.figures import Series, find, ratios

_HEAD = (
    "| | entries/s | of bare plyvel | beside the package | writing, µs | all else, µs | memory, MiB | disk, MiB |",
    "|---|---|---|---|---|---|---|---|",
)


def render(about: dict[str, str], all_series: list[Series]) -> str:
    lines = [f"- {name}: {value}" for name, value in about.items()]
    for group in dict.fromkeys(one.group for one in all_series):
        own = [one for one in all_series if one.group == group]
        lines += ["", f"**{group}**", ""]
        if find(own, group, PACKAGE) is None:
            lines += ["| | median | spread | |", "|---|---|---|---|"]
            lines += [f"| {one.name} | {_number(one.median)} | {_spread(one.samples)} | {one.unit} |" for one in own]
        else:
            lines += _HEAD
            lines += [_row(one, own) for one in own if one.unit == "entries/s"]
    return "\n".join(lines)


def _row(one: Series, members: list[Series]) -> str:
    cells = [one.name, f"{_number(one.median)} ({_spread(one.samples)})"]
    for name in (BARE, PACKAGE):
        baseline = find(members, one.group, name)
        shares = ratios(one, baseline) if baseline is not None and one.name != name else []
        cells.append(f"{median(shares):.2f} ({_spread(shares)})" if shares else "")
    for figure in ("writing the batches", "all else", "growth of memory", "on the disk"):
        found = find(members, one.group, f"{one.name}: {figure}")
        cells.append(_number(found.median) if found is not None else "")
    return f"| {' | '.join(cells)} |"


def _spread(samples: list[float]) -> str:
    return f"{_number(min(samples))}–{_number(max(samples))}"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}"
