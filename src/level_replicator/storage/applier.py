"""A remote change: merged, logged under its origin's stamp and put into the database, a frame a batch."""

from collections.abc import Iterable
from dataclasses import dataclass

from level_replicator.core.effects import Apply
from level_replicator.core.entry import DELETE, INDEX_HEAD, Entry, encode_index, index_contexts
from level_replicator.core.intervals import Interval, Intervals
from level_replicator.core.keys import APPLIED, INDEX, log_key, resume_key, vector_key
from level_replicator.core.merge import lost_in_conflict, overwrites, union_context, wins
from level_replicator.core.reconcile import Verdict, judge_theirs, stale
from level_replicator.core.versions import Vector, origin_name
from level_replicator.storage.conflicts import Conflict, Version
from level_replicator.storage.engine import Batch
from level_replicator.storage.lines import encode_applied, encode_intervals, encode_vector_line
from level_replicator.storage.state import State


@dataclass(frozen=True, slots=True)
class Applied:
    """What a frame brought.

    moved  lines of the vector
    news   origin → intervals in which the log got something new, and only new things: these are for other peers
    whole  False: something doubtful was left out, so the vector of this round must not be taken over
    """

    moved: Vector
    news: dict[int, list[Interval]]
    whole: bool


class RemoteApplier:
    """Takes what sessions have checked. `source` is the origin of the peer that sent it."""

    def __init__(self, state: State, *, sync: bool) -> None:
        self._state = state
        self._sync = sync

    def apply(self, frame: Apply, source: int, source_vector: Vector) -> Applied:
        """Merges a frame; takes the round's vector in the same batch if the frame is its last, and whole.

        `source_vector`: what the peer is known to cover. Raises StorageError."""
        with self._state.applying("applying a peer's changes"):
            return self._apply(self._state, frame, source, source_vector)

    def take(self, vector: Vector, source: int) -> Vector:
        """Takes over the vector of a complete round. Gives the lines that moved. Raises StorageError."""
        state = self._state
        with state.applying("taking over a vector"):
            moved = newer(vector, state.vector)
            if not moved and source not in state.resume:
                return {}
            batch = state.rs.batch(sync=self._sync)
            put_taken(state, batch, moved, source)
            batch.write()
            taken(state, moved, source)
            return moved

    def _apply(self, state: State, frame: Apply, source: int, source_vector: Vector) -> Applied:
        origin = frame.origin
        doubt = doubt_of(state, source_vector)
        merging = Merging(state, self._sync)
        whole = merging.merge(((origin, entry) for entry in frame.entries), {}, doubt)
        rs_batch = merging.rs_batch
        rs_batch.put(APPLIED, encode_applied(origin, frame.low, frame.high))
        moved: Vector = {}
        resumed: Intervals | None = None
        if frame.take is not None and whole:
            moved = newer(frame.take, state.vector)
            put_taken(state, rs_batch, moved, source)
        elif whole and frame.low < frame.resumable:
            resumed = Intervals(state.resume.get(source, {}).get(origin, ()))
            resumed.add(frame.low, frame.resumable)
            rs_batch.put(resume_key(source, origin), encode_intervals(resumed))
        merging.write("apply")
        if frame.high > state.newest.get(origin, 0):
            state.newest[origin] = frame.high
        if resumed is not None:
            state.resume.setdefault(source, {})[origin] = resumed
        if frame.take is not None and whole:
            taken(state, moved, source)
        return Applied(moved, merging.news, whole)


class Merging:
    """One batch of remote entries. Under the lock of the state, from its making to `write`."""

    def __init__(self, state: State, sync: bool) -> None:
        self._state = state
        self.rs_batch, self.db_batch = state.rs.batch(sync=sync), state.db.batch(sync=sync)
        self.keys, self.entries = state.keys, state.entries
        self.news: dict[int, list[Interval]] = {}
        self._conflicts: list[Conflict] = []
        self._newest = 0
        self._late = False
        self._met = 0  # conflicts

    def merge(self, entries: Iterable[tuple[int, Entry]], known: Vector, doubt: int, *, in_order: bool = True) -> bool:
        """Entries of different keys, each with its origin: the greatest dot of a key wins. False: some are doubtful.

        `in_order`: their stamps only grow, or only shrink, so that a run of new ones is one interval. What would win
        over a key though our vector covers it, and what we ourselves have never written, is forged, and passed over.
        `known`, `doubt`: see core.reconcile.judge_theirs, for keys that are not here."""
        state = self._state
        floor, vector, own = state.floor, state.vector, state.origin
        get, put, drop = state.rs.get, self.rs_batch.put, self.rs_batch.delete
        db_put = self.db_batch.put
        guarded = bool(known or doubt)
        listened, db_get = state.on_conflict is not None, state.db.get
        whole = True
        run: Interval | None = None  # of entries, in a row, that are new
        run_origin = 0
        for origin, (stamp, flags, checksum, key, value, context, record) in entries:
            index_key = INDEX + key
            old = get(index_key)
            live = False
            union = context
            if old is None:
                if guarded and (verdict := judge_theirs(stamp, origin, known, doubt)) is not Verdict.TAKE:
                    whole = whole and verdict is not Verdict.DOUBTFUL
                    run = self._end(run_origin, run)
                    continue
                if origin == own and stamp <= vector.get(own, 0):
                    run = self._end(run_origin, run)
                    continue
                self.entries += 1
            else:
                old_stamp, old_origin, old_flags, old_checksum = INDEX_HEAD.unpack_from(old)
                own_context, old_context = index_contexts(old)
                if not wins(stamp, origin, old_stamp, old_origin):
                    if stamp != old_stamp or origin != old_origin:
                        conflict = lost_in_conflict(stamp, origin, old_origin, old_context)
                        self._met += conflict
                        if listened and conflict:
                            winner = Version(db_get(key), origin_name(old_origin), old_stamp)
                            self._conflicts.append(Conflict(key, winner, Version(value, origin_name(origin), stamp)))
                        union = union_context(old_origin, old_context, stamp, origin, context)
                        if union != old_context:
                            put(
                                index_key,
                                encode_index(old_stamp, old_origin, old_flags, old_checksum, union, own_context),
                            )
                    run = self._end(run_origin, run)
                    continue
                if stamp <= vector.get(origin, 0):
                    run = self._end(run_origin, run)
                    continue
                live = not old_flags & DELETE
                conflict = not overwrites(origin, context, old_stamp, old_origin)
                self._met += conflict
                if listened and conflict:
                    loser = Version(db_get(key) if live else None, origin_name(old_origin), old_stamp)
                    self._conflicts.append(Conflict(key, Version(value, origin_name(origin), stamp), loser))
                union = union_context(origin, context, old_stamp, old_origin, old_context)
                if not floor or state.logged(old_origin, old_stamp):
                    drop(log_key(old_origin, old_stamp))
                else:
                    self.entries += 1
            if run is None or origin != run_origin or not in_order:
                self._end(run_origin, run)
                run, run_origin = (stamp - 1, stamp), origin
            else:
                run = (min(run[0], stamp - 1), max(run[1], stamp))
            if stamp > self._newest:
                self._newest = stamp
            if floor and stamp <= floor.get(origin, 0):
                self._late = True
            put(log_key(origin, stamp), record)
            put(index_key, encode_index(stamp, origin, flags, checksum, union, context))
            if value is None:
                self.db_batch.delete(key)
                self.keys -= live
            else:
                db_put(key, value)
                self.keys += not live
        self._end(run_origin, run)
        return whole

    def _end(self, origin: int, run: Interval | None) -> Interval | None:
        if run is not None:
            self.news.setdefault(origin, []).append(run)
        return None

    def write(self, step: str) -> None:
        """Into `rs`, then into `db`."""
        state = self._state
        state.step(f"{step}: before rs")
        self.rs_batch.write()
        state.step(f"{step}: between rs and db")
        self.db_batch.write()
        state.step(f"{step}: after db")
        state.keys, state.entries = self.keys, self.entries
        state.late = state.late or self._late
        state.clock.follow(self._newest)
        state.conflicts += self._met
        if state.on_conflict is not None:
            for conflict in self._conflicts:
                state.on_conflict(conflict)


def doubt_of(state: State, source_vector: Vector) -> int:
    """The stamp up to which an entry of this peer, of a key that is not here, may be older than a tombstone that we
    have dropped: 0 unless the peer has missed some. As of now: retention goes on while a round is under way."""
    return state.dropped if state.horizon and stale(source_vector, state.horizon) else 0


def put_taken(state: State, batch: Batch, moved: Vector, source: int) -> None:
    """The lines of the vector, and the end of the source's scan."""
    for origin, stamp in moved.items():
        batch.put(vector_key(origin), encode_vector_line(stamp, state.vector.get(origin, 0)))
    for origin in state.resume.get(source, ()):
        batch.delete(resume_key(source, origin))


def taken(state: State, moved: Vector, source: int) -> None:
    state.vector.update(moved)
    for origin, stamp in moved.items():
        state.clock.follow(stamp)
        if stamp > state.newest.get(origin, 0):
            state.newest[origin] = stamp
    state.resume.pop(source, None)


def newer(vector: Vector, than: Vector) -> Vector:
    """The lines of a vector that are above another one."""
    return {origin: stamp for origin, stamp in vector.items() if stamp > than.get(origin, 0)}
