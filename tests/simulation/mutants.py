"""Mutants: each switches one rule of the protocol off, and the checks must notice it.

If a mutant survives, nothing tests its rule, or the rule is not needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from level_replicator.core import merge, reconcile_rules
from level_replicator.core.entry import Entry, IndexRow
from level_replicator.core.epochs import History, HistoryComparison
from level_replicator.core.intervals import Intervals
from level_replicator.core.reconcile_rules import (
    ReconcileContext,
    Resolution,
    resolve_both,
    resolve_local_only,
    resolve_remote_only,
)
from level_replicator.core.version_vector import Vector
from level_replicator.protocol.events import EntriesReceived, Event, PeerVectorAdvanced
from level_replicator.protocol.push import PullSender
from level_replicator.replication.coordinator import Coordinator
from level_replicator.replication.history_exchange import HistoryExchange
from level_replicator.replication.origin_guard import OriginGuard
from level_replicator.replication.peer_connection import PeerConnection
from level_replicator.replication.pull_backoff import PullBackoff
from level_replicator.replication.puller import Puller, PullResult
from level_replicator.storage import store
from level_replicator.storage.feed import change_feed, round_planner
from level_replicator.storage.feed.change_feed import ChangeReader
from level_replicator.storage.feed.send_queue import SendQueue
from level_replicator.storage.maintenance import floors, retention
from level_replicator.storage.maintenance.floors import FloorWatch
from level_replicator.storage.maintenance.leftovers import LeftoverWatch
from level_replicator.storage.maintenance.retention import Retention
from level_replicator.storage.reconcile import begin, resolver
from level_replicator.storage.reconcile.resolver import Resolver
from level_replicator.storage.recovery import open as opening
from level_replicator.storage.state import histories
from level_replicator.storage.state.conflict_queue import UnreportedConflicts
from level_replicator.storage.state.key_filter import KeyFilter
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction
from level_replicator.storage.store import Store
from level_replicator.storage.write import local_writer, merger, remote_applier
from level_replicator.storage.write.merger import Merger
from level_replicator.storage.write.remote_applier import Applied, RemoteApplier
from level_replicator.storage.write.restamps import Restamps

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
    """Run the body with a rule switched off."""
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
    """The vector of a round is adopted when the round begins."""
    handle = PeerConnection._handle

    def early(self: PeerConnection, event: Event) -> None:
        handle(self, event)
        if isinstance(event, PeerVectorAdvanced) and event.feeding and not self.ended:
            assert self.session.peer is not None
            adopted = self.host.store.adopt_vector(event.vector, self.session.peer.origin)
            self.host.applied(self, PullResult(adopted=adopted))

    return [(PeerConnection, "_handle", early)]


@rule("scan-finished-with-another-peer")
def _scan_finished_with_another_peer() -> Patches:
    """Entries applied from the broken-off scan of one peer are not requested from any other peer."""
    resumable = Store.resumable

    def of_all(self: Store, source: int) -> list[tuple[int, int, int]]:
        return [span for peer in list(self._state.resume) for span in resumable(self, peer)]

    return [(Store, "resumable", of_all)]


@rule("vector-moved-during-scan")
def _vector_moved_during_scan() -> Patches:
    """Each frame moves the vector up to its newest entry, though the newest entries come first."""
    apply = RemoteApplier.apply

    def eager(self: RemoteApplier, frame: EntriesReceived, *args: Any, **options: Any) -> Applied:
        if frame.adopt is None:
            frame = dataclasses.replace(frame, adopt={frame.origin: frame.high})
        return apply(self, frame, *args, **options)

    def open_store(self: Store, *args: Any, **options: Any) -> None:
        plain(self, *args, **options)
        self.apply = self._applier.apply

    plain = Store.__init__
    return [(RemoteApplier, "apply", eager), (Store, "__init__", open_store)]


def _open_differently(change: Callable[[SendQueue, ReplicationState, Vector, Work], None]) -> Patches:
    """Return patches that change the entries that a first round reads."""
    plain = SendQueue.open

    def changed(self: SendQueue, state: ReplicationState, peer_vector: Vector) -> tuple[Vector, Work]:
        first = not self.began
        target, work = plain(self, state, peer_vector)
        if first:
            change(self, state, peer_vector, work)
        return target, work

    return [(SendQueue, "open", changed)]


@rule("stop-at-first-known")
def _stop_at_first_known() -> Patches:
    """The log is read backwards in order of time, up to an entry that the peer knows."""

    def stop(_feed: SendQueue, state: ReplicationState, peer_vector: Vector, work: Work) -> None:
        known = max((min(stamp, peer_vector.get(origin, 0)) for origin, stamp in state.newest.items()), default=0)
        for intervals in work.values():
            intervals.remove_up_to(known)

    return _open_differently(stop)


@rule("read-only-below-the-vector")
def _read_only_below_the_vector() -> Patches:
    """A round leaves out log entries above the vector, which come from a scan that is not complete."""

    def cap(_feed: SendQueue, state: ReplicationState, _peer_vector: Vector, work: Work) -> None:
        for origin, intervals in work.items():
            intervals.remove(state.vector.get(origin, 0), 1 << 64)

    return _open_differently(cap)


@rule("clock-ignores-vectors")
def _clock_ignores_vectors() -> Patches:
    """The clock follows entries, but not adopted vectors."""
    adopt_vector, begin_reconciliation = remote_applier.adopt_vector, Store.begin_reconciliation

    def adopt(state: ReplicationState, *args: Any, **options: Any) -> None:
        last = state.clock.last
        adopt_vector(state, *args, **options)
        state.clock.last = last

    def begin_still(self: Store, *args: Any, **options: Any) -> Any:
        last = self.clock.last
        begun = begin_reconciliation(self, *args, **options)
        self.clock.last = last
        return begun

    return [
        (remote_applier, "adopt_vector", adopt),
        (resolver, "adopt_vector", adopt),
        (Store, "begin_reconciliation", begin_still),
    ]


@rule("ties-by-arrival")
def _ties_by_arrival() -> Patches:
    """If two entries have equal stamps, the one that arrives later wins."""
    return [(merger, "order_of", lambda written, *_: (written[0], 1 << 64))]


@rule("database-written-first")
def _database_written_first() -> Patches:
    """A transaction writes the database before the replication set."""

    def commit(self: Transaction, *args: Any, **options: Any) -> None:
        self._rs, self._db = self._db, self._rs
        plain(self, *args, **options)

    plain = Transaction.commit
    return [(Transaction, "commit", commit)]


@rule("no-redo-after-kill")
def _no_redo_after_kill() -> Patches:
    """The last batch is not applied to the database again."""
    return [(opening, "replay_last_batch", lambda _state: 0)]


@rule("no-new-origin-for-forgetful")
def _no_new_origin_for_forgetful() -> Patches:
    """A node ignores that a peer knows more writes of its origin than it does."""
    return [
        (Store, "forgot", lambda _self, _stamp: False),
        (opening, "_is_copy", lambda _meta, _identity, _db_identity: False),
    ]


@rule("vector-survives-power-loss")
def _vector_survives_power_loss() -> Patches:
    """After a power loss the vector still covers entries that may be lost."""
    return [(opening, "roll_back_vector", lambda _state, _durable: None)]


@rule("echo")
def _echo() -> Patches:
    """Entries go back to the peer that sent them: neither its vector nor the sender is considered."""
    handle = PeerConnection._handle

    def back(self: PeerConnection, event: Event) -> None:
        handle(self, event)
        if isinstance(event, EntriesReceived) and not self.ended:
            self.entries_applied(event.origin, [(event.low, event.high)])

    def deaf(self: PullSender, vector: Vector) -> None:
        if not self.peer_vector:
            self.peer_vector.update(vector)

    return [(PeerConnection, "_handle", back), (PullSender, "peer_has", deaf)]


@rule("restart-instead-of-resume")
def _restart_instead_of_resume() -> Patches:
    """A broken-off scan starts again from the beginning."""
    return [(Store, "resumable", lambda _self, _source: [])]


# -- space and reconcile


@rule("stale-read-as-current")
def _stale_read_as_current() -> Patches:
    """A node that missed tombstones that another one has dropped does not count as stale."""
    return [
        (store, "is_stale", lambda _vector, _horizon: False),
        (begin, "is_stale", lambda _vector, _horizon: False),
        (round_planner, "is_stale", lambda _vector, _horizon: False),
        (round_planner, "_missed_tombstones", lambda _state, _feed, _vector: False),
        (merger, "is_stale", lambda _vector, _horizon: False),
    ]


def _judge_ours_differently(verdict: Resolution, other: Resolution = Resolution.KEEP) -> Patches:
    """Return patches that replace a resolution of keys that only the reader has by another one."""

    def judge(row: IndexRow, reconcile_context: ReconcileContext) -> Resolution:
        found = resolve_local_only(row, reconcile_context)
        return other if found is verdict else found

    return [(resolver, "resolve_local_only", judge)]


@rule("unseen-writes-keep-their-dots")
def _unseen_writes_keep_their_dots() -> Patches:
    """A stale node does not re-stamp a put that the peer has never seen."""
    return _judge_ours_differently(Resolution.RESTAMP)


@rule("winners-of-the-stale-keep-their-dots")
def _winners_of_the_stale_keep_their_dots() -> Patches:
    """A stale node does not re-stamp its row that wins over the peer's."""
    return [
        (
            merger,
            "must_restamp",
            lambda winner, loser, _reconcile_context: reconcile_rules.dot_disagrees(winner.dot, loser),
        )
    ]


@rule("dots-against-the-order")
def _dots_against_the_order() -> Patches:
    """The winner of a merge keeps a dot that is smaller than the loser's."""
    return [
        (reconcile_rules, "dot_disagrees", lambda _winner, _loser: False),
        (merger, "dot_disagrees", lambda _winner, _loser: False),
    ]


@rule("restamped-as-new-writes")
def _restamped_as_new_writes() -> Patches:
    """An entry that is re-stamped counts as a new write, as it was before `written`."""

    def add(self: Restamps, key: bytes, value: bytes | None, context: bytes, _written: bytes) -> None:
        plain(self, key, value, context, b"")

    plain = Restamps.add
    return [(Restamps, "add", add)]


@rule("tombstones-dropped-too-early")
def _tombstones_dropped_too_early() -> Patches:
    """A tombstone is dropped although it has seen writes that the vector does not cover."""

    def may(tombstone: IndexRow, vector: Vector) -> bool:
        return tombstone.stamp <= vector.get(tombstone.origin, 0)

    return [(retention, "may_be_dropped", may)]


@rule("dead-writes-taken")
def _dead_writes_taken() -> Patches:
    """A put that was superseded by a delete, whose tombstone was dropped, is taken."""
    return [(merger, "is_superseded", lambda _written, _vector: False)]


@rule("dead-for-the-peer-kept")
def _dead_for_the_peer_kept() -> Patches:
    """A re-stamped put is kept, though the peer has dropped the tombstone of a delete that had seen it."""

    def judge(row: IndexRow, reconcile_context: ReconcileContext) -> Resolution:
        found = resolve_local_only(row, reconcile_context)
        if found is not Resolution.BURY or row.stamp <= reconcile_context.theirs.get(row.origin, 0):
            return found
        return resolve_local_only(row._replace(written=b""), reconcile_context)

    return [
        (resolver, "resolve_local_only", judge),
        (merger, "is_superseded_at_peer", lambda _winner, _loser, _reconcile_context: False),
    ]


@rule("deleted-keys-stay")
def _deleted_keys_stay() -> Patches:
    """A rejoining node keeps puts that the peer knew and deleted."""
    return _judge_ours_differently(Resolution.BURY)


@rule("removed-without-a-trace")
def _removed_without_a_trace() -> Patches:
    """A put that the peer knew and deleted is removed without a tombstone."""

    def remove(self: Merger, key: bytes, row: IndexRow) -> None:
        self.tx.delete_row(key)
        self.tx.put_value(key, None)
        self.tx.overwrite(row.origin, row.stamp)
        self._keys -= 1

    return [(Merger, "bury_ours", remove)]


@rule("absent-keys-accept-anything")
def _absent_keys_accept_anything() -> Patches:
    """In a reconciliation, a node takes a key again that it had, and whose tombstone it has dropped."""

    def judge(stamp: int, origin: int, deleted: bool, _known: Vector, doubt: int) -> Resolution:
        return resolve_remote_only(stamp, origin, deleted, {}, doubt)

    def takes(self: Merger, origin: int, entry: Entry, doubt: int) -> bool:
        known, self._known = self._known, {}
        try:
            return plain(self, origin, entry, doubt)
        finally:
            self._known = known

    plain = Merger._takes_absent
    return [(resolver, "resolve_remote_only", judge), (Merger, "_takes_absent", takes)]


@rule("horizon-not-taken-over")
def _horizon_not_taken_over() -> Patches:
    """A rejoining node takes the peer's vector, but not its horizon."""
    adopt = Resolver.adopt_vector

    def without(self: Resolver) -> Vector:
        self._reconcile_context = dataclasses.replace(self._reconcile_context, stale=False)
        return adopt(self)

    return [(Resolver, "adopt_vector", without)]


@rule("doubt-not-looked-at-again")
def _doubt_not_looked_at_again() -> Patches:
    """A pull ignores tombstones that were dropped since it began."""
    return [(remote_applier, "doubt_of", lambda _state, _vector: 0), (resolver, "doubt_of", lambda _state, _vector: 0)]


@rule("doubt-only-for-absent-keys")
def _doubt_only_for_absent_keys() -> Patches:
    """A doubtful put replaces an existing row."""

    def meet(self: Merger, origin: int, entry: Entry, line: bytes, _doubt: int) -> Any:
        return plain(self, origin, entry, line, 0)

    def judge(ours: IndexRow, theirs: IndexRow, reconcile_context: ReconcileContext, _doubt: int) -> Resolution:
        return resolve_both(ours, theirs, reconcile_context, 0)

    plain = Merger._meet
    return [(Merger, "_meet", meet), (resolver, "resolve_both", judge)]


@rule("doubtful-and-yet-taken")
def _doubtful_and_yet_taken() -> Patches:
    """The vector of a pull is adopted though the pull left a doubtful entry out."""

    def insist(self: Puller, frame: EntriesReceived) -> PullResult:
        assert self._session.peer is not None
        source = self._session.peer.origin
        peer_pulls = not self._session.peer_takes_nothing
        plain = dataclasses.replace(frame, adopt=None)
        applied = self._store.apply(plain, source, self._session.round_vector, peer_pulls=peer_pulls)
        adopted = None if frame.adopt is None else self._store.adopt_vector(frame.adopt, source)
        return PullResult(applied.news, applied.restamped, adopted)

    return [(Puller, "apply_entries", insist)]


@rule("not-alone")
def _not_alone() -> Patches:
    """A stale node continues its other pulls while it reconciles."""
    begins = Coordinator.reconciliation_began
    return [(Coordinator, "reconciliation_began", lambda self, link, alone: begins(self, link, alone=False))]


@rule("keys-taken-for-new")
def _keys_taken_for_new() -> Patches:
    """The key filter takes known keys for new ones."""
    return [(KeyFilter, "is_new", lambda _self, _key: True)]


@rule("filled-above-the-floor")
def _bulk_loaded_above_the_floor() -> Patches:
    """The entries of a bulk load are not logged, and the floor is not raised above them."""

    def begin_unfloored(state: ReplicationState, _vector: Vector) -> None:
        state.bulk_loading = state.bulk_load_incomplete = True

    def merge(self: Merger, entries: Any, doubt: int, *, in_order: bool = True) -> bool:
        floor, state = self._state.floor, self._state
        if self._bulk_loading:
            entries = list(entries)
            state.floor = {origin: 1 << 63 for origin, _ in entries}
        try:
            return plain(self, iter(entries), doubt, in_order=in_order)
        finally:
            state.floor = floor

    plain = Merger.merge
    return [(begin, "begin_bulk_load", begin_unfloored), (Merger, "merge", merge)]


@rule("bulk-loads-end-with-their-floor-only")
def _bulk_loads_end_with_their_floor_only() -> Patches:
    """A complete reconciliation with another peer does not complete a bulk load."""
    adopt_vector = remote_applier.adopt_vector

    def adopt(state: ReplicationState, tx: Transaction, moved: Vector, source: int, **_: Any) -> None:
        adopt_vector(state, tx, moved, source)

    return [(resolver, "adopt_vector", adopt)]


@rule("floors-stay-above-the-vector")
def _floors_stay_above_the_vector() -> Patches:
    return [(FloorWatch, "due", lambda _self, _now_ms: False)]


@rule("floors-lowered-without-a-log")
def _floors_lowered_without_a_log() -> Patches:
    """Floors are lowered, and the entries between the old and the new floor are not logged again."""
    return [(floors, "_batches", lambda _snapshot, _spans: [])]


@rule("leftovers-stay-above-the-vector")
def _leftovers_stay_above_the_vector() -> Patches:
    """Entries above the vector that no pull will complete are never re-stamped."""
    return [(LeftoverWatch, "due", lambda _self, _now_ms: [])]


@rule("pulls-begin-again-at-once")
def _pulls_begin_again_at_once() -> Patches:
    return [(PullBackoff, "put_off", lambda _self, _why, now_ms: now_ms)]


@rule("repetitions-begin-at-once")
def _repetitions_begin_at_once() -> Patches:
    """A reconciliation starts at once, even if it would repeat one that changed nothing."""
    return [(PullBackoff, "is_repetition", lambda _self, _situation: False)]


@rule("log-read-below-the-floor")
def _log_read_below_the_floor() -> Patches:
    """A truncated log is read as if it were complete."""
    return [(round_planner, "_below_floor", lambda _state, _feed, _vector: False)]


@rule("truncated-before-it-was-on-disk")
def _truncated_before_it_was_on_disk() -> Patches:
    """The log is truncated before the values are synced to the disk."""

    def at_once(self: Retention) -> Vector:
        return dict(self._state.vector)

    return [(Retention, "_sync_to_disk", at_once)]


@rule("conflicts-not-told")
def _conflicts_not_reported() -> Patches:
    return [(merger, "overwrites", lambda *_: True), (merger, "lost_in_conflict", lambda *_: False)]


@rule("conflicts-forgotten-in-a-kill")
def _conflicts_forgotten_in_a_kill() -> Patches:
    """Conflicts that were recorded, but not reported, before a kill are not reported after it."""
    return [(UnreportedConflicts, "load", lambda _self: None)]


@rule("conflicts-of-reconciliations-not-reported")
def _conflicts_of_reconciliations_not_reported() -> Patches:
    """In a reconciliation, a node does not report entries that lose to its own row, which had not seen them."""
    return [(resolver, "lost_in_conflict", lambda *_: False)]


@rule("overwrites-told-as-conflicts")
def _overwrites_reported_as_conflicts() -> Patches:
    return [(merger, "overwrites", lambda *_: False)]


@rule("feed-goes-on-behind-its-cursor")
def _feed_continues_behind_its_cursor() -> Patches:
    return [(ChangeReader, "_must_begin_anew", lambda *_: False)]


@rule("feed-goes-on-after-a-new-origin")
def _feed_continues_after_a_new_origin() -> Patches:
    """A cursor from before an origin change is accepted after it."""
    return [(change_feed, "_predates_origin_change", lambda *_: False)]


@rule("feed-goes-on-where-less-is-known")
def _feed_goes_on_where_less_is_known() -> Patches:
    """Nobody looks whether a node knows what is owed to a reader of another one."""
    return [(change_feed, "known_vector", lambda _state: {})]


# -- histories of origins


@rule("histories-not-compared")
def _histories_not_compared() -> Patches:
    """No node detects that an origin was continued twice."""

    def blind(ours: History, theirs: History, _reach: int) -> HistoryComparison:
        return HistoryComparison(max(ours, theirs, key=len), {})

    return [
        (histories, "compare_histories", blind),
        (Transaction, "begin_epoch", lambda _self: None),
        (local_writer, "put_epoch", lambda _state, _batch: None),
        (local_writer, "epoch_begun", lambda _state: None),
        (OriginGuard, "agrees_on_vector", lambda _self, _link, _vector: True),
    ]


@rule("histories-compared-without-what-is-there")
def _histories_compared_without_what_is_there() -> Patches:
    """A node that knows fewer epochs of an origin adopts the others, whichever writes of the origin it has."""
    return [
        (histories, "_reach", lambda _state, _origin: 0),
        (OriginGuard, "agrees_on_vector", lambda _self, _link, _vector: True),
    ]


@rule("histories-told-once")
def _histories_sent_once() -> Patches:
    """A node does not send changes of its histories to connected peers."""
    return [(HistoryExchange, "send_changes", lambda _self: None)]


@rule("histories-compared-by-dots-only")
def _histories_compared_by_dots_only() -> Patches:
    """A node does not record which writes it has under another dot."""
    return [(Transaction, "note_written", lambda _self, _written: None)]


@rule("equal-stamps-ordered-by-names")
def _equal_stamps_ordered_by_names() -> Patches:
    """The origin decides between two writes with equal stamps, though a fork may change the origin."""
    return [(merge, "family_of", lambda origin: origin)]


@rule("histories-taken-on-trust")
def _histories_taken_on_trust() -> Patches:
    """A peer that does not know an epoch is accepted even if its writes of the origin are not from before the epoch."""
    return [(OriginGuard, "agrees_on_vector", lambda _self, _link, _vector: True)]
