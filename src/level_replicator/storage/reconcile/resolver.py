"""What a reader does with the keys that differ in a reconciliation: the table of core.reconcile_rules, in batches,
under the lock."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import islice
from zlib import crc32

from level_replicator.core.entry import CONTEXT, DELETE, INDEX_HEAD, Entry, IndexLine, decode_index
from level_replicator.core.intervals import Interval
from level_replicator.core.limits import FILL_OWN_LINES, FILL_PREVIEW_ENTRIES, SETTLE_LINES
from level_replicator.core.merge import lost_in_conflict, order_of, order_of_row, same_value
from level_replicator.core.reconcile_rules import Sides, Verdict, judge_both, judge_ours, judge_theirs, value_digest
from level_replicator.core.version_vector import Vector, newer
from level_replicator.protocol.events import Fill
from level_replicator.storage.reconcile.initiator import Finds, Wanted
from level_replicator.storage.state.index_scan import head_of, lines_of
from level_replicator.storage.state.schema import INDEX
from level_replicator.storage.state.state import State
from level_replicator.storage.state.tombstones import put_horizon
from level_replicator.storage.write.lost import is_lost
from level_replicator.storage.write.merger import Merger, doubt_of
from level_replicator.storage.write.remote_applier import put_taken, taken

Line = tuple[bytes, bytes]
News = dict[int, list[Interval]]
OnNews = Callable[[News], None]
OnRestamp = Callable[[int], None]


class Settling(Finds):
    """Of one walk. `whole`: False when something was left out, so that the peer's vector must not be taken over.
    `changed`: whether it has had any effect here.

    `on_news`: told of what the log got that is new, to be forwarded to other peers; `on_restamp`: of how many entries
    of ours, under new dots, were necessary. `fills`: we have next to nothing, and ask for all. `peer_pulls`: see
    Merger."""

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
        peer_pulls: bool = True,
    ) -> None:
        self.whole = True
        self.changed = False
        self._fills = fills
        self._peer_pulls = peer_pulls
        self.entries_in = 0
        self._state = state
        self._source = source
        self._sides = sides
        self._their_horizon = their_horizon
        self._on_news, self._on_restamp = on_news, on_restamp
        self._sync = sync

    # -- the rows of a range

    def settle(self, low: bytes, high: bytes, theirs: list[Line]) -> tuple[bytes | None, list[Wanted]]:
        state = self._state
        with state.applying("reconciling with a peer"):
            ours = [(key[len(INDEX) :], line) for key, line in islice(lines_of(state.rs, low, high), SETTLE_LINES + 1)]
            following = ours.pop()[0] if len(ours) > SETTLE_LINES else None
            merger = self._merger()
            wanted = []
            doubt = doubt_of(state, self._sides.theirs)
            for key, mine, row in _side_by_side(ours, _from_to(theirs, low, following)):
                if merger.restamps.full:
                    following = key
                    break
                if mine is None:
                    if self._takes(decode_index(row), doubt):
                        wanted.append((key, b""))
                elif not row:
                    self._settle_ours(merger, key, decode_index(mine))
                elif head_of(mine) == head_of(row):
                    if key in state.lost and is_lost(state, key):
                        wanted.append((key, b""))
                elif self._compare(merger, key, mine, row, doubt):
                    wanted.append((key, self._digest(key, mine, row)))
            merger.write("settle")
        self._written(merger)
        return following, wanted

    def _merger(self, *, filling: bool = False) -> Merger:
        return Merger(self._state, sync=self._sync, sides=self._sides, filling=filling, peer_pulls=self._peer_pulls)

    def _written(self, merger: Merger) -> None:
        """To be called without the lock."""
        self.whole = self.whole and merger.whole
        self.changed = self.changed or merger.changed
        if merger.restamps:
            self._on_restamp(len(merger.restamps))

    def _takes(self, row: IndexLine, doubt: int) -> bool:
        verdict = judge_theirs(row.stamp, row.origin, row.deleted, self._sides.known, doubt)
        if verdict is Verdict.DOUBTFUL and self._peer_pulls:
            self.whole = False
            return False
        return verdict is not Verdict.KEEP

    def _settle_ours(self, merger: Merger, key: bytes, row: IndexLine) -> None:
        """A key that only we have."""
        match judge_ours(row, self._sides):
            case Verdict.BURY:
                merger.bury_ours(key, row)
            case Verdict.RESTAMP:
                merger.restamp_ours(key, row)

    def _compare(self, merger: Merger, key: bytes, mine: bytes, row: bytes, doubt: int) -> bool:
        """Whether the peer's entry is to be fetched: it wins, or it loses to a write that had not seen it. Such a pair
        is reported with its value, and merged with its context. Where there is nothing to report, since the values are
        equal, nor to merge, or our row has seen it, ours only may have to travel again."""
        ours, theirs = decode_index(mine), decode_index(row)
        match judge_both(ours, theirs, self._sides, doubt):
            case Verdict.TAKE:
                return True
            case Verdict.DOUBTFUL:
                self.whole = self.whole and not self._peer_pulls
                return not self._peer_pulls
            case verdict:
                unseen = lost_in_conflict(theirs.written_dot, ours.written_dot, ours.context)
                has_context = INDEX_HEAD.unpack_from(row)[2] & CONTEXT
                if unseen and (has_context or not same_value(ours, theirs)):
                    return True
                if unseen or verdict is not Verdict.KEEP:
                    merger.lose_row(key, ours, theirs)
        return False

    def _digest(self, key: bytes, mine: bytes, row: bytes) -> bytes:
        """The digest of our value, if the peer's may be the same: then it need not be sent."""
        _, _, our_flags, our_checksum = INDEX_HEAD.unpack_from(mine)
        _, _, flags, checksum = INDEX_HEAD.unpack_from(row)
        if (our_flags & DELETE, our_checksum) != (flags & DELETE, checksum):
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
        present = fill.entries
        if fill.equal:
            completed = [self._completed(each, at in fill.equal) for at, each in enumerate(fill.entries)]
            present = [each for each in completed if each is not None]
        entries = iter(present)
        complete = False
        while not complete:
            with state.applying("reconciling with a peer"):
                merger = self._merger(filling=state.filling and fill.span is not None)
                complete = merger.merge(entries, doubt_of(state, self._sides.theirs), in_order=False)
                if not state.half_filled:  # else all is looked at after a kill
                    merger.touch([entry.key for _, entry in present])
                merger.write("walk")
                for origin, entry in present if complete else ():
                    if entry.stamp > state.newest.get(origin, 0):
                        state.newest[origin] = entry.stamp
            self._written(merger)
            if merger.news:
                self._on_news(merger.news)

    def _settle_own(self, span: tuple[bytes, bytes], theirs: set[bytes]) -> None:
        """Of a run of keys that the peer has told all of: what only we have there."""
        state, low = self._state, span[0]
        more = True
        while more:
            with state.applying("reconciling with a peer"):
                merger = self._merger()
                more = False
                for count, (index_key, line) in enumerate(lines_of(state.rs, low, span[1])):
                    if count == SETTLE_LINES or merger.restamps.full:
                        more = True
                        break
                    key = index_key[len(INDEX) :]
                    if key not in theirs:
                        self._settle_ours(merger, key, decode_index(line))
                    low = key + b"\0"
                merger.write("settle")
            self._written(merger)

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
        written = entry.written_dot(origin)
        order = order_of(written, entry.flags, entry.checksum, (entry.stamp, origin))
        row = None if line is None else decode_index(line)
        if row is None or order > order_of_row(row) or lost_in_conflict(written, row.written_dot, row.context):
            self.whole = False  # it has to be fetched once more, with its value
        return None

    # -- the end

    @property
    def their_vector(self) -> Vector:
        """The peer's vector as of the snapshot that is reconciled with."""
        return self._sides.theirs

    def take(self) -> Vector:
        """Takes over the peer's vector, and, if we were stale, its horizon. Gives the lines that moved.

        Nothing, when something was left out. Raises StorageError."""
        state, sides = self._state, self._sides
        if not self.whole:
            return {}
        with state.applying("taking over a vector"):
            moved = newer(sides.theirs, state.vector)
            if state.half_filled:
                # without the mark of a bulk load nobody looks at all rows after a power loss: they must be on the disk,
                # and their values, which are in no log, before them
                state.db.batch(sync=True).write()
            batch = state.rs.batch(sync=self._sync or state.half_filled)
            put_taken(state, batch, moved, self._source, reconciled=True)
            raised: Vector = {}
            if sides.stale:
                raised = put_horizon(state, batch, self._their_horizon, sides.their_dropped)
            batch.write()
            was_half_filled = state.half_filled
            taken(state, moved, self._source, reconciled=True)
            self.changed = self.changed or bool(moved or raised) or state.half_filled != was_half_filled
            state.horizon = {**state.horizon, **raised}
            if sides.stale:
                state.dropped = max(state.dropped, sides.their_dropped)
            return moved


def _from_to(lines: list[Line], low: bytes, high: bytes | None) -> list[Line]:
    start = bisect_left(lines, low, key=lambda line: line[0])
    stop = len(lines) if high is None else bisect_left(lines, high, key=lambda line: line[0])
    return lines[start:stop]


def _side_by_side(ours: list[Line], theirs: list[Line]) -> Iterator[tuple[bytes, bytes | None, bytes]]:
    """(key, our row or None, theirs or b""), in order of keys."""
    rows = dict(theirs)
    lines = dict(ours)
    for key in sorted(rows.keys() | lines.keys()):
        yield key, lines.get(key), rows.get(key, b"")
