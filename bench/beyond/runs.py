"""One run of one subject, in a worker process of its own."""

import threading
import time
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench.beyond import subjects, work
from bench.data import pairs
from bench.worker import Context

NEW, OVER = "new keys", "overwritten keys"
_NAP_S, _ALONE_S = 0.001, 0.3


def local(_context: Context, *, name: str, path: str, count: int, over: bool) -> dict[str, Any]:
    """Batches of local writes."""
    ready = list(work.batches(list(pairs(count))))
    before_mib = _begin_peak()
    subject = subjects.LOCAL[name](Path(path))
    if over:
        for operations in ready:
            subject.write(operations)
        ready = list(work.batches(work.changed(count)))
    watch = _Watch(subject)
    for operations in ready:
        subject.write(operations)
    figures = watch.stop()
    if not over:
        figures["growth_mib"] = memory_mib("VmHWM") - before_mib
    return _ended(subject, figures, path)


def beside(_context: Context, *, name: str, path: str, count: int, busy: bool) -> dict[str, Any]:
    """Batches of local writes while another thread of Python naps, or is busy."""
    ready = list(work.batches(list(pairs(count))))
    subject = subjects.LOCAL[name](Path(path))
    thread: _Busy | _Napping = _Busy() if busy else _Napping()
    watch = _Watch(subject)
    for operations in ready:
        subject.write(operations)
    return _ended(subject, watch.stop() | thread.stop(), path)


def apply(_context: Context, *, name: str, path: str, count: int, over: bool) -> dict[str, Any]:
    """A first round of a peer; `over`: of keys that this replica wrote before, and the peer since."""
    subject = subjects.LOCAL[name](Path(path))
    ready = list(pairs(count))
    if over:
        for operations in work.batches(ready):
            subject.write(operations)
        ready = work.changed(count)
    frames, target = work.frames(ready, seen=over)
    del ready
    watch = _Watch(subject)
    subject.begin(target)
    for frame in frames:
        subject.apply(frame)
    return _ended(subject, watch.stop(), path)


def _ended(subject: Any, figures: dict[str, float], path: str) -> dict[str, Any]:
    counts = list(getattr(subject, "counts", ()))
    subject.close()
    size = sum(each.stat().st_size for each in Path(path).rglob("*") if each.is_file())
    return {**figures, "disk_mib": size / (1 << 20), "counts": counts}


class _Watch:
    """Seconds, and of them those in writes of whole batches."""

    def __init__(self, subject: Any) -> None:
        self._subject = subject
        self._before = subject.rs_s + subject.db_s
        self._began = time.perf_counter()

    def stop(self) -> dict[str, float]:
        seconds = time.perf_counter() - self._began
        return {"seconds": seconds, "written_s": self._subject.rs_s + self._subject.db_s - self._before}


def memory_mib(name: str) -> float:
    """A line of /proc/self/status; 0 where there is none."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
    return 0.0


def _begin_peak() -> float:
    """The peak of memory begins anew, at what is used now."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return memory_mib("VmRSS")


class _Napping:
    """A thread that wants to run each millisecond, as an event loop may: how late it wakes."""

    def __init__(self) -> None:
        self._late: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._nap)
        self._thread.start()

    def _nap(self) -> None:
        while not self._over.is_set():
            began = time.perf_counter()
            time.sleep(_NAP_S)
            self._late.append((time.perf_counter() - began - _NAP_S) * 1000)

    def stop(self) -> dict[str, float]:
        self._over.set()
        self._thread.join()
        return {"late_ms": median(self._late), "latest_ms": quantiles(self._late, n=100)[-1]}


class _Busy:
    """A thread that computes without a pause: which share of its speed alone it has."""

    def __init__(self) -> None:
        self._turns = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._compute)
        self._thread.start()
        time.sleep(_ALONE_S)
        self._alone = self._turns / _ALONE_S
        self._turns, self._began = 0, time.perf_counter()

    def _compute(self) -> None:
        while not self._over.is_set():
            self._turns += 1

    def stop(self) -> dict[str, float]:
        turns, seconds = self._turns, time.perf_counter() - self._began
        self._over.set()
        self._thread.join()
        return {"share": turns / seconds / self._alone}
