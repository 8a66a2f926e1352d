"""Schedules aimed at rules that random ones exercise too rarely. Each raises Broken when its rule does not hold."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from random import Random
from typing import Any

from level_replicator.core.entry import INDEX_HEAD
from level_replicator.core.limits import FLOOR_PATIENCE_MS, FRAME_TARGET_ENTRIES, PULL_RETRY_CAP_MS, SEND_BUFFER_BYTES
from level_replicator.protocol.messages import RangeQuery, ReconcileStart
from level_replicator.storage.maintenance.floors import floors_above
from level_replicator.storage.state.meta import load_meta, store_meta
from level_replicator.storage.state.schema import INDEX, LOG, following, log_key
from tests.harness.memory_engine import MemoryEngine
from tests.simulation.budget import AFTER_FAULTS, Allowance
from tests.simulation.checks import Broken, check_node
from tests.simulation.node import SimNode
from tests.simulation.plan import Plan
from tests.simulation.reader import Reader
from tests.simulation.world import World

SELDOM = Allowance(frames=200, frames_per_s=1, events=10_000, events_per_s=1_000)
"""Allowance of a world whose nodes have hardly anything to send."""


def _plan(nodes: list[str], dials: list[tuple[str, str]], clock: str = "exact") -> Plan:
    """Return a plan of nodes that do nothing by themselves, on a fast network."""
    skews_ms = dict.fromkeys(nodes, 0)
    plan = Plan(nodes, dials, keys=[b"k"], steps=0, delays_ms=[1], skews_ms=skews_ms, clock=clock)
    plan.pieces, plan.buffers = [100_000], [SEND_BUFFER_BYTES]
    return plan


def vector_beyond_entries() -> None:
    """The clock follows an adopted vector, which may cover stamps without an entry, as of dropped tombstones."""
    world = World(1, _plan(["a", "b"], [("b", "a")]))
    a, b = world.nodes["a"], world.nodes["b"]
    a.skew_ms = 30_000
    a.start()
    assert a.store is not None
    a.store.writer.put(b"k", b"v", False)
    a.store.writer.delete(b"k", False)
    line = a.store._state.rs.get(INDEX + b"k")
    assert line is not None
    stamp, origin, _, _ = INDEX_HEAD.unpack_from(line)
    a.store._state.rs.delete(INDEX + b"k")
    a.store._state.rs.delete(log_key(origin, stamp))
    b.start()
    world.run_for(10_000)
    assert b.store is not None
    if b.store.vector.get(origin) != stamp:
        raise Broken("the vector did not arrive")
    check_node(b)
    b.store.writer.put(b"k", b"later", False)
    if b.store.vector[b.store.origin] <= stamp:
        raise Broken("a write after a vector was taken over has a stamp below it")


def broken_scan_resumes() -> None:
    """A scan that breaks off after some frames is resumed: entries that were applied are not sent again."""
    world = World(2, _plan(["a", "b"], [("b", "a")]))
    world.plan.pieces = [5_000]
    a, b = world.nodes["a"], world.nodes["b"]
    a.start()
    assert a.store is not None
    count = 4 * FRAME_TARGET_ENTRIES
    a.store.writer.write([(b"k%d" % i, b"v") for i in range(count)], False)
    b.start()
    assert b.coordinator is not None
    while sum(world.received.values()) < 2 * FRAME_TARGET_ENTRIES:
        world.run_for(1)
    for connection in list(world.connections):
        connection.break_now()
    applied = sum(world.received.values())
    world.run_for(20_000)
    assert b.store is not None
    if b.store.keys != count:
        raise Broken(f"{b.store.keys} keys of {count} arrived")
    if sum(world.received.values()) != count:
        raise Broken(f"{sum(world.received.values()) - count} of {applied} entries were sent twice")


def superseded_while_broken_off() -> None:
    """c's scan of a breaks off, and b cannot finish it: b has the entry that a left out, but not the newer one.

    a's log is sent before d's, since its last entry is newer; the old entry of `k` is only in b's log."""
    world = World(2, _plan(list("abcd"), [("b", "a"), ("d", "a"), ("c", "a"), ("c", "b")]))
    a, b, c, d = (world.nodes[name] for name in "abcd")
    _cut(world, "ad", "cb")
    for node in (a, b, d):
        node.start()
    assert a.store is not None
    assert a.coordinator is not None
    assert d.store is not None
    a.store.writer.put(b"k", b"old", False)
    world.run_for(1_000)
    d.store.writer.put(b"k", b"new", False)
    world.run_for(1_000)
    a.store.writer.put(b"tail", b"1", False)
    a.coordinator.local_change()
    world.run_for(3_000)
    world.cuts.remove(frozenset("ad"))
    _cut(world, "ab")
    world.run_for(5_000)
    world.plan.pieces = [40]
    c.start()
    while not any(who == "c" for who, *_ in world.received):
        world.run_for(1)
    world.cuts = set()
    _cut(world, "ca", "ab", "ad")
    world.run_for(8_000)
    assert c.store is not None
    if c.store.vector.get(a.store.origin, 0) and c.store._state.db.get(b"k") is None:
        raise Broken("c claims to cover a write of `k`, and has none")
    world.cuts = set()
    world.run_for(8_000)
    if dict(c.store._state.db.scan()) != dict(a.store._state.db.scan()):
        raise Broken("c differs from a")


def _cut(world: World, *pairs: str) -> None:
    for pair in pairs:
        world.cuts.add(frozenset(pair))
    for connection in list(world.connections):
        if world.is_cut(*connection.names):
            connection.break_now()


class _LosesOne(Random):
    """Random source of a power loss that loses one unsynced record of a disk, by its position, and keeps the others.

    `lost`: None loses no record."""

    def __init__(self, lost: int | None) -> None:
        super().__init__(0)
        self._lost = lost
        self._asked = 0

    def choice(self, _shares: Any) -> Any:
        return 0.5

    def random(self) -> float:
        asked, self._asked = self._asked, self._asked + 1
        return 1.0 if asked == self._lost else 0.0


FRAMES = 2


def power_loss_loses_what_the_vector_covers() -> None:
    """b receives a scan in two frames, and loses power: each choice of one lost frame or none, on each of its disks.

    The last frame moves the vector. If both disks lose the first frame, and not the last, then only a lower vector
    makes a send the lost entries again."""
    choices = (None, *range(FRAMES))
    for rs_lost, db_lost in product(choices, choices):
        # a seed of a world without bulk loads, which sync everything at their end
        world = World(8, _plan(["a", "b"], [("b", "a")]))
        a, b = world.nodes["a"], world.nodes["b"]
        a.start()
        assert a.store is not None
        a.store.writer.write([(b"k%d" % i, b"v") for i in range(FRAMES * FRAME_TARGET_ENTRIES)], False)
        b.start()
        world.run_for(5_000)
        assert b.store is not None
        if b.store.vector != a.store.vector:
            raise Broken("the vector did not arrive")
        b.kill()
        for disk, lost in ((b.rs_disk, rs_lost), (b.db_disk, db_lost)):
            if disk.unsynced_records != FRAMES:
                raise Broken(f"{disk.unsynced_records} records of {FRAMES} frames can be lost")
            disk.power_loss(_LosesOne(lost))
        b.boot += 1
        b.start()
        world.run_for(5_000)
        assert b.store is not None
        check_node(b)
        if contents(b) != contents(a):
            raise Broken(f"{b.store.keys} of {a.store.keys} keys are left after a power loss of {rs_lost}, {db_lost}")


def restored_backup() -> None:
    """a is restored from a backup, undetected, and writes before it meets b, which knows a write that a lost."""
    world = World(4, _plan(["a", "b"], [("b", "a")]))
    a, b = world.nodes["a"], world.nodes["b"]
    a.start()
    assert a.store is not None
    a.store.writer.put(b"1", b"before the backup", False)
    a.stop()
    disks = a.db_disk.copy(), a.rs_disk.copy()
    a.start()
    a.store.writer.put(b"2", b"after it", False)
    b.start()
    world.run_for(5_000)
    a.stop()
    world.cuts = {frozenset("ab")}
    a.db_disk, a.rs_disk = disks
    _hide_copy(a)
    world.run_for(100)
    a.start()
    a.store.writer.put(b"3", b"after the restore", False)
    world.cuts = set()
    world.run_for(10_000)
    assert b.store is not None
    for node in (a, b):
        assert node.store is not None
        check_node(node)
        if node.store.keys != 3:
            raise Broken(f"{node.name} has {node.store.keys} of 3 keys")
    if a.store.vector != b.store.vector:
        raise Broken("vectors differ")


def _hide_copy(node: SimNode) -> None:
    """Give the copy the identity of the original directory, as in an image of a whole disk."""
    engine = MemoryEngine(node.rs_disk, "rs")
    meta = load_meta(engine)
    assert meta is not None
    database = MemoryEngine(node.db_disk, "db")
    meta.identity, meta.db_identity = engine.identity(), database.identity()
    store_meta(engine, meta)
    engine.close()
    database.close()


def nothing_comes_back() -> None:
    """In a chain each change crosses each link once, in one direction."""
    world = World(6, _plan(["a", "b", "c"], [("a", "b"), ("b", "c")]))
    for node in world.nodes.values():
        node.start()
    world.run_for(3_000)
    for number in range(5):
        for node in world.nodes.values():
            assert node.store is not None
            assert node.coordinator is not None
            node.store.writer.put(b"%d of " % number + node.name.encode(), b"v", False)
            node.coordinator.local_change()
        world.run_for(50)
    world.run_for(3_000)
    world.check_sent_once()


def _tombstone_dropped_behind(world: World, *names: str, begun: bool = False) -> None:
    """c deletes `a` and drops the tombstone; the nodes with these `names` have received the put, but not the delete."""
    c = world.nodes["c"]
    if not begun:
        c.start()
    assert c.store is not None
    c.store.writer.put(b"a", b"1", False)
    c.store.writer.put(b"b", b"2", False)
    for name in names:
        world.nodes[name].start()
    world.run_for(3_000)
    world.cuts |= {frozenset((name, "c")) for name in names}
    _cut(world)
    c.store.writer.put(b"d", b"3", False)
    c.store.writer.delete(b"a", False)
    c.store.retention.drop_tombstones(c.store.clock.last)


def reconciles_alone() -> None:
    """While b reconciles with c, which has dropped the tombstone of `a`, a would send `a` to b, and then dies."""
    world = World(7, _plan(["a", "b", "c"], [("a", "c"), ("b", "a"), ("b", "c")]))
    a, b, c = (world.nodes[name] for name in "abc")
    b.start()
    c.start()
    assert c.store is not None
    c.store.writer.put(b"z", b"0", False)  # known to b, which gets no bulk load then, but reconciles
    world.run_for(3_000)
    world.cuts = {frozenset("ab"), frozenset("bc")}
    _cut(world)
    _tombstone_dropped_behind(world, "a", begun=True)
    world.cuts = {frozenset("ac"), frozenset("ab")}
    for _ in range(5_000):
        world.run_for(1)
        walker = None if b.coordinator is None else b.coordinator._reconciling_with
        if walker is not None and walker.puller._initiator is not None and walker.puller._initiator._fetching:
            break  # what the reconciliation has passed is behind it: it waits for what it fetches
    world.cuts = {frozenset("ac"), frozenset("bc")}  # what c answers waits
    world.run_for(4_000)
    world.cuts = {frozenset("ac"), frozenset("ab")}
    a.kill()
    world.run_for(4_000)
    assert b.store is not None
    if b.store._state.db.get(b"a") is not None and not b.coordinator.by_origin:
        raise Broken("b is not connected")
    world.cuts = set()
    world.run_for(10_000)
    for node in (b, c):
        assert node.store is not None
        check_node(node)
        if node.store._state.db.get(b"a") is not None:
            raise Broken(f"`a` came back on {node.name}")


def truncated_then_power_is_lost() -> None:
    """The values of truncated log entries are in the database, synced to the disk."""
    world = World(8, _plan(["a", "b"], [("b", "a")]))
    a = world.nodes["a"]
    for attempt in range(6):
        a.start()
        assert a.store is not None
        keys = [b"%d of %d" % (number, attempt) for number in range(5)]
        for key in keys:
            a.store.writer.put(key, b"v", False)
        a.store.retention.truncate()
        a.lose_power()
        a.start()
        assert a.store is not None
        check_node(a)
        if a.store.entries == 0 and any(a.store._state.db.get(key) is None for key in keys):
            raise Broken("a truncated entry is lost")
        if any(a.store._state.db.get(key) is None for key in keys):
            raise Broken("the value of a truncated entry was not on the disk")
        a.stop()


def deleted_while_away() -> None:
    """a returns after c has dropped the tombstone of `a`, and after a write of its own."""
    world = World(9, _plan(["a", "c"], [("a", "c")]))
    a, c = world.nodes["a"], world.nodes["c"]
    _tombstone_dropped_behind(world, "a")
    assert a.store is not None
    a.store.writer.put(b"own", b"4", False)
    world.cuts = set()
    world.run_for(10_000)
    for node in (a, c):
        assert node.store is not None
        check_node(node)
        if dict(node.store._state.db.scan()) != {b"b": b"2", b"d": b"3", b"own": b"4"}:
            raise Broken(f"{node.name} has {dict(node.store._state.db.scan())}")


def doubtful_until_written_again() -> None:
    """a, which missed a tombstone that b has dropped, sends `k` to b: the vector of b must not cover `k` yet."""
    world = World(10, _plan(["a", "b"], [("b", "a")]))
    a, b = world.nodes["a"], world.nodes["b"]
    a.start()
    b.start()
    world.run_for(3_000)
    world.cuts = {frozenset("ab")}
    assert a.store is not None
    assert a.coordinator is not None
    assert b.store is not None
    a.store.writer.put(b"k", b"1", False)
    a.coordinator.local_change()
    world.run_for(100)  # the round has left a
    b.store.writer.delete(b"other", False)
    b.store.retention.drop_tombstones(b.store.clock.last)
    world.cuts = set()
    world.run_for(20_000)
    for node in (a, b):
        assert node.store is not None
        check_node(node)
        if dict(node.store._state.db.scan()) != {b"k": b"1"}:
            raise Broken(f"{node.name} has {dict(node.store._state.db.scan())}")


def _nothing_to_wait_for(world: World) -> None:
    for node in world.nodes.values():
        if node.coordinator is None:
            continue
        assert node.store is not None
        if node.store.bulk_load_incomplete or floors_above(node.store._state):
            raise Broken(f"{node.name}: its bulk load is incomplete, or a floor is above the vector")
        for link in node.coordinator.by_origin.values():
            if link.puller.waits_for is not None:
                raise Broken(f"{node.name} waits for {link.puller.waits_for} of {world.name_of(link)}")


def bulk_load_from_a_peer_that_is_gone() -> None:
    """b disappears for good during the bulk load of a; c and d have never received anything of b."""
    world = World(12, _plan(list("abcd"), [("a", "b"), ("a", "c"), ("a", "d")]))
    world.plan.pieces = [5_000]
    a, b, c, d = (world.nodes[name] for name in "abcd")
    for node in (b, c, d):
        node.start()
        assert node.store is not None
        node.store.rounds.bulk_load_min_entries = 1
    assert b.store is not None
    b.store.writer.write([(b"%06d" % number, b"v") for number in range(4 * FRAME_TARGET_ENTRIES)], False)
    world.cuts = {frozenset("ac"), frozenset("ad")}
    a.start()
    assert a.store is not None
    for node in (a, c, d):
        assert node.store is not None
        node.store.leftover_watch.patience_ms = 1 << 40  # they would be re-stamped before the floors are lowered
        node.store.leftover_watch.long_patience_ms = 1 << 40
    for _ in range(5_000):
        world.run_for(1)
        if a.store.bulk_loading and a.store.keys >= FRAME_TARGET_ENTRIES:
            break
    if not a.store.bulk_loading:
        raise Broken("a did not begin a bulk load")
    world.cuts = {frozenset("ab")}
    _cut(world)
    b.kill()
    world.run_for(1_000)
    world.budget.begin(AFTER_FAULTS)
    world.run_for(FLOOR_PATIENCE_MS + 10_000)
    _nothing_to_wait_for(world)
    check_node(a)
    reconciled = world.said("a", "c", ReconcileStart)
    for node in (a, c):
        for number in range(5):
            assert node.store is not None
            assert node.coordinator is not None
            node.store.writer.put(b"%d of " % number + node.name.encode(), b"later", False)
            node.coordinator.local_change()
            world.run_for(1_000)
    if world.said("a", "c", ReconcileStart) > reconciled:
        raise Broken("c reconciled with a for a change that is in the log")
    for node in (c, d):
        assert node.store is not None
        if dict(node.store._state.db.scan()) != dict(a.store._state.db.scan()):
            raise Broken(f"{node.name} differs from a")


def never_whole() -> None:
    """a can never send one entry, which is damaged on its disk: b retries at growing intervals."""
    world = World(11, _plan(["a", "b"], [("b", "a")]))
    a, b = world.nodes["a"], world.nodes["b"]
    a.start()
    assert a.store is not None
    for key in (b"1", b"2", b"3"):
        a.store.writer.put(key, b"value", False)
    state = a.store._state
    state.db.put(b"2", b"damaged")
    for at in list(state.rs.scan_keys(LOG, following(LOG)))[1:2]:
        state.rs.put(at, b"damaged")
    b.start()
    world.budget.begin(SELDOM)
    world.run_for(60_000)
    assert b.store is not None
    if dict(b.store._state.db.scan()) != {b"1": b"value", b"3": b"value"}:
        raise Broken("b does not have what a can give")
    if b.store.vector:
        raise Broken("b claims to know what a could not give")


def ends_with_its_connection() -> None:
    """The connection breaks at each range query of b: b retries at growing intervals all the same."""
    world = World(11, _plan(["a", "b"], [("b", "a")]))
    a, b = world.nodes["a"], world.nodes["b"]
    a.start()
    assert a.store is not None
    a.store.writer.put(b"k", b"v", False)
    a.store.retention.truncate()
    b.start()
    world.budget.begin(SELDOM)
    asked = 0
    for _ in range(60_000):
        world.run_for(1)
        if world.said("b", "a", RangeQuery) > asked:
            asked = world.said("b", "a", RangeQuery)
            for connection in list(world.connections):
                connection.break_now()
    if not asked:
        raise Broken("b did not try")
    _cut(world)
    world.run_for(PULL_RETRY_CAP_MS)
    _nothing_to_wait_for(world)
    assert b.store is not None
    if dict(b.store._state.db.scan()) != {b"k": b"v"}:
        raise Broken("b differs from a, though the connection no longer breaks")


def conflict_met_in_a_reconciliation() -> None:
    """b reconciles with the index of a, whose row of `k` loses to b's own, which had not seen it."""
    world = World(11, _plan(["a", "b"], [("b", "a")]))
    a, b = world.nodes["a"], world.nodes["b"]
    a.start()
    assert a.store is not None
    a.store.writer.put(b"first", b"", False)
    b.start()
    world.run_for(3_000)
    world.cuts = {frozenset("ab")}
    _cut(world)
    assert b.store is not None
    a.store.writer.put(b"k", b"older", False)
    a.store.retention.truncate()
    world.run_for(1_000)
    b.store.writer.put(b"k", b"newer", False)
    world.cuts = set()
    world.run_for(10_000)
    told = [(name, each.winner.value, each.loser.value) for name, each in world.conflicts]
    if ("b", b"newer", b"older") not in told:
        raise Broken(f"b did not report the conflict that it met in a reconciliation: {told}")


def conflict_before_a_kill() -> None:
    """b is killed at each step of merging an entry that conflicts with its own, or later, before it reports."""
    for step in range(5):
        world = World(12, _plan(["a", "b"], [("b", "a")]))
        a, b = world.nodes["a"], world.nodes["b"]
        b._reports = _NotSoon()
        a.start()
        b.start()
        assert a.store is not None
        assert b.store is not None
        a.store.writer.put(b"k", b"newer", False)
        b.skew_ms = -5_000
        b.store.writer.put(b"k", b"older", False)
        b.kill_at_step = step
        world.run_for(2_000)
        if b.coordinator is not None:
            b.kill()
        b.start()
        world.run_for(20_000)
        told = {(name, each.winner.value, each.loser.value) for name, each in world.conflicts}
        if ("b", b"newer", b"older") not in told:
            raise Broken(f"b was killed at step {step}, and did not report the conflict: {told}")


class _NotSoon(Random):
    """Random source that chooses ten times the longest delay after which a node reports."""

    def choice(self, times: Any) -> Any:
        return 10 * max(times)


def read_before_a_power_loss() -> None:
    """A power loss takes a write that a reader has processed, but whose cursor the reader has not stored."""
    world = World(13, _plan(["a"], []))
    a = world.nodes["a"]
    a.start()
    assert a.store is not None
    a.store.writer.put(b"k", b"kept", False)
    a.stop()  # so that this is beyond doubt
    a.start()
    reader = Reader(Random(0))
    reader.finish(a)
    stored = reader.cursor
    a.store.writer.put(b"k", b"lost", False)
    reader.finish(a)
    a.kill()
    for disk in (a.db_disk, a.rs_disk):
        disk.power_loss(_LosesAll())
    a.boot += 1
    a.start()
    assert a.store._state.db.get(b"k") == b"kept"
    reader.go_on(stored)
    reader.finish(a)


def owed_to_a_reader_that_leaves() -> None:
    """A reader skips a write of b that is superseded at a, and continues at b, which lacks the newer write."""
    world = next(each for each in map(_two_that_have_met, range(14, 100)) if _origin(each, "b") < _origin(each, "a"))
    a, b = world.nodes["a"], world.nodes["b"]
    assert a.store is not None
    assert b.store is not None
    assert b.coordinator is not None
    b.store.writer.put(b"k", b"old", False)
    b.coordinator.local_change()
    world.run_for(1_000)
    world.cuts = {frozenset("ab")}
    _cut(world)
    a.store.writer.put(b"k", b"new", False)
    reader = Reader(Random(0))
    reader.read(a)  # of the lesser origin
    assert reader.contents == {}
    reader.finish(b)
    if reader.contents != {b"k": b"old"}:
        raise Broken(f"the reader has {reader.contents}")


def _two_that_have_met(seed: int) -> World:
    world = World(seed, _plan(["a", "b"], [("b", "a")]))
    for node in world.nodes.values():
        node.start()
        assert node.store is not None
        node.store.writer.put(b"of " + node.name.encode(), b"", False)
        node.store.writer.delete(b"of " + node.name.encode(), False)
    world.run_for(3_000)
    return world


def _origin(world: World, name: str) -> int:
    store = world.nodes[name].store
    assert store is not None
    return store.origin


class _LosesAll(Random):
    """Random source of a power loss that loses all unsynced records."""

    def choice(self, _shares: Any) -> Any:
        return 0.0

    def random(self) -> float:
        return 1.0


def _cut_only(world: World, *pairs: str) -> None:
    world.cuts.clear()
    _cut(world, *pairs)


def _restored_without_a_trace(world: World, *, first_run: bool) -> tuple[SimNode, SimNode, SimNode]:
    """a is restored from an image of itself, writes, and n pulls from it; p, which is cut off, has a write that a lost.

    `first_run`: a made the lost write in its first run, so that it belongs to no epoch. Return a, p and n."""
    a, p, n = (world.nodes[name] for name in "apn")
    _cut_only(world, "an", "pn")
    for node in (a, p, n):
        node.start()
    assert a.store is not None
    a.store.writer.put(b"before", b"v", False)
    if not first_run:
        a.stop()
    image = a.db_disk.copy(unseen=True), a.rs_disk.copy(unseen=True)
    if not first_run:
        a.start()
    a.store.writer.put(b"forgotten", b"v", False)
    assert a.coordinator is not None
    a.coordinator.local_change()
    world.run_for(10_000)
    if b"forgotten" not in contents(p):
        raise Broken("p does not have it")
    a.stop()
    a.db_disk, a.rs_disk = image
    _cut_only(world, "ap", "pn")
    a.start()
    a.store.writer.put(b"later", b"v", False)
    world.run_for(10_000)
    if b"later" not in contents(n):
        raise Broken("n does not have it")
    return a, p, n


def contents(node: SimNode) -> dict[bytes, bytes]:
    assert node.store is not None
    return dict(node.store._state.db.scan())


def _all_have_all(world: World, *nodes: SimNode) -> None:
    _cut_only(world)
    world.run_for(20_000)
    for node in nodes:
        check_node(node)
        if contents(node) != dict.fromkeys([b"before", b"forgotten", b"later"], b"v"):
            raise Broken(f"{node.name} has {contents(node)}")


def restored_and_read_by_a_newcomer() -> None:
    """The new node and the old peer each know an epoch that the other does not know."""
    world = World(21, _plan(["a", "p", "n"], [("a", "p"), ("n", "a"), ("n", "p")]))
    _all_have_all(world, *_restored_without_a_trace(world, first_run=False))


def restored_to_the_first_run() -> None:
    """The old peer knows no epoch, and has newer writes of the origin than the start of the new node's epoch."""
    world = World(22, _plan(["a", "p", "n"], [("a", "p"), ("n", "a"), ("n", "p")]))
    _all_have_all(world, *_restored_without_a_trace(world, first_run=True))


def told_while_it_was_on_its_way() -> None:
    """p sends n a write that a has lost. When it arrives, n knows the epoch of a's later writes, which p did not know.

    n's vector covers the stamp: taken for a superseded write it would be buried, and lost everywhere."""
    # a seed in which the epoch is greater than the origin, so that a tombstone of the same stamp would win
    world = World(24, _plan(["a", "p", "n"], [("a", "p"), ("p", "n"), ("a", "n")]))
    a, p, n = (world.nodes[name] for name in "apn")
    _cut_only(world, "an")
    for node in (a, p, n):
        node.start()
    assert a.store is not None
    assert a.coordinator is not None
    a.store.writer.put(b"before", b"v", False)
    a.coordinator.local_change()
    world.run_for(5_000)
    image = a.db_disk.copy(unseen=True), a.rs_disk.copy(unseen=True)
    world.cuts.add(frozenset("pn"))  # no connection ends: sent bytes wait in transit
    a.store.writer.put(b"forgotten", b"v", False)
    a.coordinator.local_change()
    world.run_for(500)
    a.stop()
    a.db_disk, a.rs_disk = image
    world.cuts = {frozenset("pn"), frozenset("ap")}
    a.start()
    a.store.writer.put(b"later", b"v", False)
    world.run_for(2_000)
    if b"later" not in contents(n) or not p.coordinator or not p.coordinator.connections:
        raise Broken("n has no entry of a, or p and n are not connected")
    _all_have_all(world, a, p, n)


def histories_travel() -> None:
    """A node that is not connected to the restarted node receives its epoch before the entries written in it."""
    world = World(25, _plan(["a", "b", "c"], [("a", "b"), ("b", "c")]))
    a, b, c = (world.nodes[name] for name in "abc")
    for node in (a, b, c):
        node.start()
    assert a.store is not None
    a.store.writer.put(b"k", b"1", False)
    world.run_for(5_000)
    a.stop()
    a.start()
    world.run_for(5_000)
    a.store.writer.put(b"k", b"2", False)
    assert a.coordinator is not None
    a.coordinator.local_change()
    world.run_for(5_000)
    assert c.store is not None
    if contents(c) != {b"k": b"2"} or c.store.histories != a.store.histories or len(a.store.histories) != 1:
        raise Broken(f"c knows {dict(c.store.histories)}, a {dict(a.store.histories)}")


def forked_in_what_was_restamped() -> None:
    """r's scan of a breaks off, and r re-stamps the entries that it has. Then a is restored from an image of its first
    run, and n pulls its later writes. The entries that r re-stamped are all that is left of the first continuation."""
    world = World(2, _plan(["a", "r", "n"], [("r", "a"), ("n", "a"), ("r", "n")]))
    world.plan.pieces = [20_000]
    a, r, n = (world.nodes[name] for name in "arn")
    _cut_only(world, "an", "rn")
    a.start()
    assert a.store is not None
    a.store.writer.put(b"before", b"v", True)
    image = a.db_disk.copy(unseen=True), a.rs_disk.copy(unseen=True)
    a.store.writer.write([(b"k%04d" % i, b"." * 4_000) for i in range(980)], True)
    r.start()
    assert r.store is not None
    while not r.store.keys:
        world.run_for(1)
    a.kill()
    got = contents(r).keys()
    _cut_only(world, "ar", "an", "rn")
    world.run_for(60_000)
    if not r.store.restamped[0]:
        raise Broken("r has re-stamped nothing")
    a.db_disk, a.rs_disk = image
    _cut_only(world, "ar", "rn")
    a.start()
    n.start()
    assert a.store is not None
    assert a.coordinator is not None
    a.store.writer.put(b"later", b"v", True)
    a.coordinator.local_change()
    world.run_for(10_000)
    if b"later" not in contents(n):
        raise Broken("n does not have it")
    _cut_only(world)
    world.run_for(60_000)
    for node in (a, r, n):
        if contents(node).keys() != got | {b"before", b"later"}:
            raise Broken(f"{node.name} has {len(contents(node))} keys of {len(got | {b'before', b'later'})}")


_FAMILY = 7 << 40


def _named(node: SimNode, *numbers: int) -> None:
    """Give the origin of a node, and then its epochs, these numbers in one family."""
    left = list(numbers)

    def random_bytes(count: int) -> bytes:
        return (_FAMILY + left.pop(0)).to_bytes(8, "big")[-count:]

    node._random_bytes = random_bytes  # type: ignore[method-assign]


def equal_stamps_and_a_fork() -> None:
    """c orders two writes with equal stamps whose origins are of one family: a's delete and x's put. Then d, an older
    copy of a, connects, and a's delete gets an origin that is greater than x's. a still orders the two in the same way.
    """
    world = World(26, _plan(["a", "x", "c", "d"], [("a", "c"), ("x", "c"), ("d", "c")], clock="frozen"))
    a, x, c, d = (world.nodes[name] for name in "axcd")
    _named(a, 100, 300)
    _named(x, 200)
    _named(d, 400)
    a.start()
    assert a.store is not None
    a.store.writer.put(b"before", b"v", False)
    a.stop()
    d.db_disk, d.rs_disk = a.db_disk.copy(unseen=True), a.rs_disk.copy(unseen=True)
    _cut_only(world, "xc", "dc")
    a.start()
    assert a.store is not None
    a.store.writer.delete(b"k", False)
    c.start()
    world.run_for(5_000)
    _cut_only(world, "ac", "dc")
    x.start()
    assert x.store is not None
    x.store.writer.put(b"other", b"v", False)
    x.store.writer.put(b"k", b"v", False)
    if x.store.clock.last != a.store.clock.last:
        raise Broken("the two writes have different stamps")
    world.run_for(5_000)
    _cut_only(world, "ac")
    d.start()
    assert d.store is not None
    d.store.writer.put(b"later", b"v", False)
    world.run_for(5_000)
    assert c.store is not None
    if set(c.store.branches) != {_FAMILY + 300, _FAMILY + 400}:
        raise Broken(f"c knows the branches {dict(c.store.branches)}")
    _cut_only(world)
    world.run_for(20_000)
    if any(contents(node) != contents(c) for node in world.nodes.values()):
        raise Broken(f"diverged: {[contents(node) for node in world.nodes.values()]}")


AIMED: dict[str, Callable[[], None]] = {
    "vector-beyond-entries": vector_beyond_entries,
    "broken-scan-resumes": broken_scan_resumes,
    "superseded-while-broken-off": superseded_while_broken_off,
    "power-loss-loses-what-the-vector-covers": power_loss_loses_what_the_vector_covers,
    "restored-backup": restored_backup,
    "nothing-comes-back": nothing_comes_back,
    "reconciles-alone": reconciles_alone,
    "truncated-then-power-is-lost": truncated_then_power_is_lost,
    "deleted-while-away": deleted_while_away,
    "doubtful-until-written-again": doubtful_until_written_again,
    "bulk-load-from-a-peer-that-is-gone": bulk_load_from_a_peer_that_is_gone,
    "never-whole": never_whole,
    "ends-with-its-connection": ends_with_its_connection,
    "conflict-met-in-a-reconciliation": conflict_met_in_a_reconciliation,
    "conflict-before-a-kill": conflict_before_a_kill,
    "read-before-a-power-loss": read_before_a_power_loss,
    "owed-to-a-reader-that-leaves": owed_to_a_reader_that_leaves,
    "restored-and-read-by-a-newcomer": restored_and_read_by_a_newcomer,
    "restored-to-the-first-run": restored_to_the_first_run,
    "told-while-it-was-on-its-way": told_while_it_was_on_its_way,
    "histories-travel": histories_travel,
    "forked-in-what-was-restamped": forked_in_what_was_restamped,
    "equal-stamps-and-a-fork": equal_stamps_and_a_fork,
}
