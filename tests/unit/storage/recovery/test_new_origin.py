"""A node that goes on as a new origin forgets nothing that it knew, and turns no write into a newer one."""

import pytest

from level_replicator.core.entry import decode_entry, decode_index
from level_replicator.protocol.events import EntriesReceived
from level_replicator.protocol.push import PullSender
from level_replicator.storage.feed.round_planner import Round
from level_replicator.storage.feed.send_queue import SendQueue
from level_replicator.storage.state.meta import NEW_ORIGIN_REQUESTED, load_meta, store_meta
from level_replicator.storage.state.schema import INDEX
from level_replicator.storage.store import Store
from level_replicator.storage.write.merger import Merger
from tests.harness.memory_engine import MemoryEngine
from tests.simulation.aimed import _LosesAll, _plan
from tests.simulation.aimed import contents as held
from tests.simulation.world import World
from tests.unit.storage.rig import Died, Rig, contents, pull

NEVER = 1 << 63


def ask_for_new_origin(rig: Rig, *, traced: bool = True) -> None:
    rs = MemoryEngine(rig.rs_disk, "rs")
    meta = load_meta(rs)
    assert meta is not None
    meta.identity, meta.traced = NEW_ORIGIN_REQUESTED, traced
    store_meta(rs, meta)
    rs.close()


@pytest.mark.parametrize("drop", [False, True])
def test_new_origin_on_the_image_of_a_running_node(drop: bool) -> None:
    """What it wrote in its last run stays the write that the other node has, and has overwritten or deleted since."""
    world = World(5, _plan(["a", "b"], [("b", "a")]))
    a, b = world.nodes["a"], world.nodes["b"]
    a.start()
    assert a.store is not None
    a.store.writer.put(b"k", b"v1", True)
    a.store.writer.put(b"d", b"x", True)
    b.db_disk, b.rs_disk = a.db_disk.copy(unseen=True), a.rs_disk.copy(unseen=True)
    b.boot = 77  # on another machine
    world.run_for(1_000)
    a.store.writer.put(b"k", b"v2", True)
    a.store.writer.delete(b"d", True)
    if drop:
        a.store.retention.truncate()
        assert a.store.retention.drop_tombstones(NEVER) == 1
    b.ask_for_new_origin()
    b.start()
    assert b.store is not None
    assert b.store.origin != a.store.origin
    world.run_for(60_000)
    assert held(a) == held(b) == {b"k": b"v2"}
    assert not world.conflicts


@pytest.mark.parametrize("requested", [False, True])
def test_a_copy_made_in_the_middle_of_an_origin_change_is_one(requested: bool) -> None:
    rig = Rig(1)
    store = rig.open()
    store.writer.put(b"k", b"v", True)
    rig.kill()
    rig.boot, rig.die_at = b"second", "origin change: announced"
    with pytest.raises(Died):
        rig.open()
    rig.die_at = None
    copy = Rig(2)
    copy.boot = b"other machine"
    copy.db_disk, copy.rs_disk = rig.db_disk.copy(), rig.rs_disk.copy()
    if requested:
        ask_for_new_origin(copy)
    assert rig.open().origin != copy.open().origin


@pytest.mark.parametrize("traced", [False, True])
def test_a_restamped_write_does_not_become_a_newer_one(traced: bool) -> None:
    """Its place is that of the write, and not that of the dot under which it travels."""
    rig, other = Rig(3), Rig(4)
    store, peer = rig.open(), other.open()
    store.writer.put(b"k", b"old", True)
    pull(peer, store)
    other.now_ms += 500
    peer.writer.put(b"k", b"newer, has seen old", True)
    rig.now_ms += 1_000
    line = store._state.rs.get(INDEX + b"k")
    assert line is not None
    with store._state.applying("a reconciliation"):
        merger = Merger(store._state, sync=True)
        merger.restamp_ours(b"k", decode_index(line))
        merger.write("resolve")
    rig.kill()
    ask_for_new_origin(rig, traced=traced)
    rig.boot = b"second"
    store = rig.open()
    pull(store, peer)
    pull(peer, store)
    assert contents(store) == contents(peer) == {b"k": b"newer, has seen old"}


def test_what_was_given_up_is_not_claimed_again_after_a_power_loss() -> None:
    rig, other = Rig(2), Rig(1)
    store, peer = rig.open(), other.open()
    for key in (b"x", b"lost", b"y"):
        peer.writer.put(key, b"value of " + key, True)
    pull(store, peer)
    store.retention.truncate()
    store._state.db.delete(b"lost", sync=True)
    for _ in range(2):
        report = store.verify(repair=True, progress=lambda keys: None)
    assert report.given_up
    store._state.rs.batch(sync=True).write()
    rig.db_disk.power_loss(rig.rng)
    rig.rs_disk.power_loss(rig.rng)
    rig.boot = b"second"
    store = rig.open()
    pull(store, peer)
    assert contents(store) == contents(peer)


def test_values_of_a_bulk_load_are_on_the_disk_before_it_counts_as_complete() -> None:
    world = World(5, _plan(["a", "n"], [("n", "a")]))
    a, n = world.nodes["a"], world.nodes["n"]
    a.start()
    assert a.store is not None
    for number in range(2_000):
        a.store.writer.put(b"k%04d" % number, b"v", True)
    n.start()
    world.run_for(5_000)
    assert n.store is not None
    assert n.store.floor
    assert not n.store.bulk_load_incomplete
    n.kill()
    n.db_disk.power_loss(_LosesAll())
    n.boot += 1
    n.start()
    world.run_for(60_000)
    assert held(n) == held(a)
    assert not world.conflicts


def test_a_doubtful_value_of_a_peer_that_takes_nothing_from_us_is_counted_once() -> None:
    other, rig = Rig(5), Rig(6)
    peer, store = other.open(), rig.open()
    peer.writer.put(b"k", b"v", True)
    rig.now_ms += 10
    store.writer.put(b"gone", b"v", True)
    store.writer.delete(b"gone", True)
    store.retention.truncate()
    assert store.retention.drop_tombstones(NEVER) == 1
    opened = peer.rounds.open_next(SendQueue(store.origin, []), dict(store.vector), {})
    assert isinstance(opened, Round)
    push = PullSender()
    push.begin(opened.target, opened.work)
    read = push.next_read()
    assert read is not None
    records, _ = opened.reader.read(read, 10, 1 << 20)
    entries = [decode_entry(record) for record in records]
    frame = EntriesReceived(peer.origin, 0, read.high, entries, read.high, opened.target)
    assert store.apply(frame, peer.origin, opened.target, peer_pulls=False).whole
    line = store._state.rs.get(INDEX + b"k")
    assert line is not None
    assert decode_index(line).origin == store.origin, "it was re-stamped"
    _assert_counted(store, rig)


def _assert_counted(store: Store, rig: Rig) -> None:
    assert store.keys == len(contents(store)) == 1
    store.close()
    assert rig.open().keys == 1
