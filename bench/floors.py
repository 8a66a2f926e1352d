"""What replication must reach at least, scaled to the machine: as shares of what bare plyvel puts meanwhile."""

from dataclasses import dataclass

from bench import catch_up, local_writes
from bench.figures import Series, find

REFERENCE_PUTS = 500_000
"""Bare puts a second of the machine that the floors were set on."""


@dataclass(frozen=True)
class Floor:
    """`wanted` and `reached`: shares of bare puts; for people also as rates on this machine."""

    name: str
    wanted: float
    reached: float
    bare_puts: float


def compare(all_series: list[Series]) -> list[Floor]:
    """The floors whose figures were measured."""
    bare = find(all_series, local_writes.GROUPS["puts"], local_writes.BARE)
    if bare is None:
        return []
    puts, batches = local_writes.GROUPS["puts"], local_writes.GROUPS["batches"]
    wanted = [
        ("puts, alone", 52_000, puts, local_writes.ALONE),
        ("puts, with a live peer", 52_000, puts, local_writes.LIVE),
        ("in batches, alone", 108_000, batches, local_writes.ALONE),
        ("in batches, with a live peer", 108_000, batches, local_writes.LIVE),
    ]
    groups = [series.group for series in all_series if series.name == catch_up.REPLICA]
    wanted += [(f"received entries, {group}", 125_000, group, catch_up.REPLICA) for group in groups]
    floors = []
    for name, rate, group, series_name in wanted:
        series = find(all_series, group, series_name)
        if series is not None:
            floors.append(Floor(name, rate / REFERENCE_PUTS, series.median / bare.median, bare.median))
    return floors
