"""What replication must reach at least, scaled to the machine: as shares of what bare plyvel puts in the same run."""

from dataclasses import dataclass
from statistics import median

from bench import catch_up, local_writes
from bench.figures import Series, find, ratios

REFERENCE_PUTS = 500_000
"""Bare puts a second of the machine that the floors were set on."""
PUTS, BATCHES, RECEIVED = 52_000, 108_000, 125_000


@dataclass(frozen=True)
class Floor:
    """Shares of bare puts. `reached`: the median over the runs; `least` and `most` of them."""

    name: str
    wanted: float
    reached: float
    least: float
    most: float


def compare(all_series: list[Series]) -> list[Floor]:
    """The floors whose figures were measured."""
    puts, batches = local_writes.GROUPS["puts"], local_writes.GROUPS["batches"]
    bare_puts = (puts, local_writes.BARE)
    wanted = [
        ("puts, alone", PUTS, (puts, local_writes.ALONE), bare_puts),
        ("puts, with a live peer", PUTS, (puts, local_writes.LIVE), bare_puts),
        ("in batches, alone", BATCHES, (batches, local_writes.ALONE), bare_puts),
        ("in batches, with a live peer", BATCHES, (batches, local_writes.LIVE), bare_puts),
    ]
    for group in [series.group for series in all_series if series.name == catch_up.REPLICA]:
        bare = (group, catch_up.BARE_PUTS)
        wanted.append((f"received, {group}", RECEIVED, (group, catch_up.REPLICA), bare))
    return [
        floor for name, rate, mine, bare in wanted if (floor := _floor(all_series, name, rate, mine, bare)) is not None
    ]


def _floor(
    all_series: list[Series], name: str, rate: int, mine: tuple[str, str], bare: tuple[str, str]
) -> Floor | None:
    series, yardstick = find(all_series, *mine), find(all_series, *bare)
    if series is None or yardstick is None:
        return None
    shares = ratios(series, yardstick)
    return Floor(name, rate / REFERENCE_PUTS, median(shares), min(shares), max(shares))
