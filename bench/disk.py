"""The disk space of a replica and of its parts, beside the bare database with the same pairs."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import plyvel

import level_replicator as lrep
from bench import replicas
from bench.data import KEY_BYTES, VALUE_BYTES, write_all
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context
from level_replicator.storage.state.schema import INDEX, LOG, following

MIB = 1024 * 1024
GROUP = "on the disk, values of 100 bytes"
RAW, BARE = "keys and values", "bare database"
FULL, TRUNCATED, WRITTEN = "replica", "replica, log truncated", "replica, as it was written"
INDEX_BYTES, LOG_BYTES = "index", "log"


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    collector = Collector(GROUP)
    for run in range(options.runs):
        progress(f"{GROUP}, run {run + 1} of {options.runs}")
        with TemporaryDirectory(dir=options.directory) as directory:
            _run(collector, Path(directory), options.keys)
    return collector.series()


def _run(collector: Collector, directory: Path, count: int) -> None:
    """All at rest, that is after LevelDB has compacted, but for one: what waits for a compaction differs from run to
    run."""
    path = str(directory / "replica")

    def add(name: str, size: float, baseline: str | None = BARE) -> None:
        collector.add(name, "bytes/key", size / count, baseline=baseline)

    with Worker() as worker:
        worker.call(write_bare, path=str(directory / "bare"), count=count)
        add(RAW, count * (KEY_BYTES + VALUE_BYTES))
        add(BARE, disk_bytes(directory / "bare"), None)
        worker.call(replicas.fill, path=path, count=count, settled=False)
        add(WRITTEN, disk_bytes(path))
        worker.call(replicas.rest, path=path)
        add(FULL, disk_bytes(path))
        parts = worker.call(parts_of, path=path)
        for name in (INDEX_BYTES, LOG_BYTES):
            add(name, parts[name])
        worker.call(truncate, path=path)
        add("replica, log truncated, as LevelDB leaves it", disk_bytes(path))
        worker.call(replicas.rest, path=path)
        add(TRUNCATED, disk_bytes(path))


def disk_bytes(path: str | Path) -> int:
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())


# -- in a worker


def write_bare(_context: Context, *, path: str, count: int) -> None:
    with plyvel.DB(path, create_if_missing=True) as db:
        write_all(db, count)
        db.compact_range(start=b"\x00", stop=b"\xff" * 17)


def parts_of(_context: Context, *, path: str) -> dict[str, float]:
    """Return the bytes of the two large parts of a replication set, as LevelDB estimates them."""
    with plyvel.DB(f"{path}/rs", **lrep.RS_OPTIONS) as rs:
        parts = ((INDEX_BYTES, INDEX), (LOG_BYTES, LOG))
        return {name: rs.approximate_size(prefix, following(prefix)) for name, prefix in parts}


def truncate(_context: Context, *, path: str) -> None:
    with lrep.open(path) as replica:
        replica.truncate()
