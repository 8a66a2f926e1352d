"""What happens: three masters, a third of the data each, edits of the same keys, a SIGKILL, a cut link."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from level_replicator.cli.demo.checks import Ledger, behind, out_of_sync
from level_replicator.cli.demo.data_sets import DataSet
from level_replicator.cli.demo.feeder import Feeder, Tally
from level_replicator.cli.demo.process import DemoFailure, Master
from level_replicator.cli.demo.relay import HOST, Relay, free_ports
from level_replicator.cli.demo.screen import Row, Screen

MASTERS = 3
CUT_AT = 0.3
KILL_AT = 0.5
CUT_S = 2.0
DOWN_S = 1.0
LOOK_INTERVAL_S = 0.1
STABLE_S = 0.5
MOST_CONTESTED_KEYS = 64


@dataclass
class Outcome:
    """What the story was, once all were in sync and stopped."""

    masters: list[Master]
    ledger: Ledger
    tallies: list[Tally] = field(default_factory=list)
    incidents: list[str] = field(default_factory=list)
    fed_s: float = 0.0
    in_sync_s: float = 0.0


class Story:
    """One run. Everything random is drawn from `seed`; when what happens is up to the machine."""

    def __init__(self, data: DataSet, place: Path, seed: int, timeout_s: float, screen: Screen) -> None:
        self._data = data
        self._seed = seed
        self._timeout_s = timeout_s
        self._screen = screen
        self._relay = Relay()
        self._ledger = Ledger()
        self._healed = threading.Event()
        self._healers: list[threading.Timer] = []
        self._incidents: list[str] = []
        ports = free_ports(MASTERS)
        self._masters = [
            Master(f"node {index + 1}", place / f"node{index + 1}", port, self._wires(index, ports))
            for index, port in enumerate(ports)
        ]
        self._feeders = [self._feeder(index) for index in range(MASTERS)]

    def tell(self) -> Outcome:
        """Runs it to the end. Raises DemoFailure, and InputError for data that cannot be read any more."""
        with self._ending():
            self._start()
            began_s = time.monotonic()
            self._screen.event(f"feeding {len(self._data.keys):,} entries of {self._data.title}, and edits")
            for feeder in self._feeders:
                feeder.start()
            self._watch(lambda: not any(feeder.is_alive() for feeder in self._feeders))
            fed_s = time.monotonic() - began_s
            self._screen.event("everything is written; waiting until all are in sync")
            self._watch(self._healed.is_set)
            in_sync_s = self._await_in_sync()
            in_sync_s -= began_s
            self._screen.event("all in sync; stopping")
            for master in self._masters:
                master.stop()
        tallies = [feeder.tally for feeder in self._feeders]
        return Outcome(self._masters, self._ledger, tallies, self._incidents, fed_s, in_sync_s)

    def _wires(self, index: int, ports: list[int]) -> list[str]:
        """The addresses where one master finds the others: each a port of the relay, never theirs."""
        return [
            f"{HOST}:{self._relay.open(_link(index, other), ports[other])}"
            for other in range(MASTERS)
            if other != index
        ]

    def _feeder(self, index: int) -> Feeder:
        # Spread over the data set: neighbours in it are rarely written at the same time.
        random = Random(f"{self._seed} contested")
        count = min(MOST_CONTESTED_KEYS, max(1, len(self._data.keys) // 10))
        contested = random.sample(self._data.keys, count)
        share = range(index, len(self._data.keys), MASTERS)
        incidents: dict[float, Callable[[], None]] = {}
        if index == 0:
            incidents[CUT_AT] = self._cut
        if index == 1:
            incidents[KILL_AT] = self._kill
        random = Random(f"{self._seed} {index}")
        return Feeder(self._masters[index], self._data, share, contested, random, self._ledger, incidents)

    def _start(self) -> None:
        starters = []
        failures: list[DemoFailure] = []

        def start(master: Master) -> None:
            try:
                master.start()
            except DemoFailure as failure:
                failures.append(failure)

        for master in self._masters:
            starters.append(threading.Thread(target=start, args=(master,)))
            starters[-1].start()
        self._watch(lambda: not any(starter.is_alive() for starter in starters))
        if failures:
            raise failures[0]
        self._screen.event(f"{MASTERS} masters run, each a process, each linked to each")

    def _cut(self) -> None:
        link = _link(0, 2)
        self._relay.cut(link)
        self._screen.event(f"the link {link} is cut")
        healer = threading.Timer(CUT_S, self._heal, (link, time.monotonic()))
        self._healers.append(healer)
        healer.start()

    def _heal(self, link: str, cut_at_s: float) -> None:
        self._relay.heal(link)
        down_s = time.monotonic() - cut_at_s
        self._screen.event(f"the link {link} is healed after {down_s:.1f} s")
        self._incidents.append(f"the link {link} was cut, and healed after {down_s:.1f} s")
        self._healed.set()

    def _kill(self) -> None:
        victim = self._feeders[1]
        name, acknowledged = victim.master.name, victim.tally.writes
        killed_at_s = time.monotonic()
        victim.master.kill()
        self._screen.event(f"{name} is killed with SIGKILL after {acknowledged:,} acknowledged writes")
        time.sleep(DOWN_S)
        victim.master.start()
        down_s = time.monotonic() - killed_at_s
        self._screen.event(f"{name} is back after {down_s:.1f} s and goes on with what was not acknowledged")
        self._incidents.append(
            f"{name} was killed with SIGKILL after {acknowledged:,} writes, and was back after {down_s:.1f} s"
        )

    def _watch(self, done: Callable[[], bool]) -> None:
        while not done():
            self._look()
        for feeder in self._feeders:
            if feeder.failure is not None:
                raise feeder.failure

    def _look(self) -> None:
        self._screen.show([self._row(feeder) for feeder in self._feeders])
        for feeder in self._feeders:
            if feeder.failure is not None:
                raise feeder.failure
        time.sleep(LOOK_INTERVAL_S)

    def _await_in_sync(self) -> float:
        """Since when, on the monotonic clock, all have been in sync. Raises DemoFailure."""
        limit_s = time.monotonic() + self._timeout_s
        in_sync_since_s: float | None = None
        while in_sync_since_s is None or time.monotonic() - in_sync_since_s < STABLE_S:
            differing = out_of_sync(self._masters)
            if differing:
                in_sync_since_s = None
            elif in_sync_since_s is None:
                in_sync_since_s = time.monotonic()
            if time.monotonic() > limit_s:
                reasons = differing or [f"in sync, but not yet for {STABLE_S} s"]
                head = f"not in sync {self._timeout_s:g} s after the last write:"
                raise DemoFailure("\n  ".join([head, *reasons]))
            self._look()
        return in_sync_since_s

    def _row(self, feeder: Feeder) -> Row:
        master = feeder.master
        status = master.status
        live = {"live", "scanning"}
        return Row(
            name=master.name,
            state=master.state,
            links=sum(peer.state in live for peer in status.peers) if status and master.state == "running" else 0,
            written=feeder.tally.writes,
            received=master.received[0],
            behind=behind(master, self._masters),
            keys=status.keys if status else 0,
        )

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        """Whatever happens, no thread, process or port is left behind."""
        try:
            yield
        finally:
            for healer in self._healers:
                healer.cancel()
            for feeder in self._feeders:
                feeder.cancel()
            for feeder in self._feeders:
                if feeder.ident is not None:
                    # It may be starting its master again: what it starts must be killed too.
                    while feeder.is_alive():
                        feeder.master.kill()
                        feeder.join(LOOK_INTERVAL_S)
            for master in self._masters:
                if master.state != "stopped":
                    master.kill()
            self._relay.close()


def _link(one: int, other: int) -> str:
    return f"{min(one, other) + 1}-{max(one, other) + 1}"
