"""Many writes to few keys while the peer is away: the entries left to send, and the time to send them."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import replicas
from bench.connecting import connect
from bench.data import BATCH, VALUE_BYTES, key_of
from bench.disk import MIB, disk_bytes
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context

KEYS = 1_000
GROUP = f"overwrites of {KEYS:,} keys while the peer is away"
CAUGHT_UP, LOG, WIRE_ENTRIES, WIRE_BYTES = "caught up after", "entries in the log", "entries sent", "on the wire"
WRITES = "writes"


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    collector = Collector(GROUP)
    for run in range(options.runs):
        progress(f"{GROUP}, run {run + 1} of {options.runs}")
        with TemporaryDirectory(dir=options.directory) as directory:
            _run(collector, Path(directory), options.overwrites)
    return collector.series()


def _run(collector: Collector, directory: Path, count: int) -> None:
    one, other = str(directory / "one"), str(directory / "other")
    with Worker() as writer, Worker() as peer:
        writer.call(replicas.fill, path=one, count=KEYS)
        address = writer.call(replicas.listen, path=one)
        peer.call(replicas.dial, path=other, server=address)
        peer.call(replicas.close)
        entries = writer.call(overwrite, count=count)
        figures = connect(writer, peer, other, address)
    collector.add(WRITES, "", count)
    collector.add(LOG, "", entries)
    collector.add(WIRE_ENTRIES, "", figures["entries_in"])
    collector.add(WIRE_BYTES, "bytes", figures["bytes"])
    collector.add(CAUGHT_UP, "ms", figures["seconds"] * 1000)
    collector.add("disk of the writer, closed", "MiB", disk_bytes(one) / MIB)


# -- in a worker


def overwrite(context: Context, *, count: int) -> int:
    """Overwrite keys in batches, and return the number of entries in the log at the end."""
    replica = context.replica
    for start in range(0, count, BATCH):
        with replica.write_batch() as batch:
            for number in range(start, min(start + BATCH, count)):
                batch.put(key_of(number % KEYS), b"%0*d" % (VALUE_BYTES, number))
    return int(replica.status()["entries"])
