"""Values that are lost on one node come back from its peers, and take nothing else along."""

import pytest

from level_replicator.core.entry import decode_index
from level_replicator.storage.state.schema import INDEX, LOST, following
from level_replicator.storage.store import Reconciling
from level_replicator.storage.write import lost
from tests.simulation.aimed import _plan, contents
from tests.simulation.node import SimNode
from tests.simulation.world import World
from tests.unit.storage.reconciling import reconcile, round_for
from tests.unit.storage.rig import Rig, dots, pull
from tests.unit.storage.rig import contents as held

NEVER = 1 << 63


def _two() -> tuple[World, SimNode, SimNode]:
    world = World(5, _plan(["a", "p"], [("p", "a")]))
    a, p = world.nodes["a"], world.nodes["p"]
    for node in (a, p):
        node.start()
    return world, a, p


def _repair(world: World, node: SimNode) -> None:
    assert node.store is not None
    assert node.coordinator is not None
    assert node.store.verify(repair=True, progress=lambda keys: None).lost == 1
    node.coordinator.end_connections()


@pytest.mark.parametrize("value", [b"damaged", None])
def test_a_restamped_value_comes_back_and_is_not_buried(value: bytes | None) -> None:
    """Its `written` is covered by vectors that say nothing of its dot."""
    world, a, p = _two()
    assert a.store is not None
    assert a.coordinator is not None
    assert p.store is not None
    a.store.writer.put(b"gone", b"x", False)
    a.coordinator.local_change()
    world.run_for(5_000)
    world.cuts = {frozenset("ap")}
    for connection in list(world.connections):
        connection.break_now()
    p.store.writer.put(b"k", b"precious", True)
    world.run_for(1_000)
    a.store.writer.delete(b"gone", False)
    a.store.retention.truncate()
    assert a.store.retention.drop_tombstones(NEVER) == 1
    world.cuts = set()
    world.run_for(20_000)
    line = a.store._state.rs.get(INDEX + b"k")
    assert line is not None
    assert decode_index(line).written
    a.store.retention.truncate()
    if value is None:
        a.store._state.db.delete(b"k")
    else:
        a.store._state.db.put(b"k", value)
    _repair(world, a)
    world.run_for(60_000)
    assert contents(a) == contents(p) == {b"k": b"precious"}
    assert a.store.lost == 0
    assert next(iter(a.store._state.rs.scan_keys(LOST, following(LOST))), None) is None


def test_a_loss_does_not_forget_which_deletes_were_seen() -> None:
    world, a, p = _two()
    assert a.store is not None
    assert a.coordinator is not None
    a.store.writer.put(b"k1", b"v1", True)
    a.store.writer.put(b"k2", b"v2", True)
    a.coordinator.local_change()
    world.run_for(5_000)
    p.stop()
    a.store.writer.delete(b"k2", True)
    a.store.retention.truncate()
    assert a.store.retention.drop_tombstones(NEVER) == 1
    a.store._state.db.put(b"k1", b"damaged")
    _repair(world, a)
    p.start()
    world.run_for(120_000)
    assert contents(a) == contents(p) == {b"k1": b"v1"}


def _with_a_loss() -> tuple[Rig, Rig]:
    """The second one has a value that is lost on the first one."""
    rig, other = Rig(1), Rig(2)
    store, peer = rig.open(), other.open()
    store.writer.put(b"a", b"1", False)
    store.writer.put(b"b", b"2", False)
    pull(peer, store)
    store._state.db.delete(b"a")
    stamp, origin = dots(store)[b"a"]
    store._state.rs.delete(b"l" + origin.to_bytes(8, "big") + stamp.to_bytes(8, "big"))
    store.verify(repair=True, progress=lambda keys: None)
    assert store.lost == 1
    return rig, other


def test_who_lacks_it_is_not_served_the_log() -> None:
    """The log has no entry of it: a round would claim it."""
    rig, other = _with_a_loss()
    assert rig.store is not None
    assert other.store is not None
    third = Rig(3).open()
    assert isinstance(round_for(rig.store, third), Reconciling)
    pull(third, other.store)
    assert not isinstance(round_for(rig.store, third), Reconciling)


def test_it_is_remembered_over_a_restart_and_forgotten_when_it_is_written_again() -> None:
    rig, other = _with_a_loss()
    store = rig.reopen_after_kill()
    assert store.lost == 1
    store.writer.put(b"a", b"3", False)
    store.close()
    store = rig.open()
    assert store.lost == 0
    assert other.store is not None
    pull(other.store, store)
    assert held(other.store) == {b"a": b"3", b"b": b"2"}


def test_the_counts_of_entries_stay_right() -> None:
    rig, other = _with_a_loss()
    assert rig.store is not None
    assert other.store is not None
    counted = rig.store._state.entries
    reconcile(other.store, rig.store)
    assert (rig.store.lost, rig.store._state.entries) == (0, counted + 1)
    assert rig.store.verify(repair=False, progress=lambda keys: None).sound


def test_what_is_too_much_to_be_written_down_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost, "MAX_LOST_KEYS", 1)
    rig = Rig(1)
    store = rig.open()
    store.writer.write([(b"a", b"1"), (b"b", b"2")], False)
    store.retention.truncate()
    for key in (b"a", b"b"):
        store._state.db.delete(key)
    report = store.verify(repair=True, progress=lambda keys: None)
    assert (report.given_up, report.new_origin, store.lost) == (2, True, 0)
