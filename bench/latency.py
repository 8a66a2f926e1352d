"""How long after a write the peer, in another process, can read it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

from bench import replicas
from bench.data import pairs
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context

GROUP = "from a write to the peer's read, 100 writes/s"
_INTERVAL_S = 0.01
_POLL_S = 0.0001
"""Between two looks of the reader: the resolution of the figures, and short enough to leave the peer its CPU."""
_LONGEST_WAIT_S = 60.0


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    collector = Collector(GROUP)
    for run in range(options.runs):
        progress(f"latency, run {run + 1} of {options.runs}")
        waits_ms = _measure_once(options)
        percentiles = quantiles(waits_ms, n=100, method="inclusive")
        for name, value in (("p50", percentiles[49]), ("p99", percentiles[98]), ("longest", max(waits_ms))):
            collector.add(name, "ms", value)
    return collector.series()


def _measure_once(options: Options) -> list[float]:
    count = options.latency_samples
    with TemporaryDirectory(dir=options.directory) as directory, Worker() as writer, Worker() as reader:
        address = writer.call(replicas.listen, path=str(Path(directory) / "writer"))
        reader.call(replicas.dial, path=str(Path(directory) / "reader"), server=address)
        writer.call(replicas.wait_level)
        writer.call(begin_writing, count=count)
        read = reader.call(read_each, count=count)
        written = writer.call(await_written)
    return [1000 * (end - begin) for begin, end in zip(written, read, strict=True)]


# -- in a worker


_written: list[float] = []
_writing: list[threading.Thread] = []


def begin_writing(context: Context, *, count: int) -> None:
    """Writes in a thread, so that the parent can set the reader to work meanwhile."""
    thread = threading.Thread(target=_write, args=(context, count))
    _writing.append(thread)
    thread.start()


def await_written(_context: Context) -> list[float]:
    """When each write began, on the clock that all processes share."""
    _writing.pop().join()
    return _written


def read_each(context: Context, *, count: int) -> list[float]:
    """When each could be read first."""
    get = context.replica.get
    seen: list[float] = []
    for key, _ in pairs(count):
        give_up = time.monotonic() + _LONGEST_WAIT_S
        while get(key) is None:
            if time.monotonic() > give_up:
                raise TimeoutError(f"write {len(seen)} did not arrive within {_LONGEST_WAIT_S:.0f} s")
            time.sleep(_POLL_S)
        seen.append(time.monotonic())
    return seen


def _write(context: Context, count: int) -> None:
    put = context.replica.put
    begin = time.monotonic() + 10 * _INTERVAL_S  # the reader is at work by then
    for number, (key, value) in enumerate(pairs(count)):
        time.sleep(max(0.0, begin + number * _INTERVAL_S - time.monotonic()))
        _written.append(time.monotonic())
        put(key, value)
