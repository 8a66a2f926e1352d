"""A replica connects to a full one, in two processes, until it has all; beside a plain copy. Into an empty one, and
into one that holds keys of its own; also with large values."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import level_replicator as lrep
from bench import plain_copy, replicas
from bench.data import KEY_BYTES, VALUE_BYTES, key_of
from bench.figures import Collector, Series
from bench.memory import Watch
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context, usage

GROUP, LARGE_GROUP = "catch-up", "catch-up, values of 1 KiB"
COPY, EMPTY, HOLDING = "plain copy", "into an empty node", "into a node with keys of its own"
SIDES = ("sender", "receiver")
WIRE, NEWEST = ": on the wire", ": its newest entry readable after"
_LARGE = 1024
_OWN_PART = 10
"""A node with keys of its own holds one for so many received entries."""
_LOOK_S = 0.001


def peak_of(side: str) -> str:
    return f": peak memory of the {side}"


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    collector = Collector(GROUP, over="entries")
    for count in options.catch_up:
        _measure(collector, options, progress, count, VALUE_BYTES)
    large = Collector(LARGE_GROUP, over="entries")
    _measure(large, options, progress, options.large_values, _LARGE)
    return collector.series() + large.series()


def _measure(
    collector: Collector, options: Options, progress: Callable[[str], None], count: int, value_bytes: int
) -> None:
    what = f"catch-up of {count:,} entries of {value_bytes} bytes"
    with TemporaryDirectory(dir=options.directory) as directory:
        source = str(Path(directory) / "source")
        progress(f"{what}: writing the source")
        with Worker() as worker:
            worker.call(replicas.fill, path=source, count=count, value_bytes=value_bytes)
        for run in range(options.runs):
            progress(f"{what}, run {run + 1} of {options.runs}")
            for kind, transfer in ((COPY, _copy), (EMPTY, _into_empty), (HOLDING, _into_holding)):
                with TemporaryDirectory(dir=directory) as target, Worker() as sender, Worker() as receiver:
                    figures = transfer(sender, receiver, source, f"{target}/t", count)
                if figures["entries"] != count:
                    raise AssertionError(f"{kind}: {figures['entries']} entries of {count} arrived")
                _collect(collector, kind, figures, count, value_bytes)


def _collect(collector: Collector, kind: str, figures: dict[str, float], count: int, value_bytes: int) -> None:
    def add(what: str, unit: str, value: float, *, compared: bool = True) -> None:
        baseline = COPY + what if compared and kind != COPY else None
        collector.add(kind + what, unit, value, baseline=baseline, at=count)

    add("", "entries/s", count / figures["seconds"])
    if value_bytes > VALUE_BYTES:
        add(": keys and values", "MB/s", count * (KEY_BYTES + value_bytes) / figures["seconds"] / 1e6)
    add(WIRE, "bytes/entry", figures["bytes"] / count)
    if "newest_s" in figures:
        add(NEWEST, "ms", figures["newest_s"] * 1000, compared=False)
    for side in SIDES:
        add(f": CPU of the {side}", "µs/entry", figures[f"{side} cpu_s"] / count * 1e6)
        add(peak_of(side), "MiB", figures[f"{side} peak_mib"])
        add(f"{peak_of(side)}, without mapped files", "MiB", figures[f"{side} own_mib"])


def _copy(sender: Worker, receiver: Worker, source: str, target: str, _count: int) -> dict[str, float]:
    port = sender.call(plain_copy.listen, path=f"{source}/db")
    return used(sender, receiver, plain_copy.receive, path=target, port=port)


def _into_empty(sender: Worker, receiver: Worker, source: str, target: str, count: int) -> dict[str, float]:
    address = sender.call(replicas.listen, path=source)
    return used(sender, receiver, catch_up, path=target, server=address, newest=count - 1)


def _into_holding(sender: Worker, receiver: Worker, source: str, target: str, count: int) -> dict[str, float]:
    """Let the full node dial and pull nothing: it must be the same in each run."""
    own = max(1, count // _OWN_PART)
    receiver.call(replicas.fill, path=target, count=own, first=count)
    address = receiver.call(replicas.listen, path=target)
    figures = used(
        sender, receiver, receive, meanwhile=lambda: sender.call(serve, path=source, server=address), newest=count - 1
    )
    figures["entries"] -= own
    return figures


def used(
    sender: Worker,
    receiver: Worker,
    function: Callable[..., Any],
    meanwhile: Callable[[], None] = lambda: None,
    **arguments: Any,
) -> dict[str, float]:
    """Return the figures of the receiver, and the CPU and memory that both sides used."""
    before = {"sender": sender.call(usage), "receiver": receiver.call(usage)}
    with Watch([sender.pid, receiver.pid]) as watch:
        receiver.begin(function, **arguments)
        meanwhile()
        figures: dict[str, float] = receiver.result()
    for side, worker in (("sender", sender), ("receiver", receiver)):
        after = worker.call(usage)
        figures[f"{side} cpu_s"] = after["cpu_s"] - before[side]["cpu_s"]
        figures[f"{side} peak_mib"] = after["peak_mib"]
        figures[f"{side} own_mib"] = watch.peak[worker.pid]
    return figures


# -- in a worker


def catch_up(
    context: Context, *, path: str, server: str, keys: dict[str, Any] | None = None, newest: int | None = None
) -> dict[str, float]:
    """Return the seconds from opening an empty replica until it has everything, the bytes both ways, and the keys; and
    the seconds until it has the entry with the number `newest`, if that is given."""
    began = time.monotonic()
    context.replica = lrep.open(path, {"servers": {server: {}}, **(keys or {})})
    figures = {} if newest is None else {"newest_s": _wait_for(context, newest) - began}
    return {**figures, **_until_level(context, began)}


def serve(context: Context, *, path: str, server: str) -> None:
    """Open a replica that dials `server` and sends it everything, and pulls nothing."""
    context.replica = lrep.open(path, {"servers": {server: {"read_only": True}}})


def receive(context: Context, *, newest: int) -> dict[str, float]:
    """As `catch_up`, from the moment in which the peer that dials is connected."""
    connected = context.kept["connected"]
    if not connected.wait(replicas.SYNC_TIMEOUT_S):
        raise TimeoutError("nobody dialled")
    began = connected.at
    figures = {"newest_s": _wait_for(context, newest) - began}
    return {**figures, **_until_level(context, began)}


def _until_level(context: Context, began: float) -> dict[str, float]:
    seconds = replicas.wait_in_sync(context) - began
    return {"seconds": seconds, "entries": replicas.count_keys(context), "bytes": replicas.counters(context)["bytes"]}


def _wait_for(context: Context, number: int) -> float:
    """Poll each millisecond: this is short beside the measured times, and costs little CPU."""
    get, key = context.replica.get, key_of(number)
    while get(key) is None:
        time.sleep(_LOOK_S)
    return time.monotonic()
