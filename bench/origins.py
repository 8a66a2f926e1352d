"""The cost of a long version vector: two nodes that are in sync and know many origins connect."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import level_replicator as lrep
from bench import replicas
from bench.connecting import connect
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context
from level_replicator import plyvel
from level_replicator.core.hlc import stamp_at
from level_replicator.storage.state.schema import encode_vector_entry, vector_key

GROUP = "a session, nothing differs, by number of origins"
SESSION, WIRE = "from the first byte until in sync", "on the wire"
_A_DAY_MS = 86_400_000
_WHEN_MS = 1_700_000_000_000


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    collector = Collector(GROUP, over="origins")
    for run in range(options.runs):
        for count in options.origins:
            progress(f"{count:,} origins, run {run + 1} of {options.runs}")
            with TemporaryDirectory(dir=options.directory) as directory, Worker() as one, Worker() as other:
                paths = [str(Path(directory) / name) for name in ("one", "other")]
                for path in paths:
                    one.call(know, path=path, count=count)
                address = one.call(replicas.listen, path=paths[0])
                figures = connect(one, other, paths[1], address)
            collector.add(SESSION, "ms", 1000 * figures["seconds"], at=count)
            collector.add("CPU of both", "ms", 1000 * figures["cpu_s"], at=count)
            collector.add(WIRE, "bytes", figures["bytes"], at=count)
    return collector.series()


def more_than_least(all_series: list[Series]) -> list[float] | None:
    """Return, for the goals, how many milliseconds more the most origins cost than the fewest, run by run."""
    curve = sorted(
        (each for each in all_series if (each.group, each.name) == (GROUP, SESSION)), key=lambda s: s.at or 0
    )
    if not curve:
        return None
    return [most - least for most, least in zip(curve[-1].samples, curve[0].samples, strict=True)]


# -- in a worker


def know(_context: Context, *, path: str, count: int) -> None:
    """Make a replica that knows the last stamps of `count` origins, as after years of short-lived nodes.

    The origins are written into the replication set, since each would otherwise take an opening."""
    lrep.open(path).close()
    random = Random(1)
    with plyvel.DB(f"{path}/rs", **lrep.RS_OPTIONS) as rs, rs.write_batch() as batch:
        for _ in range(count):
            stamp = stamp_at(_WHEN_MS + random.randrange(_A_DAY_MS))
            batch.put(vector_key(random.getrandbits(64)), encode_vector_entry(stamp, 0))
