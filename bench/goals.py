"""The table of goals of replication on this class of machine.

Shares are of what was measured in the same run. What goes by sizes is judged at the largest that was measured, if
nothing else is said: with --quick that is not what the goal means, and its verdict is a hint.
"""

from bench import (
    catch_up,
    differing,
    disk,
    idle,
    latency,
    mesh,
    opening,
    origins,
    overwrites,
    sizes,
    synced,
)
from bench import local_writes as local
from bench.figures import Series
from bench.judging import Goal, Judged, at, at_size, exponent, judge, share, value, worst
from bench.options import Options

FLAT = 0.2
"""The greatest exponent that counts as no growth: a fourfold cost for a thousandfold size, due to trees and caches."""
LINE = 1.15

_PUTS, _BATCHES = local.GROUPS["puts"], local.GROUPS["batches"]
_ONE, _MANY = (synced.by(threads, synced.REPLICA) for threads in (1, synced.THREADS))


def goals(options: Options) -> list[Goal]:
    return [*_local(), *_catch_up(), *_latency(), *_differing(options), *_space(), *_many(), *_growth()]


def judged(options: Options, all_series: list[Series]) -> list[Judged]:
    return [judge(goal, all_series) for goal in goals(options)]


def _local() -> list[Goal]:
    of = "of bare plyvel, same run; the peer takes them meanwhile"
    return [
        Goal("single puts, a peer connected", 1 / 5, "×", of, share(_PUTS, local.LIVE, local.BARE)),
        Goal("batches of 1,000, a peer connected", 1 / 5, "×", of, share(_BATCHES, local.LIVE, local.BARE)),
        Goal("the same, stretch: single puts", 1 / 3, "×", of, share(_PUTS, local.LIVE, local.BARE)),
        Goal("the same, stretch: batches", 1 / 3, "×", of, share(_BATCHES, local.LIVE, local.BARE)),
        Goal(
            "sync=True, one thread",
            1 / 1.2,
            "×",
            "of two bare LevelDBs that sync each put",
            share(synced.GROUP, _ONE, synced.by(1, synced.TWO_DBS)),
        ),
        Goal(
            f"sync=True, {synced.THREADS} threads share fsyncs",
            4,
            "×",
            "of one thread: more than 1 only if several writes share an fsync",
            share(synced.GROUP, _MANY, _ONE),
        ),
    ]


def _catch_up() -> list[Goal]:
    group = catch_up.GROUP
    of = "of the plain copy, same run"
    memory = [
        value(group, kind + catch_up.peak_of(side))
        for kind in (catch_up.EMPTY, catch_up.HOLDING)
        for side in catch_up.SIDES
    ]
    return [
        Goal("catch-up, a node with keys", 1 / 5, "×", of, share(group, catch_up.HOLDING, catch_up.COPY)),
        Goal("catch-up, an empty node", 1 / 3, "×", of, share(group, catch_up.EMPTY, catch_up.COPY)),
        Goal(
            "catch-up, on the wire",
            145,
            "bytes/entry",
            "all bytes of the session, keys 16 and values 100",
            worst(*(value(group, kind + catch_up.WIRE) for kind in (catch_up.EMPTY, catch_up.HOLDING))),
            most=True,
        ),
        Goal(
            "catch-up, memory",
            150 * 1e6 / disk.MIB,
            "MiB",
            "150 MB: peak resident of the larger side, mapped files of LevelDB included",
            worst(*memory),
            most=True,
        ),
        Goal(
            "catch-up, values of 1 KiB",
            100,
            "MB/s",
            "keys and values, into an empty node",
            value(catch_up.LARGE_GROUP, f"{catch_up.EMPTY}: keys and values"),
        ),
        Goal(
            "catch-up, the newest entry is readable",
            100,
            "ms",
            "from before the opening of the empty node that dials",
            value(group, catch_up.EMPTY + catch_up.NEWEST),
            most=True,
        ),
    ]


def _latency() -> list[Goal]:
    slow, fast = latency.GROUP, latency.FAST_GROUP
    read = "from the call of put until the peer's reader has it"
    return [
        Goal("latency at 100/s, p50", 0.5, "ms", read, value(slow, latency.P50), most=True),
        Goal("latency at 100/s, p99", 3, "ms", read, value(slow, latency.P99), most=True),
        Goal("latency at 20,000/s, p99", 50, "ms", read, value(fast, latency.P99), most=True),
        Goal("the writer at 20,000/s", 0.8, "×", "of the requested rate", value(fast, latency.REACHED)),
        Goal(
            "the writer at full speed",
            0.8,
            "×",
            "single puts with a live peer, of those alone",
            share(_PUTS, local.LIVE, local.ALONE),
        ),
    ]


def _differing(options: Options) -> list[Goal]:
    group = differing.BY_KEYS
    size = f"{differing.DIFFER} of {options.keys:,} keys"
    equal = f"{differing.LOG}, {differing.EQUAL}"

    def here(name: str, wanted: float, unit: str, how: str, figure: str) -> Goal:
        return Goal(name, wanted, unit, how, at(group, figure, options.keys), most=True)

    over, quiet = overwrites.GROUP, idle.with_peers(1)
    return [
        here(f"{size} differ, with a log", 20, "ms", "from the first byte until in sync", differing.LOG),
        here(f"{size} differ, with a log: wire", 20_000, "bytes", "both ways", differing.LOG + differing.WIRE),
        here(f"{size} differ, log truncated", 1000, "ms", "from the first byte until in sync", differing.TRUNCATED),
        here(f"{size} differ, no common history", 1000, "ms", "until both are in sync", differing.UNRELATED),
        here("nothing differs: wire", 1_000, "bytes", "a whole session, both ways", equal + differing.WIRE),
        Goal(
            "idle: wire", 20, "bytes/s", "heartbeats only, both ways", value(idle.GROUP, idle.BYTES + quiet), most=True
        ),
        Goal("idle: CPU", 0.2, "% of a core", "a pair", value(idle.GROUP, idle.CPU + quiet), most=True),
        Goal(
            f"idle: CPU with {options.idle_peers} peers",
            1,
            "% of a core",
            "of the node that they are connected to",
            value(idle.GROUP, idle.CPU + idle.with_peers(options.idle_peers)),
            most=True,
        ),
        Goal("overwrites: entries in the log", overwrites.KEYS, "", "counted", value(over, overwrites.LOG), most=True),
        Goal(
            "overwrites: entries sent", overwrites.KEYS, "", "counted", value(over, overwrites.WIRE_ENTRIES), most=True
        ),
        Goal(
            "overwrites: caught up",
            50,
            "ms",
            "from the first byte until in sync",
            value(over, overwrites.CAUGHT_UP),
            most=True,
        ),
    ]


def _space() -> list[Goal]:
    how = "of the bare database with the same pairs, both compacted"
    return [
        Goal("disk, with the log", 2.3, "×", how, share(disk.GROUP, disk.FULL, disk.BARE), most=True),
        Goal("disk, log truncated", 1.25, "×", how, share(disk.GROUP, disk.TRUNCATED, disk.BARE), most=True),
    ]


def _many() -> list[Goal]:
    group = mesh.GROUP
    return [
        Goal(
            f"{mesh.MESH} nodes, all write",
            0.4,
            "×",
            "of the total rate of a pair, until all have all",
            at_size(group, mesh.RATE, mesh.MESH, mesh.PAIR),
        ),
        Goal(
            f"{mesh.MESH} nodes: crossings of a link",
            1,
            "× changes",
            "counted, both ways, the worst link, of all changes",
            at(group, f"{mesh.CROSSED}, {mesh.AT_MOST}", mesh.MESH),
            most=True,
        ),
        Goal("opening, clean stop", 200, "ms", "until it listens", value(opening.GROUP, opening.CLEAN), most=True),
        Goal("opening, after a kill", 2000, "ms", "until it listens", value(opening.GROUP, opening.KILLED), most=True),
        Goal(
            "a session, vectors of 10,000 origins",
            10,
            "ms",
            "more than with the fewest origins",
            origins.more_than_least,
            most=True,
        ),
    ]


def _growth() -> list[Goal]:
    by_keys, by_difference = differing.BY_KEYS, differing.BY_DIFFERENCE
    flat, linear = "exponent over the keys held", "exponent over the keys that differ"

    def grows(name: str, group: str, figure: str, wanted: float, how: str) -> Goal:
        return Goal(f"growth: {name}", wanted, "exponent", how, exponent(group, figure), most=True)

    equal = f"{differing.LOG}, {differing.EQUAL}"
    return [
        grows("a put", sizes.HELD, sizes.NEW, FLAT, flat),
        grows("an overwrite", sizes.HELD, sizes.OVERWRITE, FLAT, flat),
        grows("nothing differs, time", by_keys, equal, FLAT, flat),
        grows("100 differ, time", by_keys, differing.LOG, FLAT, flat),
        grows("100 differ, wire", by_keys, differing.LOG + differing.WIRE, FLAT, flat),
        grows("100 differ, log truncated, wire", by_keys, differing.TRUNCATED + differing.WIRE, FLAT, flat),
        grows("opening after a clean stop", opening.GROUP, opening.CLEAN, FLAT, flat),
        grows("differences, time", by_difference, differing.LOG, LINE, linear),
        grows("differences, wire", by_difference, differing.LOG + differing.WIRE, LINE, linear),
        grows("a put", sizes.VALUES, sizes.PUT, LINE, "exponent over the size of the value"),
        grows("an entry sent", sizes.VALUES, sizes.SENT, LINE, "exponent over the size of the value"),
        Goal(
            "growth: catch-up, rate",
            -FLAT,
            "exponent",
            "exponent over the entries: a rate that does not fall",
            exponent(catch_up.GROUP, catch_up.EMPTY),
        ),
        Goal(
            "growth: mesh, rate",
            -LINE,
            "exponent",
            "exponent over the nodes: each has to apply all, on the same cores",
            exponent(mesh.GROUP, mesh.RATE),
        ),
    ]
