"""Limits how much may happen: a world that is never at rest fails soon, and says who does what, instead of hanging.

While faults go on the allowance is generous. Once they have ended, the nodes have only so much left to tell each other.
A livelock spends the allowance in any case, also one in which no virtual time passes.
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
    """Frames and events (of the agenda): so many at once, and so many more for each virtual second.

    Events are many where a connection delivers a few bytes at a time."""

    frames: int
    frames_per_s: int
    events: int
    events_per_s: int


UNDER_FAULTS = Allowance(frames=20_000, frames_per_s=1_000, events=1_000_000, events_per_s=20_000)
AFTER_FAULTS = Allowance(frames=2_000, frames_per_s=100, events=250_000, events_per_s=2_000)
"""Of 2,000 seeds the worst needed 420 frames and 74,000 events at once."""


class Budget:
    """Of one world, since its start, since its faults ended, or since a schedule began it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.begin(UNDER_FAULTS)

    def begin(self, allowance: Allowance) -> None:
        """Counts from here on."""
        self._allowance = allowance
        self._began_ms = self._world.now_ms
        self._events = self._frames = 0
        self.said: Counter[tuple[str, str, str]] = Counter()

    def frame(self, sender: str, receiver: str, kind: str) -> None:
        self._frames += 1
        self.said[(sender, receiver, kind)] += 1

    def event(self) -> None:
        """Counts something that the agenda has for now. Raises Broken when that was too much."""
        self._events += 1
        allowance = self._allowance
        elapsed_s = (self._world.now_ms - self._began_ms) / 1000
        if self._frames > allowance.frames + allowance.frames_per_s * elapsed_s:
            raise Broken(self.reason(f"{self._frames} frames"))
        if self._events > allowance.events + allowance.events_per_s * elapsed_s:
            raise Broken(self.reason(f"{self._events} events"))

    def reason(self, what: str) -> str:
        """Tells which links exchange what, and what each node waits for."""
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
