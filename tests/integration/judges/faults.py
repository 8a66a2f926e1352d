"""The faults that nodes are judged under, and the promises that must hold beside the rules of the judges."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tests.harness.waiting import wait_until
from tests.integration.judges import clock, disk
from tests.integration.judges.clock import WrongClock
from tests.integration.judges.disk import Fault
from tests.integration.judges.run import VICTIM, Run
from tests.integration.judges.sessions import Write
from tests.integration.judges.set_full import Add

FAR_AHEAD_S = 3_600
"""Beyond max_clock_drift, which is 60 s by default."""
DRIFT_S = 25
"""How far a clock is wrong at most: then no two are further apart than max_clock_drift."""
ENOUGH = 5
"""Adds, or refusals, that are waited for before a test goes on."""
ENOUGH_READS = 2
REARM_S = 0.5
"""After which a fault that happens once is tried again, if no LevelDB met it."""

Faults = Callable[[Run, float], None]
"""Causes faults of one kind in a run until the given moment of the monotonic clock."""


def kills(run: Run, until_s: float) -> None:
    """Kill nodes and start them again. The last one stays down until everything is healed."""
    while time.monotonic() < until_s:
        victim = run.random.randrange(len(run.nodes))
        run.network.kill(victim)
        run.faults += 1
        time.sleep(run.random.uniform(0.05, 1.0))
        run.network.start(victim)
        time.sleep(run.random.uniform(0.1, 0.6))
    run.network.kill(run.random.randrange(len(run.nodes)))


def stops(run: Run, until_s: float) -> None:
    """Suspend nodes, for less and for more than the four heartbeats after which a peer ends a connection."""
    while time.monotonic() < until_s:
        victim = run.random.choice(run.nodes)
        victim.suspend()
        run.faults += 1
        time.sleep(run.random.uniform(0.05, 1.2))
        victim.resume()
        time.sleep(run.random.uniform(0.05, 0.5))


def cuts(run: Run, until_s: float) -> None:
    """Cut and heal links, often several at once, so that nodes are alone."""
    while time.monotonic() < until_s:
        for relay in run.network.relays:
            if relay.is_cut:
                relay.heal()
            elif run.random.random() < 0.6:
                relay.cut()
                run.faults += 1
        time.sleep(run.random.uniform(0.05, 0.8))


def clocks_within_drift(run: Run, until_s: float) -> None:
    """Let clocks jump, back and ahead, within max_clock_drift of each other. Some nodes are killed after a jump."""
    while time.monotonic() < until_s:
        victim = run.random.randrange(len(run.nodes))
        _clock(run, victim).move(run.random.randint(-DRIFT_S, DRIFT_S))
        run.faults += 1
        if run.random.random() < 0.2:
            run.network.kill(victim)
            run.network.start(victim)
        time.sleep(run.random.uniform(0.05, 0.5))


def clock_far_ahead(run: Run, until_s: float) -> None:
    """Let the clock of one node jump ahead of what its peers allow.

    They must quarantine it, take nothing that it writes from then on, and go on without it. When their clocks have come
    as far, everything must travel."""
    history = run.history
    _wait_added(run, VICTIM)
    _clock(run, VICTIM).move(FAR_AHEAD_S)
    run.faults += 1
    jumped_s = time.monotonic()
    for peer in (0, 2):
        wait_until(
            lambda number=peer: "quarantined" in _states(run, number),  # type: ignore[misc]
            lambda number=peer: f"node {number} quarantines node {VICTIM}: {_states(run, number)}",  # type: ignore[misc]
        )
    _wait_spread(run, 0, 2)
    time.sleep(max(0.0, until_s - time.monotonic()))
    healed_s = time.monotonic()
    too_early = {add.element for add in history.adds if add.node == VICTIM and add.invoked_s > jumped_s}
    for read in history.reads:
        if read.node != VICTIM and read.completed_s < healed_s and not too_early.isdisjoint(read.elements):
            run.broken.append(f"node {read.node} took {sorted(too_early.intersection(read.elements))} from the future")
    if not too_early:
        run.broken.append(f"node {VICTIM} took no writes while its clock was wrong")
    for number in range(len(run.nodes)):
        _clock(run, number).move(FAR_AHEAD_S)


def failing_disk(*faults: Fault) -> Faults:
    """Return faults of the disk of one node, in each of these ways in turn; after each the node starts on a good disk.

    After the first write that it refuses it must refuse all, say why in its status, and go on answering reads. What it
    has acknowledged before must be there after the restart."""

    def play(run: Run, until_s: float) -> None:
        turns = list(faults)
        while turns or time.monotonic() < until_s:
            _wait_added(run, VICTIM)
            _fail_disk(run, turns.pop(0) if turns else run.random.choice(faults))
            _restart(run, faulty_disk=True)
        _restart(run, faulty_disk=False)
        _wait_added(run, VICTIM)

    return play


@dataclass(frozen=True)
class Kind:
    """`play` causes the faults; `options` are for Run; `missing` says why they cannot be caused here, or is None."""

    play: Faults
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    missing: str | None = None


def _disk(*faults: Fault, sync: bool) -> Kind:
    return Kind(failing_disk(*faults), MappingProxyType({"faulty_disk": True, "sync": sync}), disk.MISSING)


_CLOCKS = MappingProxyType({"clocks": True})
KINDS = {
    "kill": Kind(kills),
    "stop": Kind(stops),
    "cut": Kind(cuts),
    "clocks-within-drift": Kind(clocks_within_drift, _CLOCKS, clock.MISSING),
    "clock-far-ahead": Kind(clock_far_ahead, _CLOCKS, clock.MISSING),
    "disk": _disk(
        Fault("posix/io/rw/write", errno.ENOSPC),
        Fault("posix/io/rw/write", errno.EIO, once=True),
        Fault("posix/io/rw/write", errno.EIO, probability=0.05),
        sync=False,
    ),
    "disk-with-sync": _disk(
        Fault("posix/io/sync/fdatasync", errno.EIO),
        Fault("posix/io/sync/fdatasync", errno.EIO, once=True),
        Fault("posix/io/rw/write", errno.ENOSPC, once=True),
        sync=True,
    ),
}


def _clock(run: Run, number: int) -> WrongClock:
    found = run.nodes[number].clock
    assert found is not None
    return found


def _states(run: Run, number: int) -> list[str]:
    """Return the states of the peers of a node, as it says."""
    return [peer["state"] for peer in run.nodes[number].call("status")["peers"]]


def _wait_added(run: Run, number: int) -> None:
    """Wait until a node has acknowledged some more adds."""
    adds = run.history.adds
    begin = len(adds)

    def added() -> int:
        return sum(add.node == number and add.acknowledged_s is not None for add in adds[begin:])

    wait_until(lambda: added() >= ENOUGH, lambda: f"node {number} acknowledges {ENOUGH} adds, not {added()}")


def _wait_spread(run: Run, source: int, target: int) -> None:
    """Wait until a client of `target` has read an element that was added at `source` from now on."""
    adds, reads = len(run.history.adds), len(run.history.reads)

    def spread() -> bool:
        added = {add.element for add in run.history.adds[adds:] if add.node == source}
        return any(read.node == target and not added.isdisjoint(read.elements) for read in run.history.reads[reads:])

    wait_until(spread, f"node {target} reads elements that are added at node {source}")


def _restart(run: Run, *, faulty_disk: bool) -> None:
    run.network.kill(VICTIM)
    run.nodes[VICTIM].faulty_disk = faulty_disk
    run.network.start(VICTIM)


def _taken_since(run: Run, since_s: float) -> list[Add | Write]:
    """Return the writes that the victim was asked for after this moment and has acknowledged."""
    writes: list[Add | Write] = [*run.history.adds, *run.history.writes]
    return [w for w in writes if w.node == VICTIM and w.invoked_s > since_s and w.acknowledged_s is not None]


def _fail_disk(run: Run, fault: Fault) -> None:
    """Let the disk of the victim fail until the node refuses writes, and look at what it does then."""
    history = run.history
    begin = len(history.refusals)
    run.faults += 1
    armed_s = time.monotonic()
    with contextlib.closing(run.nodes[VICTIM].session()) as session:

        def refused() -> bool:
            nonlocal armed_s
            if fault.once and time.monotonic() > armed_s + REARM_S:  # something else than a LevelDB may have met it
                armed_s = time.monotonic()
                session.break_disk(fault)
            return len(history.refusals) > begin

        session.break_disk(fault)
        wait_until(refused, f"node {VICTIM} refuses writes under {fault}")
        node, refused_s = history.refusals[begin]
        reads = len(history.reads)

        def goes_on() -> bool:
            answers = len(history.refusals) - begin + len(_taken_since(run, refused_s))
            return answers >= ENOUGH and sum(read.node == VICTIM for read in history.reads[reads:]) >= ENOUGH_READS

        wait_until(goes_on, f"node {VICTIM} answers reads and writes, under {fault}")
        if session.failed() is None:
            run.broken.append(f"node {VICTIM} does not say in its status that it takes no writes, under {fault}")
    if node != VICTIM:
        run.broken.append(f"node {node} has a good disk and refused a write")
    taken = _taken_since(run, refused_s)
    if taken:
        run.broken.append(f"node {VICTIM} took {len(taken)} writes after it had refused one, under {fault}: {taken[0]}")
