"""Rules of the protocol, each switched off from outside, to see that the checks notice.

A mutant that survives means a rule that nothing tests, or that is not needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from level_replicator.core.effects import Apply, Effect, PeerHas
from level_replicator.core.intervals import Intervals
from level_replicator.core.push import Push
from level_replicator.core.reconcile import Sides, Verdict, judge_ours, judge_theirs
from level_replicator.core.versions import Vector
from level_replicator.runtime.hub import Hub
from level_replicator.runtime.link import Link
from level_replicator.runtime.pulling import Pulling
from level_replicator.storage import applier, changes, opening, settling, store
from level_replicator.storage.applier import Applied, Merging, RemoteApplier
from level_replicator.storage.changes import ChangeReader
from level_replicator.storage.conflicts import UnreportedConflicts
from level_replicator.storage.feed import Feed
from level_replicator.storage.known_keys import KnownKeys
from level_replicator.storage.retention import Retention
from level_replicator.storage.settling import Settling
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
            self.hub.moved(self, self.hub.store.take(effect.vector, self.session.peer.origin))

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

    def eager(self: RemoteApplier, state: State, frame: Apply, source: int, source_vector: Vector) -> Applied:
        if frame.take is None:
            frame = dataclasses.replace(frame, take={frame.origin: frame.high})
        return apply(self, state, frame, source, source_vector)

    return [(RemoteApplier, "_apply", eager)]


def _open_differently(change: Callable[[Feed, State, Vector, Work], None]) -> Patches:
    """Changes what a first round reads."""
    plain = Feed.open

    def changed(self: Feed, state: State, peer_vector: Vector) -> tuple[Vector, Work]:
        first = not self.began
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
    taken, begin_walk = applier.taken, Store.begin_walk

    def unmoved(state: State, moved: Vector, source: int) -> None:
        last = state.clock.last
        taken(state, moved, source)
        state.clock.last = last

    def begin(self: Store, *args: Any) -> Any:
        last = self.clock.last
        begun = begin_walk(self, *args)
        self.clock.last = last
        return begun

    return [(applier, "taken", unmoved), (settling, "taken", unmoved), (Store, "begin_walk", begin)]


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


# -- space and reconcile


@rule("stale-read-as-current")
def _stale_read_as_current() -> Patches:
    """Nobody looks whether somebody missed tombstones that were dropped."""
    return [
        (store, "stale", lambda _vector, _horizon: False),
        (store, "_missed_tombstones", lambda _state, _feed, _vector: False),
        (applier, "stale", lambda _vector, _horizon: False),
    ]


def _judge_ours_differently(verdict: Verdict) -> Patches:
    """What would be this verdict on a key that only the reader has is KEEP."""

    def judge(stamp: int, origin: int, deleted: bool, sides: Sides) -> Verdict:
        found = judge_ours(stamp, origin, deleted, sides)
        return Verdict.KEEP if found is verdict else found

    return [(settling, "judge_ours", judge)]


@rule("unseen-writes-keep-their-stamps")
def _unseen_writes_keep_their_stamps() -> Patches:
    """A stale node does not write again what nobody can tell of."""
    return _judge_ours_differently(Verdict.RESTAMP)


@rule("tombstones-of-the-stale-stay")
def _tombstones_of_the_stale_stay() -> Patches:
    """A rejoining node keeps its own tombstones that are older than some that it missed."""
    return _judge_ours_differently(Verdict.DROP)


@rule("deleted-keys-stay")
def _deleted_keys_stay() -> Patches:
    """A rejoining node keeps what the peer knew and deleted."""
    return _judge_ours_differently(Verdict.DELETE)


@rule("absent-keys-accept-anything")
def _absent_keys_accept_anything() -> Patches:
    """In a walk, a key that we had and whose tombstone we dropped is taken again."""

    def judge(stamp: int, origin: int, _known: Vector, doubt: int) -> Verdict:
        return judge_theirs(stamp, origin, {}, doubt)

    return [(settling, "judge_theirs", judge), (applier, "judge_theirs", judge)]


@rule("horizon-not-taken-over")
def _horizon_not_taken_over() -> Patches:
    """A rejoining node takes the peer's vector, but not its horizon."""
    take = Settling.take

    def without(self: Settling) -> Vector:
        self._sides = dataclasses.replace(self._sides, stale=False)
        return take(self)

    return [(Settling, "take", without)]


@rule("doubt-not-looked-at-again")
def _doubt_not_looked_at_again() -> Patches:
    """What was dropped here since a pull began plays no part in it."""
    return [(applier, "doubt_of", lambda _state, _vector: 0), (settling, "doubt_of", lambda _state, _vector: 0)]


@rule("doubtful-and-yet-taken")
def _doubtful_and_yet_taken() -> Patches:
    """The vector of a pull that left something doubtful out is taken over all the same."""

    def insist(self: Pulling, frame: Apply) -> None:
        link = self._link
        assert link.session.peer is not None
        link.hub.apply(link, dataclasses.replace(frame, take=None))
        if frame.take is not None and not link.ended:
            link.hub.moved(link, link.hub.store.take(frame.take, link.session.peer.origin))

    return [(Pulling, "apply", insist)]


@rule("not-alone")
def _not_alone() -> Patches:
    """A stale node goes on with its other pulls while it reconciles."""
    begins = Hub.walk_begins
    return [(Hub, "walk_begins", lambda self, link, alone: begins(self, link, alone=False))]


@rule("keys-taken-for-new")
def _keys_taken_for_new() -> Patches:
    """The filter of known keys spares also lookups of keys that are there."""
    return [(KnownKeys, "is_new", lambda _self, _key: True)]


@rule("filled-above-the-floor")
def _filled_above_the_floor() -> Patches:
    """What fills a node is not logged, and its floor does not say so."""

    def begin(state: State, _vector: Vector) -> None:
        state.filling = state.half_filled = True

    def merge(self: Merging, entries: Any, known: Vector, doubt: int, *, in_order: bool = True) -> bool:
        floor, state = self._state.floor, self._state
        if self._filling:
            entries = list(entries)
            state.floor = {origin: 1 << 63 for origin, _ in entries}
        try:
            return plain(self, entries, known, doubt, in_order=in_order)
        finally:
            state.floor = floor

    plain = Merging.merge
    return [(store, "begin_filling", begin), (Merging, "merge", merge)]


@rule("log-read-below-the-floor")
def _log_read_below_the_floor() -> Patches:
    """A truncated log is read as if nothing were missing."""
    return [(store, "_below_floor", lambda _state, _feed, _vector: False)]


@rule("truncated-before-it-was-on-disk")
def _truncated_before_it_was_on_disk() -> Patches:
    """The log is truncated while the values are only in memory."""

    def at_once(self: Retention) -> Vector:
        return dict(self._state.vector)

    return [(Retention, "_bring_to_disk", at_once)]


@rule("conflicts-not-told")
def _conflicts_not_told() -> Patches:
    return [(applier, "overwrites", lambda *_: True), (applier, "lost_in_conflict", lambda *_: False)]


@rule("conflicts-forgotten-in-a-kill")
def _conflicts_forgotten_in_a_kill() -> Patches:
    """What was recorded and not reported when a node was killed is not reported when it is opened again."""
    return [(UnreportedConflicts, "load", lambda _self: None)]


@rule("conflicts-of-walks-not-reported")
def _conflicts_of_walks_not_reported() -> Patches:
    """In a walk, what loses to our own row is passed over, whether or not that had seen it."""
    return [(settling, "lost_in_conflict", lambda *_: False)]


@rule("overwrites-told-as-conflicts")
def _overwrites_told_as_conflicts() -> Patches:
    return [(applier, "overwrites", lambda *_: False)]


@rule("feed-goes-on-behind-its-cursor")
def _feed_goes_on_behind_its_cursor() -> Patches:
    return [(ChangeReader, "_must_begin_anew", lambda *_: False)]


@rule("feed-goes-on-after-a-new-origin")
def _feed_goes_on_after_a_new_origin() -> Patches:
    """A cursor from before a node went on as a new origin is taken for one from after that."""
    return [(changes, "_lacks_the_mark", lambda *_: False)]


@rule("feed-goes-on-where-less-is-known")
def _feed_goes_on_where_less_is_known() -> Patches:
    """Nobody looks whether a node knows what is owed to a reader of another one."""
    return [(changes, "what_is_known", lambda _state: {})]
