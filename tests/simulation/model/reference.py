"""The rules of replication, as small as they can be written. The real code is compared with them, step by step.

A node is an index (key -> row, tombstones included) and three small vectors. There is no disk, no network, no batch.
The check at the end excuses what the promise does, and nothing else: once a tombstone was dropped, a put may stand over
a greater delete that is concurrent to it; what only a node knew that is gone for good is gone; and a put may be gone if
such a node had deleted it, since others may have learned that from the absence of its row. Every rule can be switched
off by its name, to show what it is for: without it nodes diverge, lose a write to one that it had seen, or bring a
deleted key back.

    clock      a clock does not follow the vectors that are adopted
    stale      a node that missed dropped tombstones is read as if it were current
    restamp    a stale node's put that the peer has never seen keeps its dot
    both       a stale node's put that wins over the peer's keeps its dot
    redot      the winner of a merge keeps a dot that is smaller than the loser's
    context    a tombstone is dropped although it has seen writes that the vector does not cover
    dead       a put that a forgotten delete had superseded is taken
    dead-there a put that the peer had, and has forgotten the delete of, is kept if it was re-stamped since
    silent     what the peer deleted, and forgot that it did, is removed without a trace, instead of buried
    covered    in a reconciliation an absent key accepts what we knew and dropped the tombstone of
    horizon    the horizon of the peer that a stale node reconciled with is not adopted
    midway     what was dropped here since the pull began is not looked at again
    present    doubt is only for keys that have no row here
    prefix     a round of the log that breaks off advances the vector
    alone      a stale node goes on with its other pulls while it reconciles
    floor      a log is read below its floor as if nothing were missing
    fork       nobody compares the histories of origins
    reach      of two histories of which one is the beginning of the other, nobody looks how far the shorter one goes

`restamps-as-new` is the fault of the rules before: an entry that is re-stamped counts as a new write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple
from zlib import crc32

BULK_LOAD_SHARE = 8
"""A node that knows only its own writes is filled if it has no more than this part of what it is filled with."""

RULES = (
    "clock",
    "stale",
    "restamp",
    "both",
    "redot",
    "context",
    "dead",
    "dead-there",
    "silent",
    "covered",
    "horizon",
    "midway",
    "present",
    "prefix",
    "alone",
    "floor",
    "fork",
    "reach",
)
FAMILY = 40
"""The bits of an epoch that are not those of its origin."""
OLD_FAULT = "restamps-as-new"

Vector = dict[int, int]
Key = bytes
Dot = tuple[int, int]
History = tuple[tuple[int, int], ...]
"""(epoch, stamp that its origin had reached) of each run in which something was written, but for the first."""


class Row(NamedTuple):
    """What the index has of a key. `context` is the union of what was merged, `own` the context that the entry has in
    the log. `op` is the operation that it carries, for the check."""

    dot: Dot
    written: Dot
    value: bytes | None
    op: int
    context: Vector
    own: Vector

    @property
    def stamp(self) -> int:
        return self.dot[0]

    @property
    def origin(self) -> int:
        return self.dot[1]

    @property
    def order(self) -> tuple[int, int, bool, int, int, Dot]:
        """Within a family of origins the names decide only between equal values: a fork changes them."""
        stamp, origin = self.written
        return stamp, origin >> FAMILY, self.value is None, crc32(self.value or b""), origin, self.dot


@dataclass
class Op:
    """One operation of a user. `seen`: those on the same key that the state of the writer reflected."""

    key: Key
    value: bytes | None
    seen: frozenset[int]
    written: Dot


@dataclass
class Truth:
    ops: list[Op] = field(default_factory=list)
    minted: Counter[int] = field(default_factory=Counter)

    def mint(self, place: int) -> int:
        """The low bits of a number that nobody else has: an epoch, or a new origin, of the node at this place."""
        self.minted[place] += 1
        return self.minted[place]


def missed(vector: Vector, horizon: Vector) -> bool:
    return any(vector.get(origin, 0) < stamp for origin, stamp in horizon.items())


def covers(vector: Vector, dot: Dot) -> bool:
    return dot[0] <= vector.get(dot[1], 0)


def union(winner: Row, loser: Row) -> Vector:
    """The context of the winner's row after the two have met."""
    context = dict(winner.context)
    for origin, stamp in [*loser.context.items(), (loser.written[1], loser.written[0])]:
        context[origin] = max(stamp, context.get(origin, 0))
    return context


def known_context(row: Row) -> Vector:
    """A context as the real code keeps it: without the origin of the write, which is implied."""
    return {origin: stamp for origin, stamp in row.context.items() if origin != row.written[1]}


def concurrent(winner: Row, loser: Row) -> bool:
    """Whether the winner's row has not seen the loser's write."""
    if winner.written == loser.written or winner.written[1] == loser.written[1]:
        return False
    return winner.context.get(loser.written[1], 0) < loser.written[0]


class Node:
    """`seen`: key -> operations that its state of the key reflects. `newest`: of what the real code has had of an
    origin, if that is more than is left; `written`: of its writes under another dot."""

    def __init__(self, place: int, truth: Truth, off: str | None) -> None:
        self.place = place
        self.origin = (place + 1) << FAMILY
        self.histories: dict[int, History] = {}
        self.branches: dict[int, int] = {}
        self.next_epoch = 0
        self.newest: Vector = {}
        self.written: Vector = {}
        self.truth = truth
        self.off = off
        self.now_ms = 0
        self.clock = 0
        self.index: dict[Key, Row] = {}
        self.vector: Vector = {}
        self.floor: Vector = {}
        self.horizon: Vector = {}
        self.dropped = 0
        self.seen: dict[Key, set[int]] = {}
        self.bulk_loading = False
        self.bulk_load_incomplete = False
        self._again: list[tuple[Key, Row]] = []

    # -- writes

    def write(self, key: Key, value: bytes | None) -> None:
        op = len(self.truth.ops)
        dot = self._tick()
        self.truth.ops.append(Op(key, value, frozenset(self._seen(key)), dot))
        self._seen(key).add(op)
        mine = self.index.get(key)
        context = {} if mine is None else dict(mine.context)
        if mine is not None:
            context[mine.written[1]] = mine.written[0]
        self.index[key] = Row(dot, dot, value, op, context, context)

    def _tick(self) -> Dot:
        if self.next_epoch and self.off != "fork":
            epoch = (self.next_epoch, self.vector.get(self.origin, 0))
            self.histories[self.origin] = (*self.histories.get(self.origin, ()), epoch)
            self.next_epoch = 0
        self.clock = max(self.clock + 1, self.now_ms << 16)
        self.vector[self.origin] = self.clock
        return self.clock, self.origin

    def _seen(self, key: Key) -> set[int]:
        return self.seen.setdefault(key, set())

    def follow(self, stamp: int) -> None:
        self.clock = max(self.clock, stamp)

    # -- restores without a trace

    def image(self) -> Node:
        """A copy of all that is on the disk."""
        image = copy(self)
        for name in ("index", "vector", "floor", "horizon", "histories", "branches"):
            setattr(image, name, dict(getattr(self, name)))
        image.seen = {key: set(ops) for key, ops in self.seen.items()}
        return image

    def reopen(self) -> None:
        """Another run begins; of the last one there is only what is on the disk."""
        self.bulk_loading = False
        self._again = []
        self.clock = max([self.dropped, *(row.stamp for row in self.index.values())], default=0)
        for stamps in (self.vector, self.floor, self.horizon):
            self.follow(max(stamps.values(), default=0))
        self.next_epoch = self.origin >> FAMILY << FAMILY | self.truth.mint(self.place)

    def reach(self, origin: int) -> int:
        """The newest stamp of an origin that this node may have."""
        rows = (row.stamp for row in self.index.values() if row.origin == origin)
        most = max(self.vector.get(origin, 0), self.floor.get(origin, 0), self.newest.get(origin, 0))
        return max(most, max(rows, default=0))

    def written_reach(self, origin: int) -> int:
        """The newest stamp of a write of an origin that this node may have, under whatever dot."""
        rows = (row.written[0] for row in self.index.values() if row.written[1] == origin)
        return max(self.reach(origin), self.written.get(origin, 0), max(rows, default=0))

    def rename(self, branches: dict[int, int]) -> None:
        """What this node has of a branch is from here on of an origin that is called like the branch's first epoch."""
        self.branches = {**branches, **self.branches}
        for origin, history in list(self.histories.items()):
            for place, (epoch, start) in enumerate(history):
                if epoch in self.branches:
                    self._cut(origin, epoch, start)
                    self.newest = {}
                    self.written = {}
                    self.histories[origin], rest = history[:place], history[place + 1 :]
                    if rest:
                        self.histories[epoch] = rest
                    self.histories = {each: known for each, known in self.histories.items() if known}
                    self.rename({})
                    return

    def _cut(self, old: int, new: int, start: int) -> None:
        def dot(of: Dot) -> Dot:
            return (of[0], new) if of[1] == old and of[0] > start else of

        def context(of: Vector, written: Dot) -> Vector:
            seen = {**of, written[1]: max(written[0], of.get(written[1], 0))}
            return stamps(seen)

        def stamps(of: Vector) -> Vector:
            cut = dict(of)
            if cut.get(old, 0) > start:
                cut[new], cut[old] = cut[old], start
            return {origin: stamp for origin, stamp in cut.items() if stamp}

        for key, row in self.index.items():
            self.index[key] = row._replace(
                dot=dot(row.dot),
                written=dot(row.written),
                context=context(row.context, row.written),
                own=context(row.own, row.written),
            )
        self.vector, self.floor, self.horizon = stamps(self.vector), stamps(self.floor), stamps(self.horizon)
        if self.origin == old:
            self.origin = new

    def renew(self) -> None:
        """A peer knows more of our origin than we do, and we have written nothing since: a new one."""
        self.origin = (self.place + 1) << FAMILY | 1 << (FAMILY - 1) | self.truth.mint(self.place)
        self.vector[self.origin] = 1  # which no write has: the mark of cursors of the changes feed
        self.next_epoch = 0

    # -- re-stamping: what one message makes necessary gets its dots when all of it has been merged

    def restamp(self, key: Key, row: Row) -> None:
        self._again.append((key, row))

    def end_message(self) -> None:
        again, self._again = self._again, []
        for key, row in again:
            dot = self._tick()
            written = dot if self.off == OLD_FAULT else row.written
            self.index[key] = Row(dot, written, row.value, row.op, row.context, row.context)

    # -- space

    def logged(self, row: Row) -> bool:
        return row.stamp > self.floor.get(row.origin, 0)

    def truncate(self, before: int) -> None:
        for origin, stamp in self.vector.items():
            self.floor[origin] = max(self.floor.get(origin, 0), min(stamp, before))
        self.floor = {origin: stamp for origin, stamp in self.floor.items() if stamp}

    def is_filled(self, vector: Vector) -> None:
        """A node that knows nothing but its own writes is not to log what a reconciliation brings."""
        for origin, stamp in vector.items():
            if origin != self.origin:
                self.floor[origin] = max(self.floor.get(origin, 0), stamp)
        self.bulk_load_incomplete = True

    def reflects_unknown(self, row: Row) -> bool:
        """Whether a row has seen a write that our vector does not cover."""
        context = any(not covers(self.vector, (stamp, origin)) for origin, stamp in row.context.items())
        return context or not covers(self.vector, row.written)

    def drop_tombstones(self, before: int) -> None:
        for key, row in list(self.index.items()):
            if row.value is not None or row.stamp > before or not covers(self.vector, row.dot):
                continue
            if self.off != "context" and self.reflects_unknown(row):
                continue
            del self.index[key]
            self.horizon[row.origin] = max(row.stamp, self.horizon.get(row.origin, 0))
            self.dropped = max(self.dropped, row.stamp)

    # -- merging

    def merge(self, key: Key, theirs: Row, pull: Pull) -> None:
        """An entry of a peer comes to the row of its key."""
        mine = self.index.get(key)
        self._seen(key).update({theirs.op}, self.truth.ops[theirs.op].seen)
        if mine is not None and mine.order > theirs.order:
            self.lose(key, theirs, pull)
            return
        same_write = mine is not None and mine.written == theirs.written
        merged = theirs if mine is None else theirs._replace(context=union(theirs, mine))
        dead = theirs.value is not None and not same_write and covers(self.vector, theirs.written)
        if dead and self.off != "dead":
            self.restamp(key, merged._replace(value=None))
        elif mine is not None and theirs.dot < mine.dot and self.off != "redot":
            self.restamp(key, merged)
        else:
            self.index[key] = merged

    def lose(self, key: Key, theirs: Row, pull: Pull) -> None:
        """The peer's row of a key loses to ours."""
        mine = self.index[key]
        merged = mine._replace(context=union(mine, theirs))
        if mine.written != theirs.written and pull.forgot(mine):
            self.restamp(key, merged._replace(value=None))
        elif pull.must_restamp(mine, theirs):
            self.restamp(key, merged)
        else:
            self.index[key] = merged

    def contents(self) -> dict[Key, bytes]:
        return {key: row.value for key, row in self.index.items() if row.value is not None}


def introduce(one: Node, other: Node) -> list[Node]:
    """Two nodes compare what they know of the histories of origins, before anything else and whenever that changes.
    Returns those whose names of origins have changed: what they have begun with anybody ends."""
    if one.off == "fork":
        return []
    changed: list[Node] = []
    while True:
        new = {**one.branches, **other.branches}
        if one.branches == other.branches:
            new = _forks(one, other)
            if not new:
                break
        for node in (one, other):
            if new.keys() - node.branches.keys():
                node.rename(new)
                changed.append(node)
    for origin in one.histories.keys() | other.histories.keys():
        longer = max(one.histories.get(origin, ()), other.histories.get(origin, ()), key=len)
        for node in (one, other):
            if node.origin == origin and node.histories.get(origin, ()) != longer:
                node.renew()
                changed.append(node)
            node.histories[origin] = longer
    for node, peer in ((one, other), (other, one)):
        if peer.reach(node.origin) > node.vector.get(node.origin, 0) and node.off != "reach":
            node.renew()
            changed.append(node)
    return changed


def _forks(one: Node, other: Node) -> dict[int, int]:
    """The epochs at which histories of two nodes part."""
    forks = {}
    for node, peer in ((one, other), (other, one)):
        for origin, theirs in peer.histories.items():
            ours = node.histories.get(origin, ())
            common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))
            beyond = node.off != "reach" and theirs[common:] and node.written_reach(origin) > theirs[common][1]
            if theirs[common:] and (ours[common:] or beyond):
                forks.update([theirs[common], *ours[common : common + 1]])
    return forks


class Pull:
    """One pull of `reader` from a snapshot of `source`. `mode`: wait, log or reconcile."""

    def __init__(self, reader: Node, source: Node) -> None:
        self.reader, self.source, self.off = reader, source, reader.off
        self.index = dict(source.index)
        self.vector, self.horizon, self.dropped = dict(source.vector), dict(source.horizon), source.dropped
        self.seen = {key: set(ops) for key, ops in source.seen.items()}
        self.known = dict(reader.vector)
        self.whole = True
        self.stale = self._missed(reader.vector, source.horizon)
        below = any(reader.vector.get(o, 0) < stamp for o, stamp in source.floor.items() if o != reader.origin)
        if self._missed(source.vector, reader.horizon) and not self.stale:
            self.mode = "wait"
        elif source.bulk_loading and (self.stale or below):
            self.mode = "wait"  # it gets all of it, or nothing
        elif self.stale or (below and self.off != "floor"):
            self.mode = "reconcile"
            if self.off != "clock":
                reader.follow(max(self.vector.values(), default=0))
            fresh = reader.vector.keys() <= {reader.origin}
            if fresh and len(reader.contents()) <= len(source.contents()) // BULK_LOAD_SHARE:
                reader.is_filled(self.vector)
            reader.bulk_loading = reader.bulk_load_incomplete
        else:
            self.mode = "log"
            self.entries = {row.dot for row in source.index.values() if source.logged(row) and self._lacks(reader, row)}

    @property
    def alone(self) -> bool:
        """Whether the reader's other pulls must stop."""
        return self.mode == "reconcile" and (self.stale or self.reader.bulk_loading) and self.off != "alone"

    def _missed(self, vector: Vector, horizon: Vector) -> bool:
        return self.off != "stale" and missed(vector, horizon)

    @staticmethod
    def _lacks(reader: Node, row: Row) -> bool:
        return row.origin != reader.origin and not covers(reader.vector, row.dot)

    def _doubtful(self, key: Key, theirs: Row) -> bool:
        """Whether the reader may have dropped a tombstone that is greater than a put that would win. As of now."""
        mine = self.reader.index.get(key)
        if theirs.value is None or self.off == "midway" or (mine is not None and self.off == "present"):
            return False
        if mine is not None and mine.order >= theirs.order:
            return False
        return self._missed(self.vector, self.reader.horizon) and theirs.stamp <= self.reader.dropped

    def may_be_unknown(self, row: Row) -> bool:
        """Whether a row of the reader may be older than a tombstone that the source has dropped."""
        return self.mode == "reconcile" and self.stale and row.stamp <= self.dropped

    def forgot(self, mine: Row) -> bool:
        """Whether the source has forgotten a delete that was greater than the reader's put: its vector covers the
        write, and it has nothing of the key, or something smaller."""
        dead = self.off not in ("dead-there", "stale") and mine.value is not None and covers(self.vector, mine.written)
        return self.mode == "reconcile" and dead

    def must_restamp(self, mine: Row, theirs: Row) -> bool:
        """Whether a row of the reader that won must travel again."""
        unknown = self.may_be_unknown(mine) and mine.value is not None and self.off != "both"
        return unknown or (mine.dot < theirs.dot and self.off != "redot")

    # -- by log

    def entry(self, key: Key) -> None:
        """The source's entry of a key arrives in a round of the log: with its own context."""
        self.reader.follow(self.index[key].stamp)
        self._take(key, self.index[key])
        self.reader.end_message()

    def _take(self, key: Key, theirs: Row) -> None:
        mine = self.reader.index.get(key)
        if mine is not None and mine.dot == theirs.dot:
            return
        if self._doubtful(key, theirs):
            self.whole = False
            return
        ours = theirs.origin == self.reader.origin and covers(self.reader.vector, theirs.dot)
        if mine is None and theirs.value is None and ours:
            return  # our own delete, which we have forgotten
        self.reader.merge(key, theirs._replace(context=theirs.own), self)

    # -- by reconciliation

    def settle(self, keys: set[Key]) -> list[Key]:
        """The rows of these keys are compared. Returns the keys whose entries the reader fetches."""
        wanted = []
        for key in sorted(keys & (self.index.keys() | self.reader.index.keys())):
            theirs, mine = self.index.get(key), self.reader.index.get(key)
            if theirs is None:
                assert mine is not None
                self._only_ours(key, mine)
            elif mine is None:
                if self._knew(theirs):
                    continue
                if self._doubtful(key, theirs):
                    self.whole = False
                else:
                    wanted.append(key)
            elif mine.dot != theirs.dot:
                if mine.order > theirs.order:
                    unseen = concurrent(mine, theirs)
                    if unseen and (known_context(theirs) or mine.value != theirs.value):
                        wanted.append(key)  # it is reported with its value, and merged with its context
                    elif unseen or self.must_restamp(mine, theirs) or self.forgot(mine):
                        self.reader.follow(theirs.stamp)
                        self.reader.lose(key, theirs._replace(context={}), self)
                elif not covers(self.known, theirs.dot) and self._doubtful(key, theirs):
                    self.whole = False
                else:
                    wanted.append(key)
        self.reader.end_message()
        return wanted

    def _only_ours(self, key: Key, mine: Row) -> None:
        if mine.value is None:
            return
        if covers(self.vector, mine.dot) or self.forgot(mine):  # the source knew it, and dropped its tombstone
            if self.off != "silent":
                self.reader.restamp(key, mine._replace(value=None))
            else:
                del self.reader.index[key]
        elif self.may_be_unknown(mine) and self.off != "restamp":
            self.reader.restamp(key, mine)

    def _knew(self, theirs: Row) -> bool:
        """Whether the reader had it, and dropped its tombstone."""
        return self.off != "covered" and covers(self.known, theirs.dot)

    def fill(self, keys: list[Key]) -> None:
        """The source's entries of these keys arrive in one message."""
        self.reader.follow(max((self.index[key].stamp for key in keys), default=0))
        for key in keys:
            theirs, mine = self.index[key], self.reader.index.get(key)
            if mine is None and self._knew(theirs):
                continue
            if mine is not None and covers(self.known, theirs.dot) and mine.dot != theirs.dot:
                self.reader.merge(key, theirs._replace(context=theirs.own), self)
            else:
                self._take(key, theirs)
        self.reader.end_message()

    # -- its end

    def end(self) -> None:
        """It is over, complete or not."""
        if self.mode == "reconcile":
            self.reader.bulk_loading = False
        elif self.off == "prefix":
            self.adopt_vector()

    def finish(self) -> None:
        """All has arrived."""
        reader = self.reader
        if not self.whole:
            return
        self.adopt_vector()
        if self.mode == "reconcile" or not missed(reader.vector, reader.floor):
            reader.bulk_load_incomplete = False
        if self.mode == "reconcile" and self.stale and self.off != "horizon":
            for origin, stamp in self.horizon.items():
                reader.horizon[origin] = max(stamp, reader.horizon.get(origin, 0))
            reader.dropped = max(reader.dropped, self.dropped)

    def adopt_vector(self) -> None:
        reader = self.reader
        for origin, stamp in self.vector.items():
            reader.vector[origin] = max(stamp, reader.vector.get(origin, 0))
            if self.off != "clock":
                reader.follow(stamp)
        for key, ops in self.seen.items():
            reader._seen(key).update(ops)

    # -- without the real code

    def messages(self) -> Iterator[None]:
        """All of the pull, a message at a time, for the reference alone."""
        if self.mode == "log":
            entries = {row.dot: key for key, row in self.index.items() if row.dot in self.entries}
            for left, dot in zip(range(len(entries) - 1, -1, -1), sorted(entries, reverse=True), strict=True):
                self.entry(entries[dot])
                if left:
                    yield
        else:
            yield
            wanted = self.settle(self.index.keys() | self.reader.index.keys())
            if wanted:
                yield
                self.fill(wanted)
        self.finish()


def broken_promise(nodes: list[Node], truth: Truth) -> str | None:
    """What does not hold after everybody has exchanged everything; None when all does."""
    states = [node.contents() for node in nodes]
    if any(state != states[0] for state in states):
        return f"diverged: {states}"
    forgotten = any(node.dropped for node in nodes)
    for key in sorted({op.key for op in truth.ops}):
        ops = {number: op for number, op in enumerate(truth.ops) if op.key == key}
        # what only a node knew that is gone for good cannot be asked for
        known = set().union(*(node.seen.get(key, ()) for node in nodes))
        superseded = frozenset().union(*(ops[number].seen for number in known))
        last = {number: op for number, op in ops.items() if number not in superseded}
        puts = {number: op.written for number, op in last.items() if op.value is not None and number in known}
        deletes = [op.written for op in last.values() if op.value is None]
        known_deletes = [op.written for number, op in last.items() if op.value is None and number in known]
        row = nodes[0].index.get(key)
        if row is not None and row.value is not None:
            if row.op in superseded:
                return f"{key!r} came back as {row.value!r}"
            if not forgotten and any(delete > truth.ops[row.op].written for delete in known_deletes):
                return f"{key!r}: a greater delete lost to {row.value!r}, though no tombstone was dropped"
            greater = [number for number, written in puts.items() if written > truth.ops[row.op].written]
            if any(all(delete < puts[number] for delete in deletes) for number in greater):
                return f"{key!r}: {greater} lost to a smaller put"
        elif puts and max(puts.values()) > max(deletes, default=(0, 0)):
            return f"{key!r} is lost"
    return None
