"""Damage on one disk: it is never sent, and what can be had elsewhere still arrives."""

from __future__ import annotations

from level_replicator.core.entry import INDEX_HEAD, encode_entry
from level_replicator.storage.state.schema import LOG, following, log_key
from level_replicator.storage.state.state import ReplicationState
from tests.simulation.aimed import _plan
from tests.simulation.checks import check_node
from tests.simulation.world import World

KEYS = [b"%d" % number for number in range(40)]


def _worlds() -> tuple[World, ReplicationState]:
    """a has written, and b has not met it yet."""
    world = World(1, _plan(["a", "b"], [("b", "a")]))
    a = world.nodes["a"]
    a.start()
    assert a.store is not None
    for key in KEYS:
        a.store.writer.put(key, b"value of " + key, False)
    return world, a.store._state


def _damage_log(state: ReplicationState) -> None:
    for at in list(state.rs.scan_keys(LOG, following(LOG)))[10:13]:
        record = state.rs.get(at)
        assert record is not None
        state.rs.put(at, record[:-1] + b"?")


def test_a_damaged_entry_is_served_from_the_database() -> None:
    world, state = _worlds()
    _damage_log(state)
    b = world.nodes["b"]
    b.start()
    world.run_for(5_000)
    assert b.store is not None
    assert dict(b.store._state.db.scan()) == dict(state.db.scan())
    assert b.store.vector == state.vector
    check_node(b)


def test_a_damaged_entry_of_the_last_batch_does_not_keep_it_from_opening() -> None:
    world, state = _worlds()
    a = world.nodes["a"]
    last = max(state.rs.scan_keys(LOG, following(LOG)))
    state.rs.put(last, b"damaged")
    a.kill()
    a.start()
    assert a.store is not None
    assert len(dict(a.store._state.db.scan())) == len(KEYS)
    report = a.store.verify(repair=True, progress=lambda keys: None)
    assert (report.damaged, report.repaired, report.left) == (1, 1, 0)
    check_node(a)


def test_the_same_written_around_both_does_not_part_them() -> None:
    """Equal checksums under different dots, and another value in both databases, while the peer's log has the entry."""
    world = World(1, _plan(["a", "b"], [("b", "a")]))
    a, b = world.nodes["a"], world.nodes["b"]
    for node in (b, a):  # a's is the newer one
        node.start()
        world.now_ms += 1
        assert node.store is not None
        node.store.writer.put(b"k", b"equal", False)
    assert a.store is not None
    assert b.store is not None
    a.store.writer.put(b"first", b"", False)
    a.store.retention.truncate()
    a.store._state.floor = {a.store.origin: a.store.vector[a.store.origin]}
    line = a.store._state.rs.get(b"ik")
    assert line is not None
    stamp = INDEX_HEAD.unpack_from(line)[0]
    a.store._state.rs.put(log_key(a.store.origin, stamp), encode_entry(stamp, b"k", b"equal")[0])
    for node in (a, b):
        assert node.store is not None
        node.store._state.db.put(b"k", b"around")
    world.run_for(10_000)
    assert b.store.vector.get(a.store.origin) == a.store.vector[a.store.origin]
    assert b.store._state.db.get(b"k") == b"equal"


def test_what_is_damaged_in_both_is_not_sent_and_not_claimed() -> None:
    world, state = _worlds()
    _damage_log(state)
    state.db.put(KEYS[11], b"something else")
    a, b = world.nodes["a"], world.nodes["b"]
    b.start()
    world.run_for(5_000)
    assert b.store is not None
    received = dict(b.store._state.db.scan())
    assert received == {key: b"value of " + key for key in KEYS if key != KEYS[11]}
    assert b.store.vector == {}, "what is lacking would never be asked for again"
    check_node(b)
    # and verify brings it right: the value that is there is adopted, everybody ends with the same
    assert a.store is not None
    assert a.coordinator is not None
    assert a.store.verify(repair=True, progress=lambda keys: None).lost
    report = a.store.verify(repair=True, progress=lambda keys: None)
    assert report.new_origin
    assert report.given_up
    assert report.left == 0
    a.coordinator.end_connections()
    world.run_for(30_000)
    assert a.store.verify(repair=False, progress=lambda keys: None).sound
    assert dict(b.store._state.db.scan()) == dict(a.store._state.db.scan())
    assert b.store.vector == a.store.vector
    assert dict(b.store._state.db.scan())[KEYS[11]] == b"something else"
