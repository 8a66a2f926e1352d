"""Power losses around what a reconciliation takes away: no deleted key comes back, though nobody has its tombstone any
more."""

from __future__ import annotations

from random import Random

import pytest

from level_replicator.core.reconcile_rules import ReconcileContext
from level_replicator.storage.reconcile.resolver import Resolver
from level_replicator.storage.store import Store
from tests.unit.storage.rig import Died, Rig, assert_sound, contents, dots, pull

STEPS = ["resolve: between rs and db", "resolve: after db", None]
CHOICES = 30
"""Of what a power loss takes."""


def take_away(store: Store) -> None:
    """What a peer, which has nothing, makes of our keys: it knew all values and has dropped all tombstones."""
    reconcile_context = ReconcileContext(
        dict(store.vector), dict(store.vector), stale=True, their_dropped=store.clock.last
    )
    resolver = Resolver(store._state, 1, reconcile_context, {}, sync=False)
    resolved = resolver.resolve(b"", b"", [])
    assert (resolved.next_key, resolved.wanted) == (None, [])


@pytest.mark.parametrize("choice", range(CHOICES))
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("deleted", [False, True])
def test_what_a_reconciliation_took_away_is_not_taken_over_again(deleted: bool, step: str | None, choice: int) -> None:
    rig = Rig(choice)
    store = rig.open()
    store.writer.put(b"k", b"v", True)
    written = dots(store)[b"k"][0]
    if deleted:
        store.writer.delete(b"k", False)
    rig.die_at = step
    try:
        take_away(store)
    except Died:
        assert step is not None
    rig.kill()
    rng = Random(choice)
    for disk in (rig.rs_disk, rig.db_disk):
        disk.power_loss(rng)
    rig.boot, rig.die_at = b"second", None
    store = rig.open()
    assert_sound(store)
    if b"k" in contents(store):  # as before the reconciliation, or even before the delete
        assert dots(store)[b"k"][0] == written


@pytest.mark.parametrize("again", [False, True])
def test_what_is_written_after_it_stays(again: bool) -> None:
    rig = Rig()
    store = rig.open()
    store.writer.put(b"k", b"v", True)
    take_away(store)
    if again:
        store.close()
        store = rig.open()
    store.writer.put(b"k", b"again", True)
    rig.kill()
    for disk in (rig.rs_disk, rig.db_disk):
        disk.power_loss(Random(1))
    rig.boot = b"second"
    assert contents(rig.open()) == {b"k": b"again"}


class Share(Random):
    """Of a power loss that leaves all, or nothing, of what was not synced."""

    def __init__(self, share: float) -> None:
        super().__init__(0)
        self.share = share

    def choice(self, _choices: object) -> float:  # type: ignore[override]
        return self.share


def test_a_value_whose_entry_is_lost_goes_where_tombstones_were_dropped() -> None:
    """It was not synced. As a new write it could outlive a delete that had seen it, and that is forgotten."""
    rig, other = Rig(1), Rig(2).open()
    store = rig.open()
    store.writer.put(b"k", b"old", True)
    store.writer.delete(b"k", True)
    assert pull(other, store)
    store.retention.drop_tombstones(store.vector[store.origin])
    store.writer.put(b"other", b"", True)
    store.writer.put(b"k", b"new", False)
    rig.kill()
    rig.rs_disk.power_loss(Share(0.0))
    rig.db_disk.power_loss(Share(1.0))
    rig.boot = b"second"
    store = rig.open()
    assert contents(store) == {b"other": b""}
    assert pull(store, other)
    assert pull(other, store)
    assert contents(other) == contents(store)
    assert other.vector == store.vector
