"""Two nodes that are nearly in sync connect: with a log, after it was truncated, and without a common history."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import level_replicator as lrep
from bench import replicas
from bench.connecting import connect
from bench.data import VALUE_BYTES, key_of, write_all
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context
from level_replicator import plyvel

DIFFER = 100
LOG, TRUNCATED, UNRELATED, EQUAL = "with a log", "log truncated", "without a common history", "nothing differs"
WIRE = ": on the wire"
BY_KEYS = f"{DIFFER} keys differ"
BY_DIFFERENCE = "keys that differ, by their number"


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    over_keys, over_difference = Collector(BY_KEYS, over="keys held"), Collector(BY_DIFFERENCE, over="keys that differ")
    for run in range(options.runs):
        for count in sorted({*options.held, options.keys}):
            progress(f"{BY_KEYS} of {count:,}, run {run + 1} of {options.runs}")
            differ = min(DIFFER, count // 10)
            with TemporaryDirectory(dir=options.directory) as directory, Worker() as first, Worker() as second:
                nodes = Nodes(over_keys, first, second, Path(directory))
                for name, each in nodes.with_history(count, [0, differ]):
                    nodes.connect(name if each else f"{name}, {EQUAL}", at=count)
                if count <= options.keys:  # beyond, it would take longer than all the rest
                    nodes.become_strangers(count, differ)
                    nodes.connect(UNRELATED, at=count)
        progress(f"{BY_DIFFERENCE} of {options.keys:,}, run {run + 1} of {options.runs}")
        with TemporaryDirectory(dir=options.directory) as directory, Worker() as first, Worker() as second:
            nodes = Nodes(over_difference, first, second, Path(directory))
            for name, each in nodes.with_history(options.keys, [d for d in options.differ if d <= options.keys]):
                nodes.connect(name, at=each)
    return over_keys.series() + over_difference.series()


class Nodes:
    """Two nodes in processes of their own. The first is open, and the second is opened to connect."""

    def __init__(self, collector: Collector, first: Worker, second: Worker, directory: Path) -> None:
        self._collector = collector
        self._first = first
        self._second = second
        self._one, self._other = str(directory / "one"), str(directory / "other")
        self._address = ""

    def with_history(self, count: int, differences: list[int]) -> Iterator[tuple[str, int]]:
        """Bring two nodes in sync, disconnect them, and change each number of `differences` of keys on the first one.

        Do so once with its log, and once after truncating it. Yields the name of the series and the number."""
        self._first.call(replicas.fill, path=self._one, count=count)
        self._address = self._first.call(replicas.listen, path=self._one)
        self._second.call(replicas.dial, path=self._other, server=self._address)
        self._second.call(replicas.close)
        self._second.call(replicas.rest, path=self._other)
        for name, truncated in ((LOG, False), (TRUNCATED, True)):
            for differ in differences:
                self._first.call(overwrite, count=count, differ=differ, truncated=truncated)
                yield name, differ
        self._first.call(replicas.close)

    def become_strangers(self, count: int, differ: int) -> None:
        """Prepare two nodes that have adopted the same data, except for some keys."""
        self._one, self._other = f"{self._one}-stranger", f"{self._other}-stranger"
        self._first.call(adopt, path=self._one, count=count, differ=0)
        self._second.call(adopt, path=self._other, count=count, differ=differ)
        self._address = self._first.call(replicas.listen, path=self._one)

    def connect(self, name: str, at: float) -> None:
        """Wait until both nodes have everything."""
        # where there is a common history the first one has all from the beginning
        figures = connect(self._first, self._second, self._other, self._address, both=name == UNRELATED)
        self._collector.add(name, "ms", 1000 * figures["seconds"], at=at)
        self._collector.add(name + WIRE, "bytes", figures["bytes"], at=at)
        self._collector.add(f"{name}: CPU of both", "ms", 1000 * figures["cpu_s"], at=at)
        self._second.call(replicas.close)


# -- in a worker


def overwrite(context: Context, *, count: int, differ: int, truncated: bool) -> None:
    """Overwrite keys that are evenly spread over the order of writes, so anywhere in the order of keys."""
    turn = context.kept["turn"] = context.kept.get("turn", 0) + 1
    value = b"%d " % turn + b"." * VALUE_BYTES
    for number in range(differ):
        context.replica.put(key_of(number * count // differ), value[:VALUE_BYTES])
    if truncated:
        context.replica.truncate()


def adopt(_context: Context, *, path: str, count: int, differ: int) -> None:
    """Adopt a LevelDB that another program wrote, and close the replica."""
    Path(path).mkdir()
    with plyvel.DB(f"{path}/db", create_if_missing=True) as db:
        write_all(db, count)
        for number in range(differ):
            db.put(key_of(number * count // differ), b"." * VALUE_BYTES)
    lrep.open(path, adopt=True).close()
    replicas.rest(_context, path=path)
