"""The time and the cost of two nodes from the first byte between them until they are in sync."""

import time

from bench import replicas
from bench.processes import Worker
from bench.worker import usage

_DIALLED_S = 0.05
"""Enough time to connect to a suspended process and to send it the first message."""


def connect(first: Worker, second: Worker, path: str, address: str, *, both: bool = False) -> dict[str, float]:
    """Open a replica at `path` in `second`, which dials `first`: `seconds` until it has all, or `both` have, `cpu_s`
    of both processes, `bytes` both ways, `entries_in` of the second.

    Opening it is in none of these: the first process is stopped until the second one has opened and dialled."""
    before = first.call(usage)["cpu_s"]
    first.pause()
    try:
        second.call(replicas.begin_dialling, path=path, server=address)
        time.sleep(_DIALLED_S)
        cpu_s = second.call(usage)["cpu_s"]
        began = time.monotonic()
    finally:
        first.resume()
    ended = second.call(replicas.wait_in_sync)
    if both:
        ended = max(ended, first.call(replicas.wait_in_sync))
    cpu_s = second.call(usage)["cpu_s"] - cpu_s + first.call(usage)["cpu_s"] - before
    return {"seconds": ended - began, "cpu_s": cpu_s, **second.call(replicas.counters)}
