"""What a reader does with the keys that differ in a walk: the table of core.reconcile, in batches, under the lock."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import islice
from zlib import crc32

import msgspec

from level_replicator.core.effects import Fill
from level_replicator.core.entry import DELETE, INDEX_HEAD, Entry, encode_index, index_contexts
from level_replicator.core.intervals import Interval
from level_replicator.core.keys import INDEX, TOUCHED, log_key
from level_replicator.core.limits import FILL_OWN_LINES, FILL_PREVIEW_ENTRIES, REPAIR_BATCH_BYTES, SETTLE_LINES
from level_replicator.core.merge import lost_in_conflict
from level_replicator.core.reconcile import Sides, Verdict, judge_both, judge_ours, judge_theirs, value_digest
from level_replicator.core.versions import Vector, newer
from level_replicator.storage.applier import Merging, doubt_of, put_taken, taken
from level_replicator.storage.horizon import put_horizon
from level_replicator.storage.index_runs import head_of, lines_of
from level_replicator.storage.state import State
from level_replicator.storage.walk import Finds, Wanted
from level_replicator.storage.writer import LocalWriter, Operation

Line = tuple[bytes, bytes]
News = dict[int, list[Interval]]
OnNews = Callable[[News], None]
OnRestamp = Callable[[list[Operation]], None]


class Settling(Finds):
    """Of one walk. `whole`: False when something was left out, so that the peer's vector must not be taken over.

    `on_news`: told of what the log got that is new, to be forwarded to other peers; `on_restamp`: of what was
    written again here, under fresh stamps. `fills`: we have next to nothing, and ask for all."""

    def __init__(
        self,
        state: State,
        source: int,
        sides: Sides,
        their_horizon: Vector,
        on_news: OnNews,
        on_restamp: OnRestamp,
        *,
        sync: bool,
        fills: bool = False,
    ) -> None:
        self.whole = True
        self._fills = fills
        self.entries_in = 0
        self._state = state
        self._source = source
        self._sides = sides
        self._their_horizon = their_horizon
        self._on_news, self._on_restamp = on_news, on_restamp
        self._sync = sync

    # -- the lines of a range

    def settle(self, low: bytes, high: bytes, theirs: list[Line]) -> tuple[bytes | None, list[Wanted]]:
        state = self._state
        with state.applying("reconciling with a peer"):
            ours = [(key[len(INDEX) :], line) for key, line in islice(lines_of(state.rs, low, high), SETTLE_LINES + 1)]
            following = ours.pop()[0] if len(ours) > SETTLE_LINES else None
            batch = _Batch(state, self._sync)
            wanted = []
            doubt = doubt_of(state, self._sides.theirs)
            for key, mine, head in _side_by_side(ours, _from_to(theirs, low, following)):
                if batch.bytes >= REPAIR_BATCH_BYTES:
                    following = key
                    break
                if mine is None:
                    if self._takes(head, doubt):
                        wanted.append((key, b""))
                elif not head:
                    batch.judge(key, mine, self._sides)
                elif head_of(mine) != head and self._fetches(mine, head):
                    wanted.append((key, self._digest(key, mine, head)))
            self.whole = batch.write() and self.whole
        if batch.restamped:
            self._on_restamp(batch.restamped)
        return following, wanted

    def _takes(self, head: bytes, doubt: int) -> bool:
        stamp, origin, _, _ = INDEX_HEAD.unpack(head)
        verdict = judge_theirs(stamp, origin, self._sides.known, doubt)
        if verdict is Verdict.DOUBTFUL:
            self.whole = False
        return verdict is Verdict.TAKE

    def _fetches(self, mine: bytes, head: bytes) -> bool:
        """Returns whether the peer's entry of a key that both have is to be fetched.

        It is if it wins, and also if it loses to a write that has not seen it: that is a conflict, which is reported
        with the loser's value, and the context of the loser has to be merged. The head of a row has neither."""
        stamp, origin, _, _ = INDEX_HEAD.unpack_from(mine)
        their_stamp, their_origin, _, _ = INDEX_HEAD.unpack(head)
        if judge_both(stamp, origin, their_stamp, their_origin) is Verdict.TAKE:
            return True
        if (stamp, origin) == (their_stamp, their_origin):
            return False
        return lost_in_conflict(their_stamp, their_origin, origin, index_contexts(mine)[1])

    def _digest(self, key: bytes, mine: bytes, head: bytes) -> bytes:
        """Of our value, if the peer's may be the same: then it need not be sent."""
        if INDEX_HEAD.unpack(head_of(mine))[2:] != INDEX_HEAD.unpack(head)[2:]:
            return b""
        value = self._state.db.get(key)
        return b"" if value is None else value_digest(value)

    # -- entries

    def fill(self, fill: Fill) -> None:
        state = self._state
        self.entries_in += len(fill.entries)
        if fill.lacking:
            self.whole = False
        if fill.span is not None and self.whole:
            self._settle_own(fill.span, {entry[3] for _, entry in fill.entries})
        if not fill.entries:
            return
        with state.applying("reconciling with a peer"):
            present = fill.entries
            if fill.equal:
                completed = [self._completed(each, at in fill.equal) for at, each in enumerate(fill.entries)]
                present = [each for each in completed if each is not None]
            merging = Merging(state, self._sync, filling=state.filling and fill.span is not None)
            whole = merging.merge(present, self._sides.known, doubt_of(state, self._sides.theirs), in_order=False)
            self.whole = self.whole and whole
            if not state.half_filled:  # else all is looked at after a kill
                merging.rs_batch.put(TOUCHED, msgspec.msgpack.encode([entry.key for _, entry in present]))
            merging.write("walk")
            for origin, entry in present:
                if entry.stamp > state.newest.get(origin, 0):
                    state.newest[origin] = entry.stamp
        if merging.news:
            self._on_news(merging.news)

    def _settle_own(self, span: tuple[bytes, bytes], theirs: set[bytes]) -> None:
        """Of a run of keys that the peer has told all of: what only we have there."""
        state, low = self._state, span[0]
        more = True
        while more:
            with state.applying("reconciling with a peer"):
                batch = _Batch(state, self._sync)
                more = False
                for count, (index_key, line) in enumerate(lines_of(state.rs, low, span[1])):
                    if count == SETTLE_LINES or batch.bytes >= REPAIR_BATCH_BYTES:
                        more = True
                        break
                    key = index_key[len(INDEX) :]
                    if key not in theirs:
                        batch.judge(key, line, self._sides)
                    low = key + b"\0"
                self.whole = batch.write() and self.whole
            if batch.restamped:
                self._on_restamp(batch.restamped)

    def count_told(self, count: int) -> int:
        """Nothing, where it is little: then the peer sends all it has."""
        return 0 if self._fills and count <= FILL_OWN_LINES + FILL_PREVIEW_ENTRIES else count

    def _completed(self, each: tuple[int, Entry], equal: bool) -> tuple[int, Entry] | None:
        """With our own value, where that is equal. None: ours has been overwritten since."""
        origin, entry = each
        if not equal:
            return each
        value = self._state.db.get(entry.key)
        if value is not None and crc32(value) == entry.checksum:
            return origin, entry._replace(value=value, record=entry.record + value)
        line = self._state.rs.get(INDEX + entry.key)
        if line is None or self._fetches(line, encode_index(entry.stamp, origin, entry.flags, entry.checksum)):
            # by something that is older than the peer's, or that has not seen it: it has to be fetched once more
            self.whole = False
        return None

    # -- the end

    def take(self) -> Vector:
        """Takes over the peer's vector, and, if we were stale, its horizon. Gives the lines that moved.

        Nothing, when something was left out. Raises StorageError."""
        state, sides = self._state, self._sides
        if not self.whole:
            return {}
        with state.applying("taking over a vector"):
            moved = newer(sides.theirs, state.vector)
            batch = state.rs.batch(sync=self._sync)
            put_taken(state, batch, moved, self._source)
            raised: Vector = {}
            if sides.stale:
                raised = put_horizon(state, batch, self._their_horizon, sides.their_dropped)
            batch.write()
            taken(state, moved, self._source)
            state.horizon = {**state.horizon, **raised}
            if sides.stale:
                state.dropped = max(state.dropped, sides.their_dropped)
            return moved


class _Batch:
    """What one run of lines comes to: keys that only we have are judged here. `bytes`: of the values in it."""

    def __init__(self, state: State, sync: bool) -> None:
        self.rs = state.rs.batch(sync=sync)
        self.restamped: list[Operation] = []
        # nobody will remember what is taken away: its value must not come back with a power loss
        self._db = state.db.batch(sync=True)
        self._state = state
        self._sync = sync
        self._touched: list[bytes] = []
        self._gone: list[int] = []  # our own writes that leave
        self._horizon: Vector = {}
        self._keys = self._entries = 0
        self._whole = True
        self.bytes = 0

    def judge(self, key: bytes, line: bytes, sides: Sides) -> None:
        stamp, origin, flags, checksum = INDEX_HEAD.unpack_from(line)
        match judge_ours(stamp, origin, bool(flags & DELETE), sides):
            case Verdict.DELETE:
                self._remove(key, stamp, origin)
                self._db.delete(key)
                self._keys += 1
            case Verdict.DROP:
                self._remove(key, stamp, origin)
                if stamp <= sides.known.get(origin, 0):
                    # no horizon above the vector: who does not claim to know a tombstone need not tell that it is gone,
                    # and if nobody else has it any more, no vector would ever reach such a horizon
                    self._horizon[origin] = max(stamp, self._horizon.get(origin, 0))
            case Verdict.RESTAMP:
                value = self._state.db.get(key)
                if value is None or crc32(value) != checksum:
                    self._whole = False  # damaged: verify tells of it
                else:
                    self.restamped.append((key, value))
                    self.bytes += len(value)

    def _remove(self, key: bytes, stamp: int, origin: int) -> None:
        self._touched.append(key)
        self.rs.delete(INDEX + key)
        if self._state.logged(origin, stamp):
            self.rs.delete(log_key(origin, stamp))
            self._entries += 1
            if origin == self._state.origin:
                self._gone.append(stamp)

    def write(self) -> bool:
        """False: a key could not be judged, since its value is damaged."""
        state = self._state
        newest = max(self._horizon.values(), default=0)
        raised = put_horizon(state, self.rs, self._horizon, newest)
        if self._touched:
            self.rs.put(TOUCHED, msgspec.msgpack.encode(self._touched))
        state.step("settle: before rs")
        self.rs.write()
        state.step("settle: between rs and db")
        if self._touched:
            self._db.write()  # also when only tombstones go: their deletes may be in memory still
        state.step("settle: after db")
        state.keys -= self._keys
        state.entries -= self._entries
        for stamp in self._gone:
            state.tail.drop(stamp)
        state.horizon = {**state.horizon, **raised}
        state.dropped = max(state.dropped, newest)
        if self.restamped:
            LocalWriter.write_locked(state, self.restamped, self._sync)
        return self._whole


def _from_to(lines: list[Line], low: bytes, high: bytes | None) -> list[Line]:
    start = bisect_left(lines, low, key=lambda line: line[0])
    stop = len(lines) if high is None else bisect_left(lines, high, key=lambda line: line[0])
    return lines[start:stop]


def _side_by_side(ours: list[Line], theirs: list[Line]) -> Iterator[tuple[bytes, bytes | None, bytes]]:
    """(key, our line or None, head of theirs or b""), in order of keys."""
    heads = dict(theirs)
    lines = dict(ours)
    for key in sorted(heads.keys() | lines.keys()):
        yield key, lines.get(key), heads.get(key, b"")
