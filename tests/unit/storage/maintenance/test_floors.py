"""Floors above the vector: what a bulk load leaves whose peer is gone, and how the log is made whole again."""

from __future__ import annotations

from random import Random

import pytest

from level_replicator.core.limits import BULK_LOAD_PATIENCE_MS, FLOOR_PATIENCE_CAP_MS, FLOOR_PATIENCE_MS
from level_replicator.core.version_vector import newer
from level_replicator.storage.feed.round_planner import ReconcileOffer, Round
from level_replicator.storage.feed.send_queue import SendQueue
from level_replicator.storage.maintenance import floors
from level_replicator.storage.maintenance.floors import FloorWatch
from level_replicator.storage.state.schema import BULK_LOADING, INDEX
from level_replicator.storage.store import Store
from tests.harness.memory_engine import MemoryBatch
from tests.unit.storage.reconciling import reconcile, reconciling, round_for
from tests.unit.storage.rig import Died, Rig, assert_sound, contents, dots, pull

MANY = 3_000
STEPS = ["floors: before rs", "floors: after rs", "floors: before the last batch", "floors: after the last batch"]


def _source(count: int = MANY) -> Store:
    store = Rig(1).open()
    store.writer.write([(b"%06d" % number, b"v%d" % number) for number in range(count)], False)
    return store


def _left_by_a_peer_that_is_gone() -> tuple[Store, Rig]:
    """A reader whose bulk load broke off, and which has a write of its own."""
    source, rig = _source(), Rig(2)
    reader = rig.open()
    reader.writer.put(b"own", b"mine", False)
    reconciliation = reconciling(source, reader)
    next(reconciliation)
    reconciliation.close()  # type: ignore[attr-defined]
    reader.end_reconciliation()
    return reader, rig


def _whole(store: Store) -> None:
    assert_sound(store)
    assert not newer(store.floor, store.vector)


def _sent_to(third: Store, source: Store) -> list[bool]:
    """Whether a peer that has reconciled with the source is sent rounds of each of its later changes."""
    feed = SendQueue(third.origin, (), rows=third.keys)
    opened = source.rounds.open_next(feed, {}, {})
    assert isinstance(opened, ReconcileOffer)
    feed.completed()
    rounds = []
    for number in range(3):
        source.writer.put(b"later %d" % number, b"", False)
        rounds.append(isinstance(source.rounds.open_next(feed, dict(opened.vector), {}), Round))
        feed.completed()
    return rounds


def test_the_log_is_made_whole_and_the_bulk_load_can_be_continued() -> None:
    reader, rig = _left_by_a_peer_that_is_gone()
    had, before = contents(reader), dots(reader)
    assert newer(reader.floor, reader.vector)
    assert reader.retention.lower_floors() == 1_024
    _whole(reader)
    assert not reader._state.late
    assert reader.entries == 1_025
    assert (contents(reader), dots(reader)) == (had, before)
    reader.close()
    reader = rig.open()
    _whole(reader)
    assert reader.bulk_load_incomplete
    source = _source()
    reader.rounds.bulk_load_own_rows = -1  # as of a reader with more rows
    assert sum(len(frame.entries) for frame in reconcile(source, reader)) == MANY - 1_024
    assert not reader.bulk_load_incomplete
    _whole(reader)


def test_without_it_a_peer_would_reconcile_for_each_change() -> None:
    reader, rig = _left_by_a_peer_that_is_gone()
    third = Rig(3).open()
    assert _sent_to(third, reader) == [False, False, False]
    reader.close()
    reader = rig.open()
    reader.retention.lower_floors()
    assert isinstance(round_for(reader, third), Round)
    pull(third, reader)
    assert contents(third) == contents(reader)
    assert_sound(third)


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_leaves_what_can_be_continued(step: str) -> None:
    reader, rig = _left_by_a_peer_that_is_gone()
    had, before = contents(reader), dots(reader)
    rig.die_at = step
    with pytest.raises(Died):
        reader.retention.lower_floors()
    reader = rig.reopen_after_kill()
    assert_sound(reader)
    assert (contents(reader), dots(reader)) == (had, before)
    reader.retention.lower_floors()
    _whole(reader)
    assert (contents(reader), dots(reader)) == (had, before)


@pytest.mark.parametrize("seed", range(40))
def test_a_power_loss_leaves_what_is_sound_and_what_a_peer_completes(seed: int) -> None:
    reader, rig = _left_by_a_peer_that_is_gone()
    random = Random(seed)
    rig.die_at = random.choice([*STEPS, None])
    if rig.die_at is None:
        reader.retention.lower_floors()
    else:
        with pytest.raises(Died):
            reader.retention.lower_floors()
    rig.kill()
    rig.db_disk.power_loss(random)
    rig.rs_disk.power_loss(random)
    rig.die_at, rig.boot = None, b"second"
    reader = rig.open()
    assert_sound(reader)
    reader.retention.lower_floors()
    _whole(reader)
    source = _source()
    reconcile(source, reader)
    assert contents(reader).items() >= contents(source).items()
    _whole(reader)


def test_any_whole_reconciliation_completes_a_bulk_load() -> None:
    """Also one with a peer that does not know the origin of the one that is gone."""
    reader, rig = _left_by_a_peer_that_is_gone()
    other = Rig(4).open()
    other.writer.put(b"of the other", b"1", False)
    reconcile(other, reader)
    assert not reader.bulk_load_incomplete
    assert reader._state.rs.get(BULK_LOADING) is None
    assert newer(reader.floor, reader.vector), "and the rest is for lower_floors"
    reader.retention.lower_floors()
    _whole(reader)
    reader.close()
    _whole(rig.open())


def test_nothing_is_done_while_a_bulk_load_is_under_way() -> None:
    reader, _ = _left_by_a_peer_that_is_gone()
    source = _source()
    reconciliation = reconciling(source, reader)
    next(reconciliation)
    assert reader.retention.lower_floors() == 0
    list(reconciliation)
    _whole(reader)


def test_a_bulk_load_that_begins_meanwhile_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """It breaks off again, and leaves more rows without an entry in the log."""
    monkeypatch.setattr(floors, "RETENTION_BATCH", 1_024)
    reader, _ = _left_by_a_peer_that_is_gone()
    reconciliation = reconciling(_source(), reader)
    loads = 0

    def load() -> bool:
        nonlocal loads
        loads += 1
        if loads == 2:  # when all rows of the first one are in the log again
            next(reconciliation)
            reconciliation.close()  # type: ignore[attr-defined]
            reader.end_reconciliation()
        return True

    reader.retention.lower_floors(pause=load)
    assert loads == 2
    assert_sound(reader)
    assert newer(reader.floor, reader.vector)
    assert reader.retention.lower_floors() > 0
    _whole(reader)


def test_what_is_written_deleted_and_forgotten_meanwhile() -> None:
    reader, _ = _left_by_a_peer_that_is_gone()
    changed = False

    def change() -> bool:
        nonlocal changed
        if not changed:
            changed = True
            reader.writer.write([(b"%06d" % number, None if number % 2 else b"mine") for number in range(1_024)], False)
        return True

    reader.retention.lower_floors(pause=change)
    _whole(reader)
    assert reader.retention.lower_floors() == 0


def test_it_can_be_ended_between_two_batches_and_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floors, "RETENTION_BATCH", 100)
    reader, _ = _left_by_a_peer_that_is_gone()
    assert reader.retention.lower_floors(pause=lambda: False) == 100
    assert_sound(reader)
    assert newer(reader.floor, reader.vector)
    reader.retention.truncate()  # which takes away what our vector covers, and so nothing of it
    assert reader.retention.lower_floors() == 1_024 - 100
    _whole(reader)


def test_batches_have_bounded_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, _ = _left_by_a_peer_that_is_gone()
    sizes: list[int] = []
    write = MemoryBatch.write

    def measured(self: MemoryBatch) -> None:
        sizes.append(sum(len(key) + len(value or b"") for key, value in self._operations))
        write(self)

    monkeypatch.setattr(floors, "REPAIR_BATCH_BYTES", 500)
    monkeypatch.setattr(MemoryBatch, "write", measured)
    reader.retention.lower_floors()
    assert max(sizes) < 1_000 + 100
    _whole(reader)


def test_a_damaged_row_stays_below_the_floor() -> None:
    """In the log it would be missing, and peers would take our log for whole."""
    reader, _ = _left_by_a_peer_that_is_gone()
    stamp, origin = dots(reader)[b"000500"]
    reader._state.db.put(b"000500", b"damaged")
    reader.retention.lower_floors()
    assert reader.floor == {origin: stamp}
    assert_sound(reader)
    reader._state.db.put(b"000500", b"v500")
    assert reader.retention.lower_floors() == 1
    _whole(reader)


def test_a_tombstone_is_logged_again() -> None:
    source, reader = _source(), Rig(2).open()
    source.writer.delete(b"000003", False)
    reconciliation = reconciling(source, reader)
    next(reconciliation)
    reconciliation.close()  # type: ignore[attr-defined]
    reader.end_reconciliation()
    row = reader._state.rs.get(INDEX + b"000003")
    reader.retention.lower_floors()
    assert reader._state.rs.get(INDEX + b"000003") == row
    _whole(reader)


def test_it_is_done_after_a_while_and_again_after_ever_longer_ones() -> None:
    reader, _ = _left_by_a_peer_that_is_gone()
    watch = reader.floor_watch
    assert not watch.due(0)
    assert not watch.due(BULK_LOAD_PATIENCE_MS - 1)
    assert watch.due(BULK_LOAD_PATIENCE_MS)
    reader._state.bulk_load_incomplete = False
    watch = FloorWatch(reader._state)
    assert not watch.due(1_000)
    assert not watch.due(1_000 + FLOOR_PATIENCE_MS - 1)
    assert watch.due(1_000 + FLOOR_PATIENCE_MS)
    assert not watch.due(1_000 + 3 * FLOOR_PATIENCE_MS - 1)
    assert watch.due(1_000 + 3 * FLOOR_PATIENCE_MS)
    at, waits = 1_000 + 3 * FLOOR_PATIENCE_MS, []
    for _ in range(9):
        since = at
        while not watch.due(at):
            at += FLOOR_PATIENCE_MS
        waits.append(at - since)
    assert waits == sorted(waits)
    assert waits[-1] == FLOOR_PATIENCE_CAP_MS


def test_a_pull_that_covers_the_floor_in_time_makes_it_needless() -> None:
    reader, _ = _left_by_a_peer_that_is_gone()
    watch = reader.floor_watch
    assert not watch.due(0)
    reader.adopt_vector(dict(_source().vector), 1)
    assert not watch.due(BULK_LOAD_PATIENCE_MS)
    assert reader.retention.lower_floors() == 0
