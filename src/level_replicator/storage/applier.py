"""A remote change: merged, logged under its origin's stamp and put into the database, a frame a batch."""

from level_replicator.core.effects import Apply
from level_replicator.core.entry import DELETE, INDEX_HEAD, encode_index
from level_replicator.core.intervals import Interval, Intervals
from level_replicator.core.keys import APPLIED, INDEX, log_key, resume_key, vector_key
from level_replicator.core.merge import union_context, wins
from level_replicator.core.versions import Vector
from level_replicator.storage.engine import Batch
from level_replicator.storage.lines import encode_applied, encode_intervals, encode_vector_line
from level_replicator.storage.plyvel_engine import ENGINE_ERRORS
from level_replicator.storage.state import State


class RemoteApplier:
    """Takes what sessions have checked. `source` is the origin of the peer that sent it."""

    def __init__(self, state: State, *, sync: bool) -> None:
        self._state = state
        self._sync = sync

    def apply(self, frame: Apply, source: int) -> tuple[Vector, list[Interval]]:
        """Merges a frame; takes the round's vector in the same batch if the frame is its last.

        Gives the lines of the vector that moved, and the intervals of `frame.origin` in which the log got
        something new, and only new things: these are for the other peers. Raises StorageError."""
        state = self._state
        state.waiting = True
        with state.lock:
            state.waiting = False
            state.check()
            try:
                return self._apply(state, frame, source)
            except ENGINE_ERRORS as error:
                raise state.fail("applying a peer's changes", error) from error

    def take(self, vector: Vector, source: int) -> Vector:
        """Takes over the vector of a complete round. Gives the lines that moved. Raises StorageError."""
        state = self._state
        state.waiting = True
        with state.lock:
            state.waiting = False
            state.check()
            moved = newer(vector, state.vector)
            if not moved and source not in state.resume:
                return {}
            batch = state.rs.batch(sync=self._sync)
            self._take(state, batch, moved, source)
            try:
                batch.write()
            except ENGINE_ERRORS as error:
                raise state.fail("taking over a vector", error) from error
            self._taken(state, moved, source)
            return moved

    def _apply(self, state: State, frame: Apply, source: int) -> tuple[Vector, list[Interval]]:
        origin = frame.origin
        get = state.rs.get
        rs_batch, db_batch = state.rs.batch(sync=self._sync), state.db.batch(sync=self._sync)
        put, drop = rs_batch.put, rs_batch.delete
        db_put = db_batch.put
        keys, entries = state.keys, state.entries
        news: list[Interval] = []
        run: Interval | None = None  # of entries, in a row, that are new
        for stamp, flags, checksum, key, value, context, record in frame.entries:
            index_key = INDEX + key
            old = get(index_key)
            live = False
            if old is None:
                entries += 1
            else:
                old_stamp, old_origin, old_flags, old_checksum = INDEX_HEAD.unpack_from(old)
                old_context = old[INDEX_HEAD.size :]
                if not wins(stamp, origin, old_stamp, old_origin):
                    if stamp != old_stamp or origin != old_origin:
                        union = union_context(old_origin, old_context, stamp, origin, context)
                        if union != old_context:
                            put(index_key, encode_index(old_stamp, old_origin, old_flags, old_checksum, union))
                    if run is not None:
                        news.append(run)
                        run = None
                    continue
                live = not old_flags & DELETE
                context = union_context(origin, context, old_stamp, old_origin, old_context)
                drop(log_key(old_origin, old_stamp))
            run = (stamp - 1, stamp) if run is None else (min(run[0], stamp - 1), max(run[1], stamp))
            put(log_key(origin, stamp), record)
            put(index_key, encode_index(stamp, origin, flags, checksum, context))
            if value is None:
                db_batch.delete(key)
                keys -= live
            else:
                db_put(key, value)
                keys += not live
        if run is not None:
            news.append(run)
        put(APPLIED, encode_applied(origin, frame.low, frame.high))
        moved: Vector = {}
        resumed: Intervals | None = None
        if frame.take is not None:
            moved = newer(frame.take, state.vector)
            self._take(state, rs_batch, moved, source)
        elif frame.low < frame.resumable:
            resumed = Intervals(state.resume.get(source, {}).get(origin, ()))
            resumed.add(frame.low, frame.resumable)
            put(resume_key(source, origin), encode_intervals(resumed))
        state.step("apply: before rs")
        rs_batch.write()
        state.step("apply: between rs and db")
        db_batch.write()
        state.step("apply: after db")
        state.keys, state.entries = keys, entries
        if frame.high > state.newest.get(origin, 0):
            state.newest[origin] = frame.high
        if frame.entries:
            state.clock.follow(max(frame.entries[0].stamp, frame.entries[-1].stamp))
        if resumed is not None:
            state.resume.setdefault(source, {})[origin] = resumed
        if frame.take is not None:
            self._taken(state, moved, source)
        return moved, news

    @staticmethod
    def _take(state: State, batch: Batch, moved: Vector, source: int) -> None:
        for origin, stamp in moved.items():
            batch.put(vector_key(origin), encode_vector_line(stamp, state.vector.get(origin, 0)))
        for origin in state.resume.get(source, ()):
            batch.delete(resume_key(source, origin))

    @staticmethod
    def _taken(state: State, moved: Vector, source: int) -> None:
        state.vector.update(moved)
        for origin, stamp in moved.items():
            state.clock.follow(stamp)
            if stamp > state.newest.get(origin, 0):
                state.newest[origin] = stamp
        state.resume.pop(source, None)


def newer(vector: Vector, than: Vector) -> Vector:
    """The lines of a vector that are above another one."""
    return {origin: stamp for origin, stamp in vector.items() if stamp > than.get(origin, 0)}
