"""The time from a write until the peer, in another process, can read it: at 100 and at 20,000 writes a second."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any

from bench import replicas
from bench.data import key_of, pairs
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context

GROUP = "from a write to the peer's read, 100 writes/s"
FAST_GROUP = "from a write to the peer's read, 20,000 writes/s"
P50, P99, LONGEST, REACHED = "p50", "p99", "longest", "the writer's rate, of the requested rate"
PER_S, FAST_PER_S = 100, 20_000
FAST_LOOK_S = 0.001
_WATCHED_EACH = 200
"""One fast write in so many is watched: 100 a second."""
_AT_ONCE = 20
"""The number of fast writes between two readings of the clock."""
_HEAD_START_S = 0.1
_LONGEST_WAIT_S = 60.0


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    slow, fast = Collector(GROUP), Collector(FAST_GROUP)
    for run in range(options.runs):
        progress(f"latency, run {run + 1} of {options.runs}")
        waits_ms, _ = _measure_once(options, options.latency_samples, fast=False)
        add_percentiles(slow, waits_ms)
        progress(f"latency at {FAST_PER_S:,} writes/s, run {run + 1} of {options.runs}")
        waits_ms, per_s = _measure_once(options, int(options.fast_s * FAST_PER_S), fast=True)
        add_percentiles(fast, waits_ms)
        fast.add(REACHED, "", per_s / FAST_PER_S)
    return slow.series() + fast.series()


def add_percentiles(collector: Collector, waits_ms: list[float], prefix: str = "", baseline: str | None = None) -> None:
    percentiles = quantiles(waits_ms, n=100, method="inclusive")
    for name, value in ((P50, percentiles[49]), (P99, percentiles[98]), (LONGEST, max(waits_ms))):
        collector.add(prefix + name, "ms", value, baseline=None if baseline is None else baseline + name)


def _measure_once(options: Options, count: int, *, fast: bool) -> tuple[list[float], float]:
    """Return the latency of each watched write, in ms, and the writes a second."""
    with TemporaryDirectory(dir=options.directory) as directory, Worker() as writer, Worker() as reader:
        address = writer.call(replicas.listen, path=str(Path(directory) / "writer"))
        reader.call(replicas.dial, path=str(Path(directory) / "reader"), server=address)
        writer.call(replicas.wait_in_sync)
        writer.call(begin_writing, count=count, per_s=FAST_PER_S if fast else PER_S)
        read = reader.call(look_for_some if fast else read_each, count=count)
        written = writer.call(await_written)
    waits_ms = [1000 * (end - begin) for begin, end in zip(written["begins"], read, strict=True)]
    return waits_ms, count / written["seconds"]


# -- in the writer


def begin_writing(context: Context, *, count: int, per_s: int = PER_S) -> None:
    """Write in a thread, so that the parent can start the reader meanwhile."""
    written = context.kept["written"] = {"begins": [], "seconds": 0.0}
    thread = context.kept["writing"] = threading.Thread(target=_write, args=(context, written, count, per_s))
    thread.start()


def await_written(context: Context) -> dict[str, Any]:
    """Return when each watched write began, on the clock that all processes share, and the seconds of all writes."""
    context.kept["writing"].join()
    written: dict[str, Any] = context.kept["written"]
    return written


def _write(context: Context, written: dict[str, Any], count: int, per_s: int) -> None:
    put, ready = context.replica.put, list(pairs(count))
    at_once, watched = (1, 1) if per_s == PER_S else (_AT_ONCE, _WATCHED_EACH)
    begin = time.monotonic() + _HEAD_START_S  # the reader is at work by then
    for number, (key, value) in enumerate(ready):
        if number % at_once == 0:
            ahead = begin + number / per_s - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
        if number % watched == 0:
            written["begins"].append(time.monotonic())
        put(key, value)
    written["seconds"] = time.monotonic() - begin


# -- in the reader


def read_each(context: Context, *, count: int) -> list[float]:
    """When each could be read. The reader blocks in the changes feed: one that looked again and again would take the
    time from the replica that is measured. Waking it is in the figures."""
    seen: list[float] = []
    get = context.replica.get
    keys = [key_of(number) for number in range(count)]
    for change in context.replica.changes():
        if change.key != keys[len(seen)] or get(change.key) is None:
            raise AssertionError(f"change {len(seen)} is not the one that was to come")
        seen.append(time.monotonic())
        if len(seen) == count:
            break
    return seen


def look_for_some(context: Context, *, count: int) -> list[float]:
    """When each watched one could be read. To read the whole feed beside 20,000 changes a second would be a work of its
    own; a look each millisecond is none, and short beside what is measured."""
    get = context.replica.get
    seen: list[float] = []
    for number in range(0, count, _WATCHED_EACH):
        key, give_up = key_of(number), time.monotonic() + _LONGEST_WAIT_S
        while get(key) is None:
            if time.monotonic() > give_up:
                raise TimeoutError(f"write {number} did not arrive within {_LONGEST_WAIT_S:.0f} s")
            time.sleep(FAST_LOOK_S)
        seen.append(time.monotonic())
    return seen
