"""A transaction writes `rs`, then `db`, then changes the fields: under kills, failing disks, interrupts and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.entry import encode_entry, encode_index
from level_replicator.core.errors import StorageError
from level_replicator.core.intervals import Intervals
from level_replicator.storage.state.load import load
from level_replicator.storage.state.meta import load_meta
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction
from level_replicator.storage.write.lost import load_lost
from tests.harness.memory_engine import MemoryEngine
from tests.unit.storage.rig import START_MS, Died, Rig, contents

ON_DISK = [
    "meta",
    "origin",
    "vector",
    "floor",
    "horizon",
    "dropped",
    "resume",
    "bulk_load_incomplete",
    "histories",
    "branches",
    "written",
    "lost",
    "lost_stamps",
]
"""The fields of ReplicationState that mirror records."""

PEER = 7


def opened() -> tuple[Rig, ReplicationState]:
    rig = Rig()
    store = rig.open()
    store.writer.put(b"before", b"1", True)
    return rig, store._state


def mirrored(state: ReplicationState) -> dict[str, Any]:
    """A copy of the fields that mirror records, and of the counts."""
    found = {name: getattr(state, name) for name in (*ON_DISK, "keys", "entries", "newest", "late")}
    found["resume"] = {
        source: {origin: list(applied) for origin, applied in scans.items()} for source, scans in state.resume.items()
    }
    for name, value in found.items():
        if type(value) is dict:
            found[name] = dict(value)
    return found


def write(state: ReplicationState, tx: Transaction, key: bytes) -> int:
    """A local write of a new key. Returns its stamp."""
    stamp = state.clock.next(state.now_ms())
    record, flags, checksum = encode_entry(stamp, key, b"v")
    tx.put_log(state.origin, stamp, record)
    tx.put_row(key, encode_index(stamp, state.origin, flags, checksum))
    tx.put_value(key, b"v")
    tx.keys = tx.entries = 1
    tx.add_own({stamp: record})
    return stamp


def edit(state: ReplicationState, tx: Transaction) -> None:
    """One edit of nearly every kind."""
    write(state, tx, b"k")
    tx.set_vector(PEER, 50)
    tx.raise_floor(PEER, 40)
    tx.raise_horizon({PEER: 30}, 30)
    tx.set_resume(PEER, 8, Intervals([(1, 2)]))
    tx.note_written((60, 9))
    tx.set_history(PEER, ((1, 5),))
    tx.add_branch(2, 6)
    tx.begin_bulk_load()
    tx.change_meta(durable=b"")


# -- order


def test_rs_is_written_first_then_db_and_then_the_fields_change() -> None:
    _, state = opened()
    before = mirrored(state)
    seen: list[tuple[str, bool, bool, bool]] = []

    def look(step: str) -> None:
        seen.append((step, state.rs.get(b"ik") is not None, state.db.get(b"k") is not None, mirrored(state) != before))

    state.on_step = look
    with Transaction(state, name="test") as tx:
        edit(state, tx)
        assert mirrored(state) == before
    assert seen == [
        ("test: before rs", False, False, False),
        ("test: between rs and db", True, False, False),
        ("test: after db", True, True, False),
    ]
    assert mirrored(state) != before


@pytest.mark.parametrize(
    ("name", "both", "expected"),
    [
        (None, False, []),
        ("", True, ["before rs", "between rs and db", "after db"]),
        ("x", True, ["x: before rs", "x: between rs and db", "x: after db"]),
        ("x", False, ["x: before rs", "x: after rs"]),
    ],
)
def test_names_of_crash_points(name: str | None, both: bool, expected: list[str]) -> None:
    _, state = opened()
    steps: list[str] = []
    state.on_step = steps.append
    with Transaction(state, name=name) as tx:
        tx.raise_floor(PEER, 5)
        if both:
            tx.put_value(b"k", b"v")
    assert steps == expected


def test_a_commit_without_an_edit_writes_nothing() -> None:
    rig, state = opened()
    steps: list[str] = []
    state.on_step = steps.append
    rig.rs_disk.fail(lasting=True)
    rig.db_disk.fail(lasting=True)
    with Transaction(state, name="x"):
        pass
    assert not steps


def test_a_batch_with_sync_is_on_the_disk() -> None:
    for sync in (False, True):
        rig, state = opened()
        with Transaction(state, sync=sync) as tx:
            edit(state, tx)
        rig.db_disk.power_loss(NeverKeeps())
        rig.rs_disk.power_loss(NeverKeeps())
        engine = MemoryEngine(rig.rs_disk)
        assert (engine.get(b"ik") is not None) is sync
        assert (MemoryEngine(rig.db_disk).get(b"k") is not None) is sync


class NeverKeeps:
    """A random generator of a power loss that takes everything that was not synced."""

    def choice(self, options: Any) -> float:
        return 0.0

    def random(self) -> float:
        return 1.0


# -- kills


@pytest.mark.parametrize(
    ("step", "survives"), [("test: before rs", False), ("test: between rs and db", True), ("test: after db", True)]
)
def test_after_a_kill_the_whole_change_is_there_or_none_of_it(step: str, survives: bool) -> None:
    rig, state = opened()
    rig.die_at = step
    tx = Transaction(state, name="test")
    stamp = write(state, tx, b"k")
    with pytest.raises(Died):
        tx.commit()
    store = rig.reopen_after_kill()
    assert contents(store) == ({b"before": b"1", b"k": b"v"} if survives else {b"before": b"1"})
    assert store.keys == len(contents(store)) == store.entries
    assert (store.vector[store.origin] == stamp) is survives


# -- failures


@pytest.mark.parametrize("disk", ["rs_disk", "db_disk"])
def test_if_a_write_fails_no_field_changes(disk: str) -> None:
    rig, state = opened()
    before = mirrored(state)
    getattr(rig, disk).fail(error="the disk is full")
    with (
        pytest.raises(StorageError, match="testing failed: the disk is full"),
        state.applying("testing"),
        Transaction(state) as tx,
    ):
        edit(state, tx)
    assert mirrored(state) == before
    with pytest.raises(StorageError, match="No more writes are taken"):
        state.check()


def test_if_the_block_raises_nothing_is_written() -> None:
    rig, state = opened()
    before, on_disk = mirrored(state), list(state.rs.scan())

    def fail() -> None:
        with Transaction(state) as tx:
            edit(state, tx)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert mirrored(state) == before
    assert list(state.rs.scan()) == on_disk
    assert state.db.get(b"k") is None
    state.check()
    assert rig.store is not None
    rig.store.writer.put(b"k", b"later", False)


@pytest.mark.parametrize("step", ["test: before rs", "test: between rs and db", "test: after db"])
def test_a_commit_that_is_interrupted_is_completed(step: str) -> None:
    rig, state = opened()
    before = mirrored(state)
    rig.interrupt_at = step
    with pytest.raises(KeyboardInterrupt), Transaction(state, name="test") as tx:
        edit(state, tx)
    begun = step != "test: before rs"
    assert (state.db.get(b"k") is not None) is begun
    assert (mirrored(state) != before) is begun
    assert mirrored(state) == mirrored(reloaded(state))
    state.check()


def test_an_interrupted_commit_that_cannot_be_completed_ends_all_writes() -> None:
    rig, state = opened()
    before = mirrored(state)
    rig.interrupt_at = "test: between rs and db"
    rig.rs_disk.fail(nth=2)
    with pytest.raises(KeyboardInterrupt), Transaction(state, name="test") as tx:
        edit(state, tx)
    assert mirrored(state) == before
    with pytest.raises(StorageError, match="interrupted"):
        state.check()


# -- the fields mirror the records


def reloaded(state: ReplicationState) -> ReplicationState:
    """The state as the next open would load it, with the counts of this one."""
    fresh = ReplicationState(state.db, state.rs, now_ms=lambda: START_MS)
    meta = load_meta(state.rs)
    assert meta is not None
    fresh.set_meta(meta)
    load(fresh)
    load_lost(fresh)
    fresh.keys, fresh.entries = state.keys, state.entries
    fresh.newest, fresh.late = state.newest, state.late  # derived from the log, which these tests do not write
    return fresh


origins = st.integers(1, 3)
stamps = st.integers(1, 9)
Edit = Callable[[Transaction], object]
edits: st.SearchStrategy[Edit] = st.one_of(
    st.builds(lambda o, s: lambda tx: tx.set_vector(o, s), origins, st.integers(0, 9)),
    st.builds(lambda o, s: lambda tx: tx.lower_vector(o, s), origins, st.integers(0, 9)),
    st.builds(lambda o, s: lambda tx: tx.set_floor(o, s), origins, st.integers(0, 9)),
    st.builds(lambda o, s: lambda tx: tx.raise_floor(o, s), origins, stamps),
    st.builds(lambda h, d: lambda tx: tx.raise_horizon(h, d), st.dictionaries(origins, stamps), stamps),
    st.builds(lambda o, s: lambda tx: tx.lower_horizon(o, s), origins, st.integers(0, 9)),
    st.builds(lambda o, s: lambda tx: tx.set_written(o, s), origins, st.integers(0, 9)),
    st.builds(lambda o, s: lambda tx: tx.note_written((s, o)), origins, stamps),
    st.builds(
        lambda o, e: lambda tx: tx.set_history(o, e), origins, st.sampled_from([(), ((1, 2),), ((1, 2), (3, 4))])
    ),
    st.builds(lambda e, s: lambda tx: tx.add_branch(e, s), origins, stamps),
    st.builds(lambda s, o, a: lambda tx: tx.set_resume(s, o, Intervals([(a, a + 2)])), origins, origins, stamps),
    st.just(Transaction.begin_bulk_load),
    st.just(Transaction.end_bulk_load),
    st.builds(lambda s: lambda tx: tx.change_meta(origin=s, traced=bool(s % 2)), stamps),
)


ends_of_scans: st.SearchStrategy[Edit] = st.one_of(
    st.builds(lambda s: lambda tx: tx.end_scan(s), origins), st.just(Transaction.forget_scans)
)
"""Not together with `set_resume`."""


@given(st.lists(st.one_of(st.lists(edits, max_size=4), st.lists(ends_of_scans, max_size=2)), max_size=6))
def test_after_each_commit_the_fields_are_those_that_the_next_open_loads(commits: list[list[Edit]]) -> None:
    _, state = opened()
    for each in commits:
        with Transaction(state) as tx:
            for change in each:
                change(tx)
        assert mirrored(state) == mirrored(reloaded(state))


def test_lost_keys_are_those_that_the_next_open_loads() -> None:
    _, state = opened()
    with Transaction(state) as tx:
        for number in range(3):
            tx.put_row(b"%d" % number, encode_index(number + 1, PEER, 0, 1))
            tx.add_lost(b"%d" % number, (number + 1, PEER))
    assert state.lost_stamps == {PEER: 3}
    assert mirrored(state) == mirrored(reloaded(state))
    with Transaction(state) as tx:
        for number in range(3):
            tx.remove_lost(b"%d" % number)
    assert (state.lost, state.lost_stamps) == (frozenset(), {})
    assert mirrored(state) == mirrored(reloaded(state))


def test_of_two_writes_under_other_dots_in_one_batch_the_newer_is_noted() -> None:
    _, state = opened()
    with Transaction(state) as tx:
        tx.note_written((9, PEER))
        tx.note_written((5, PEER))
    assert state.written == {PEER: 9}
    assert mirrored(state) == mirrored(reloaded(state))


# -- the tests notice


def _fields_first(self: Transaction, name: str | None = None, *, both: bool = False) -> None:
    self._apply(self._state.keys + self.keys, self._state.entries + self.entries)
    plain(self, name, both=both)


def _database_first(self: Transaction, name: str | None = None, *, both: bool = False) -> None:
    self._rs, self._db = self._db, self._rs
    plain(self, name, both=both)


plain = Transaction.commit


@pytest.mark.parametrize("mutant", [_fields_first, _database_first])
def test_another_order_is_noticed(mutant: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transaction, "commit", mutant)
    with pytest.raises(AssertionError):
        test_rs_is_written_first_then_db_and_then_the_fields_change()


def test_fields_that_change_before_a_write_fails_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transaction, "commit", _fields_first)
    with pytest.raises(AssertionError):
        test_if_a_write_fails_no_field_changes("rs_disk")


def test_a_database_that_is_written_first_is_noticed_after_a_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transaction, "commit", _database_first)
    with pytest.raises(AssertionError):
        test_after_a_kill_the_whole_change_is_there_or_none_of_it("test: between rs and db", True)
