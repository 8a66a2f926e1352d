"""Limits of frames and events: a world that never comes to rest fails soon, with a reason, instead of hanging.

During faults the allowance is generous. After them the nodes need only a limited number of messages. A livelock exceeds
the allowance in any case, even if no virtual time passes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from level_replicator.storage.maintenance.floors import floors_above
from tests.simulation.checks import Broken

if TYPE_CHECKING:
    from tests.simulation.world import World

_MOST_LINKS_TOLD = 6


@dataclass(frozen=True)
class Allowance:
    """Number of frames, and of events on the agenda, that are allowed at once, and in addition per virtual second.

    Events are frequent if a connection delivers a few bytes at a time."""

    frames: int
    frames_per_s: int
    events: int
    events_per_s: int


UNDER_FAULTS = Allowance(frames=20_000, frames_per_s=1_000, events=1_000_000, events_per_s=20_000)
AFTER_FAULTS = Allowance(frames=2_000, frames_per_s=100, events=250_000, events_per_s=2_000)
"""The worst of 2,000 seeds needed 420 frames and 74,000 events at once."""


class Budget:
    """Budget of one world since its start, since the end of its faults, or since a schedule called `begin`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.begin(UNDER_FAULTS)

    def begin(self, allowance: Allowance) -> None:
        """Set an allowance, and count from now on."""
        self._allowance = allowance
        self._began_ms = self._world.now_ms
        self._events = self._frames = 0
        self.said: Counter[tuple[str, str, str]] = Counter()

    def frame(self, sender: str, receiver: str, kind: str) -> None:
        self._frames += 1
        self.said[(sender, receiver, kind)] += 1

    def event(self) -> None:
        """Count an event. Raise Broken if the allowance is exceeded."""
        self._events += 1
        allowance = self._allowance
        elapsed_s = (self._world.now_ms - self._began_ms) / 1000
        if self._frames > allowance.frames + allowance.frames_per_s * elapsed_s:
            raise Broken(self.reason(f"{self._frames} frames"))
        if self._events > allowance.events + allowance.events_per_s * elapsed_s:
            raise Broken(self.reason(f"{self._events} events"))

    def reason(self, what: str) -> str:
        """Return a text that lists the messages of each connection, and for what each node waits."""
        elapsed_ms = self._world.now_ms - self._began_ms
        phase = "the end of the faults" if self._allowance is AFTER_FAULTS else "the start"
        links: dict[tuple[str, str], list[str]] = {}
        for (sender, receiver, kind), count in self.said.most_common():
            links.setdefault((sender, receiver), []).append(f"{count} {kind}")
        told = [f"{a} → {b}: {', '.join(said)}" for (a, b), said in list(links.items())[:_MOST_LINKS_TOLD]]
        since = f"in {elapsed_ms / 1000:.3f} virtual seconds since {phase}"
        return "\n  ".join([f"no rest: {what} {since}", *told, *self._waits()])

    def _waits(self) -> list[str]:
        waits = []
        for node in self._world.nodes.values():
            if node.store is not None and (node.store.bulk_load_incomplete or floors_above(node.store._state)):
                waits.append(f"{node.name}: its bulk load is incomplete, or a floor is above the vector")
            for link in node.coordinator.connections if node.coordinator is not None else ():
                name = self._world.name_of(link)
                what = link.puller.waits_for or "nothing"
                waits.append(f"{node.name} with {name} ({link.peer.state.value}): waits for {what}")
        return waits
