"""Rules of the protocol, each switched off from outside, to see that the checks notice.

A mutant that survives means a rule that nothing tests, or that is not needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from level_replicator.core.effects import Apply, Effect, PeerHas
from level_replicator.core.intervals import Interval, Intervals
from level_replicator.core.push import Push
from level_replicator.core.versions import Vector
from level_replicator.runtime.link import Link
from level_replicator.storage import applier, opening
from level_replicator.storage.applier import RemoteApplier
from level_replicator.storage.feed import Feed
from level_replicator.storage.state import State
from level_replicator.storage.store import Store

Patches = list[tuple[Any, str, Any]]
Work = dict[int, Intervals]
MUTANTS: dict[str, Callable[[], Patches]] = {}


def rule(name: str) -> Callable[[Callable[[], Patches]], Callable[[], Patches]]:
    def register(patches: Callable[[], Patches]) -> Callable[[], Patches]:
        MUTANTS[name] = patches
        return patches

    return register


@contextmanager
def mutant(name: str) -> Iterator[None]:
    """Runs the body with a rule switched off."""
    patches = MUTANTS[name]()
    saved = [(owner, attribute, owner.__dict__[attribute]) for owner, attribute, _ in patches]
    for owner, attribute, value in patches:
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for owner, attribute, value in saved:
            setattr(owner, attribute, value)


@rule("vector-moved-early")
def _vector_moved_early() -> Patches:
    """The vector of a round is taken over when it begins."""
    perform = Link._perform

    def early(self: Link, effect: Effect) -> None:
        perform(self, effect)
        if isinstance(effect, PeerHas) and effect.feeding and not self.ended:
            assert self.session.peer is not None
            self.hub._moved(self, self.hub.store.take(effect.vector, self.session.peer.origin))

    return [(Link, "_perform", early)]


@rule("scan-finished-with-another-peer")
def _scan_finished_with_another_peer() -> Patches:
    """What was applied of one peer's broken-off scan is not asked of any other."""
    resumable = Store.resumable

    def of_all(self: Store, source: int) -> list[tuple[int, int, int]]:
        return [span for peer in list(self._state.resume) for span in resumable(self, peer)]

    return [(Store, "resumable", of_all)]


@rule("vector-moved-during-scan")
def _vector_moved_during_scan() -> Patches:
    """Each frame moves the vector up to what it holds, though it came newest first."""
    apply = RemoteApplier._apply

    def eager(self: RemoteApplier, state: State, frame: Apply, source: int) -> tuple[Vector, list[Interval]]:
        if frame.take is None:
            frame = dataclasses.replace(frame, take={frame.origin: frame.high})
        return apply(self, state, frame, source)

    return [(RemoteApplier, "_apply", eager)]


def _open_differently(change: Callable[[Feed, State, Vector, Work], None]) -> Patches:
    """Changes what a first round reads."""
    plain = Feed.open

    def changed(self: Feed, state: State, peer_vector: Vector) -> tuple[Vector, Work]:
        first = not self._began
        target, work = plain(self, state, peer_vector)
        if first:
            change(self, state, peer_vector, work)
        return target, work

    return [(Feed, "open", changed)]


@rule("stop-at-first-known")
def _stop_at_first_known() -> Patches:
    """One log in order of time, read backwards until an entry that the peer knows."""

    def stop(_feed: Feed, state: State, peer_vector: Vector, work: Work) -> None:
        known = max((min(stamp, peer_vector.get(origin, 0)) for origin, stamp in state.newest.items()), default=0)
        for intervals in work.values():
            intervals.remove_up_to(known)

    return _open_differently(stop)


@rule("read-only-below-the-vector")
def _read_only_below_the_vector() -> Patches:
    """A round leaves out what stands in the log above the vector, of a scan that is not complete."""

    def cap(_feed: Feed, state: State, _peer_vector: Vector, work: Work) -> None:
        for origin, intervals in work.items():
            intervals.remove(state.vector.get(origin, 0), 1 << 64)

    return _open_differently(cap)


@rule("clock-ignores-vectors")
def _clock_ignores_vectors() -> Patches:
    """The clock follows entries, but not the vectors that are taken over."""
    taken = RemoteApplier._taken

    def unmoved(state: State, moved: Vector, source: int) -> None:
        last = state.clock.last
        taken(state, moved, source)
        state.clock.last = last

    return [(RemoteApplier, "_taken", staticmethod(unmoved))]


@rule("ties-by-arrival")
def _ties_by_arrival() -> Patches:
    """Of two entries with one stamp the one that comes later wins."""
    return [(applier, "wins", lambda stamp, origin, old, _: stamp >= old)]


@rule("no-redo-after-kill")
def _no_redo_after_kill() -> Patches:
    """The last batch is not done again into the database."""
    return [(opening, "redo_last_batch", lambda _state: 0)]


@rule("no-new-origin-for-forgetful")
def _no_new_origin_for_forgetful() -> Patches:
    """A peer that knows more of our origin than we do is not believed."""
    return [
        (Store, "forgot", lambda _self, _stamp: False),
        (opening, "_is_copy", lambda _meta, _identity, _db_identity: False),
    ]


@rule("vector-survives-power-loss")
def _vector_survives_power_loss() -> Patches:
    """After a power loss the vector still claims what may have been lost."""
    return [(opening, "roll_back_vector", lambda _state, _durable: None)]


@rule("echo")
def _echo() -> Patches:
    """What a peer sent goes back to it: neither what it says that it covers nor who sent it is looked at."""
    perform = Link._perform

    def back(self: Link, effect: Effect) -> None:
        perform(self, effect)
        if isinstance(effect, Apply) and not self.ended:
            self.applied_elsewhere(effect.origin, [(effect.low, effect.high)])

    def deaf(self: Push, vector: Vector) -> None:
        if not self.peer_vector:
            self.peer_vector.update(vector)

    return [(Link, "_perform", back), (Push, "peer_has", deaf)]


@rule("restart-instead-of-resume")
def _restart_instead_of_resume() -> Patches:
    """A broken-off scan begins anew."""
    return [(Store, "resumable", lambda _self, _source: [])]
