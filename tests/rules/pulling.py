"""Pulls of the reference: by the log, and by reconciling two indexes. Anything may happen between two steps."""

from typing import TYPE_CHECKING

from tests.rules.node import Line, RefNode, raise_to, stale

if TYPE_CHECKING:
    from tests.rules.reference import RefWorld


class RefPull:
    """Of one reader, from the source as it was when the pull began.

    rejoin   the reader missed tombstones that the source had dropped
    known    what the reader's vector covered when the pull began
    whole    nothing was left out so far, so that the source's vector may be taken over
    """

    mode: str

    def __init__(self, world: "RefWorld", reader: RefNode, source: RefNode, *, rejoin: bool) -> None:
        self.world, self.reader, self.rejoin = world, reader, rejoin
        self.source_number = source.number
        self.known = dict(reader.vector)
        self.whole = True
        self._retired_before = reader.retired
        self._dropped_before = self._dropped_here()
        self.index = dict(source.index)
        self.vector, self.horizon = dict(source.vector), dict(source.horizon)
        self.newest_dropped = source.newest_dropped
        self.seen = dict(world.truth.seen[source.number])

    def advance(self, count: int) -> bool:
        """Judges up to `count` entries or keys. Whether the pull has ended; then what may be taken over has been."""
        for _ in range(count):
            if not self._judge_next():
                break
        if self._more():
            return False
        self._end()
        return True

    def broke_off(self) -> None:
        """Something came between; nothing is taken over."""

    def _more(self) -> bool:
        """Whether something is left to be judged."""
        raise NotImplementedError

    def _judge_next(self) -> bool:
        """Judges one entry or key; False if there was none left."""
        raise NotImplementedError

    def _end(self) -> None:
        if not self.whole:
            return
        self._take_vector()
        self.world.truth.took_over(self.reader.number, self.seen)
        if self.rejoin and self.holds("horizon"):
            raise_to(self.reader.horizon, self.horizon)
            self.reader.newest_dropped = max(self.reader.newest_dropped, self.newest_dropped)

    def _take_vector(self) -> None:
        raise_to(self.reader.vector, self.vector)
        self._follow_vector()

    def _follow_vector(self) -> None:
        if self.holds("clock"):
            self.reader.follow(max(self.vector.values(), default=0))

    def holds(self, rule: str) -> bool:
        return rule not in self.world.off

    def doubtful(self, line: Line) -> bool:
        """Of a key that is absent here: whether a tombstone dropped here up to now may have been newer."""
        if not self.holds("stale"):
            return False
        horizon, newest_dropped = self._dropped_here() if self.holds("midway") else self._dropped_before
        return line.stamp <= newest_dropped and stale(self.vector, horizon)

    def _dropped_here(self) -> tuple[dict[int, int], int]:
        return dict(self.reader.horizon), self.reader.newest_dropped

    def merge(self, key: bytes, line: Line) -> None:
        self.reader.merge(key, line)
        self.world.truth.merged(self.reader.number, key, line[:2])
        if line[:2] in self._retired_before and self.reader.index[key] == line:
            self.world.truth.returned.append((self.reader.number, key))

    def merge_or_leave(self, key: bytes, line: Line) -> None:
        """Of a key that is absent here."""
        if self.doubtful(line):
            self.whole = False  # the source, which is stale, writes it again when it reads us
        else:
            self.merge(key, line)


class LogPull(RefPull):
    """What the source's log holds and the reader does not cover, newest first over all origins."""

    mode = "log"

    def __init__(self, world: "RefWorld", reader: RefNode, source: RefNode, *, rejoin: bool) -> None:
        super().__init__(world, reader, source, rejoin=rejoin)
        unknown = [key for key in source.log if self.index[key].stamp > self.known.get(self.index[key].origin, 0)]
        self._left = sorted(unknown, key=lambda key: self.index[key][:2])

    def broke_off(self) -> None:
        if not self.holds("prefix"):
            self._take_vector()

    def _more(self) -> bool:
        return bool(self._left)

    def _judge_next(self) -> bool:
        if not self._left:
            return False
        key = self._left.pop()
        if key in self.reader.index:
            self.merge(key, self.index[key])
        else:
            self.merge_or_leave(key, self.index[key])
        return True


class ReconcilePull(RefPull):
    """Both indexes side by side, in the order of their keys: the source's as it was, the reader's as it is."""

    mode = "reconcile"

    def __init__(self, world: "RefWorld", reader: RefNode, source: RefNode, *, rejoin: bool) -> None:
        super().__init__(world, reader, source, rejoin=rejoin)
        self._after: bytes | None = None
        self._follow_vector()

    def _next_key(self) -> bytes | None:
        keys = self.index.keys() | self.reader.index.keys()
        return min((key for key in keys if self._after is None or key > self._after), default=None)

    def _more(self) -> bool:
        return self._next_key() is not None

    def _judge_next(self) -> bool:
        key = self._next_key()
        if key is None:
            return False
        self._after = key
        theirs, ours = self.index.get(key), self.reader.index.get(key)
        if theirs and ours:
            self.merge(key, theirs)
        elif theirs:
            self._only_theirs(key, theirs)
        elif ours:
            self._only_ours(key, ours)
        return True

    def _only_theirs(self, key: bytes, line: Line) -> None:
        dropped_here = line.stamp <= self.known.get(line.origin, 0)
        if dropped_here and self.holds("covered"):
            return
        self.merge_or_leave(key, line)

    def _only_ours(self, key: bytes, line: Line) -> None:
        unsure = self.rejoin and line.stamp <= self.newest_dropped
        if line.value is None:
            if unsure and self.holds("tombstone"):
                self.reader.drop(key)
        elif line.stamp <= self.vector.get(line.origin, 0):
            del self.reader.index[key]
        elif unsure and self.holds("restamp"):
            self._write_again(key, line)

    def _write_again(self, key: bytes, line: Line) -> None:
        stamp = self.reader.write(key, line.value, self.world.now_ms)
        self.world.truth.wrote_again(self.reader.number, key, line[:2], (stamp, self.reader.number))
