"""A remote change: merged, logged under its origin's stamp and put into the database, a frame a batch."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat

from level_replicator.core.effects import Apply
from level_replicator.core.entry import DELETE, INDEX_HEAD, Entry, encode_index, index_contexts
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.intervals import Interval, Intervals
from level_replicator.core.keys import APPLIED, FILLING, INDEX, LOG, log_key, pack_log, resume_key, vector_key
from level_replicator.core.limits import MAX_TAKEN_ORIGINS
from level_replicator.core.merge import lost_in_conflict, overwrites, union_context, wins
from level_replicator.core.reconcile import Verdict, judge_theirs, stale
from level_replicator.core.versions import Vector, covers, newer, origin_name
from level_replicator.storage.conflicts import Conflict, Version
from level_replicator.storage.engine import Batch
from level_replicator.storage.lines import encode_applied, encode_intervals, encode_vector_line
from level_replicator.storage.state import State

_pack_line = INDEX_HEAD.pack


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
        whole = merging.merge(zip(repeat(origin), frame.entries), {}, doubt)
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
    """One batch of remote entries. Under the lock of the state, from its making to `write`.

    `filling`: what comes under the floor of keys that are new here is not logged (see storage.filling)."""

    def __init__(self, state: State, sync: bool, *, filling: bool = False) -> None:
        self._state = state
        self._filling = filling
        self.rs_batch, self.db_batch = state.rs.batch(sync=sync), state.db.batch(sync=sync)
        self.keys, self.entries = state.keys, state.entries
        self.news: dict[int, list[Interval]] = {}
        self._conflicts: list[Conflict] = []
        self._gone: list[int] = []  # our own writes that were overwritten
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
        get, is_new = state.rs.get, state.known.is_new
        put, db_put = self.rs_batch.put, self.db_batch.put
        guarded, filling = bool(known or doubt), self._filling
        whole = True
        keys, newest = self.keys, self._newest
        low = high = 0  # of a run of entries, in a row, that are new; high 0: there is none
        run_origin = 0
        for origin, (stamp, flags, checksum, key, value, context, record) in entries:
            index_key = INDEX + key
            plain = filling and not (flags or doubt) and origin not in known
            if plain and stamp <= floor.get(origin, 0) and is_new(key):
                put(index_key, _pack_line(stamp, origin, 0, checksum))
                db_put(key, value)  # type: ignore[arg-type]
                keys += 1
                continue
            live = False
            union = context
            line = None if is_new(key) else get(index_key)
            if line is None:
                verdict = judge_theirs(stamp, origin, known, doubt) if guarded else Verdict.TAKE
                if verdict is not Verdict.TAKE or (origin == own and stamp <= vector.get(own, 0)):
                    whole = whole and verdict is not Verdict.DOUBTFUL
                    high = self._end(run_origin, low, high)
                    continue
                if filling and stamp <= floor.get(origin, 0):
                    put(index_key, encode_index(stamp, origin, flags, checksum, context))
                    keys += value is not None
                    if value is not None:
                        db_put(key, value)
                    continue
                self.entries += 1
            else:
                met = self._meet(origin, key, value, stamp, context, line)
                if met is None:
                    high = self._end(run_origin, low, high)
                    continue
                union, live = met
            if not high or origin != run_origin or not in_order:
                self._end(run_origin, low, high)
                low, high, run_origin = stamp - 1, stamp, origin
            elif stamp > high:
                high = stamp
            else:
                low = stamp - 1
            if stamp > newest:
                newest = stamp
            if floor and stamp <= floor.get(origin, 0):
                self._late = True
            put(pack_log(LOG, origin, stamp), record)
            if union or flags:
                put(index_key, encode_index(stamp, origin, flags, checksum, union, context))
            else:  # as encode_index does it; a call costs as much as its work
                put(index_key, _pack_line(stamp, origin, 0, checksum))
            if value is None:
                self.db_batch.delete(key)
                keys -= live
            else:
                db_put(key, value)
                keys += not live
        self._end(run_origin, low, high)
        self.keys, self._newest = keys, newest
        return whole

    def _meet(
        self, origin: int, key: bytes, value: bytes | None, stamp: int, context: bytes, line: bytes
    ) -> tuple[bytes, bool] | None:
        """An entry meets the line of its key. What the line is to reflect, and whether the key was live, if the entry
        wins; None: it does not, or is forged."""
        state = self._state
        old_stamp, old_origin, old_flags, old_checksum = INDEX_HEAD.unpack_from(line)
        own_context, old_context = index_contexts(line)
        listened = state.unreported.wanted
        if not wins(stamp, origin, old_stamp, old_origin):
            if stamp != old_stamp or origin != old_origin:
                conflict = lost_in_conflict(stamp, origin, old_origin, old_context)
                self._met += conflict
                if listened and conflict:
                    winner = Version(state.db.get(key), origin_name(old_origin), old_stamp)
                    self._conflicts.append(Conflict(key, winner, Version(value, origin_name(origin), stamp)))
                union = union_context(old_origin, old_context, stamp, origin, context)
                if union != old_context:
                    merged = encode_index(old_stamp, old_origin, old_flags, old_checksum, union, own_context)
                    self.rs_batch.put(INDEX + key, merged)
            return None
        if stamp <= state.vector.get(origin, 0):
            return None
        live = not old_flags & DELETE
        conflict = not overwrites(origin, context, old_stamp, old_origin)
        self._met += conflict
        if listened and conflict:
            loser = Version(state.db.get(key) if live else None, origin_name(old_origin), old_stamp)
            self._conflicts.append(Conflict(key, Version(value, origin_name(origin), stamp), loser))
        if not state.floor or state.logged(old_origin, old_stamp):
            self.rs_batch.delete(log_key(old_origin, old_stamp))
            if old_origin == state.origin:
                self._gone.append(old_stamp)
        else:
            self.entries += 1
        return union_context(origin, context, old_stamp, old_origin, old_context), live

    def _end(self, origin: int, low: int, high: int) -> int:
        """Of a run, if there is one. 0, as the next run's `high`."""
        if high:
            self.news.setdefault(origin, []).append((low, high))
        return 0

    def write(self, step: str) -> None:
        """Into `rs`, then into `db`."""
        state = self._state
        state.unreported.record(self.rs_batch, self._conflicts)
        state.step(f"{step}: before rs")
        self.rs_batch.write()
        state.step(f"{step}: between rs and db")
        self.db_batch.write()
        state.step(f"{step}: after db")
        state.keys, state.entries = self.keys, self.entries
        for stamp in self._gone:
            state.tail.drop(stamp)
        state.late = state.late or self._late
        state.clock.follow(self._newest)
        state.conflicts += self._met
        if self._conflicts:
            state.unreported.notify()


def doubt_of(state: State, source_vector: Vector) -> int:
    """The stamp up to which an entry of this peer, of a key that is not here, may be older than a tombstone that we
    have dropped: 0 unless the peer has missed some. As of now: retention goes on while a round is under way."""
    return state.dropped if state.horizon and stale(source_vector, state.horizon) else 0


def require_room(state: State, vector: Vector) -> None:
    """Raises RemoteProtocolError when we would know too many origins with those of a peer."""
    if len(state.vector) + len(vector) > MAX_TAKEN_ORIGINS:
        origins = len(state.vector) + sum(origin not in state.vector for origin in vector)
        if origins > MAX_TAKEN_ORIGINS:
            raise RemoteProtocolError(f"with the peer's our vector would have {origins} origins")


def put_taken(state: State, batch: Batch, moved: Vector, source: int) -> None:
    """The lines of the vector, and the end of the source's scan. Raises RemoteProtocolError when they are too many."""
    require_room(state, moved)
    if state.half_filled and covers({**state.vector, **moved}, state.floor):
        batch.delete(FILLING)
    for origin, stamp in moved.items():
        batch.put(vector_key(origin), encode_vector_line(stamp, state.vector.get(origin, 0)))
    for origin in state.resume.get(source, ()):
        batch.delete(resume_key(source, origin))


def taken(state: State, moved: Vector, source: int) -> None:
    state.vector.update(moved)
    state.half_filled = state.half_filled and not covers(state.vector, state.floor)
    for origin, stamp in moved.items():
        state.clock.follow(stamp)
        if stamp > state.newest.get(origin, 0):
            state.newest[origin] = stamp
    state.resume.pop(source, None)
