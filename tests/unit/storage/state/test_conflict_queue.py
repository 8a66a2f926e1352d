"""The queue of conflicts on the disk: what a kill leaves of it, and its bounds."""

from __future__ import annotations

import pytest

from level_replicator.core.errors import StorageError
from level_replicator.core.records import Change
from level_replicator.storage.state import conflict_queue
from level_replicator.storage.state.conflict_queue import Conflict, decode_conflict, encode_conflict
from level_replicator.storage.state.schema import CONFLICT, conflict_key, following
from level_replicator.storage.store import Store
from tests.unit.storage.rig import Died, Rig, pull

STEPS = ["apply: before rs", "apply: between rs and db", "apply: after db"]


def _nobody() -> None:
    """Nobody needs to know that there is something."""


def _meet(rig: Rig, store: Store, *keys: bytes) -> None:
    """The store's own writes of these keys meet newer ones that had not seen them."""
    peer = Rig(2)
    source = peer.open()
    rig.now_ms += 1
    peer.now_ms = rig.now_ms + 1
    for key in reversed(keys):  # the newest is sent first
        store.writer.put(key, b"older " + key, False)
        source.writer.put(key, b"newer " + key, False)
    pull(store, source)


def _waiting(store: Store, after: int = 0) -> list[tuple[bytes, bytes | None, bytes | None]]:
    found = store.unreported_conflicts(after)
    return [(each.key, each.winner.value, each.loser.value) for _, each in found if each is not None]


def _expected(*keys: bytes) -> list[tuple[bytes, bytes, bytes]]:
    return [(key, b"newer " + key, b"older " + key) for key in keys]


def test_nothing_is_recorded_while_nobody_listens() -> None:
    rig = Rig(1)
    store = rig.open()
    _meet(rig, store, b"a")
    assert store.conflicts == 1
    assert _waiting(store) == []


def test_conflicts_wait_until_they_are_reported() -> None:
    rig = Rig(1)
    store = rig.open()
    rang: list[int] = []
    store.listen_to_conflicts(lambda: rang.append(1))
    assert not rang
    _meet(rig, store, b"a", b"b", b"c")
    assert rang
    assert _waiting(store) == _expected(b"a", b"b", b"c")
    (first, _), *_ = store.unreported_conflicts(0)
    assert _waiting(store, first) == _expected(b"b", b"c")
    store.conflicts_reported(first)
    assert _waiting(store) == _expected(b"b", b"c")


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_loses_none(step: str) -> None:
    rig = Rig(1)
    store = rig.open()
    store.listen_to_conflicts(_nobody)
    rig.die_at = step
    with pytest.raises(Died):
        _meet(rig, store, b"a")
    store = rig.reopen_after_kill()
    rang: list[int] = []
    store.listen_to_conflicts(lambda: rang.append(1))
    if step == STEPS[0]:
        assert _waiting(store) == [], "it was not merged: it comes again"
        assert not rang
    else:
        assert _waiting(store) == _expected(b"a")
        assert rang
    store.conflicts_reported(1 << 63)
    store = rig.reopen_after_kill()
    assert _waiting(store) == []


def test_numbers_go_on_after_an_open() -> None:
    rig = Rig(1)
    store = rig.open()
    store.listen_to_conflicts(_nobody)
    _meet(rig, store, b"a")
    store.close()
    store = rig.open()
    store.listen_to_conflicts(_nobody)
    peer = Rig(3)
    source = peer.open()
    peer.now_ms = rig.now_ms - 1
    source.writer.put(b"a", b"oldest", False)
    pull(store, source)
    assert [(winner, loser) for _, winner, loser in _waiting(store)] == [
        (b"newer a", b"older a"),
        (b"newer a", b"oldest"),
    ]


@pytest.mark.parametrize("limit", ["MAX_UNREPORTED_CONFLICTS", "MAX_UNREPORTED_CONFLICT_BYTES"])
def test_the_queue_is_bounded(limit: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(conflict_queue, limit, 3 if limit == "MAX_UNREPORTED_CONFLICTS" else 190)
    rig = Rig(1)
    store = rig.open()
    store.listen_to_conflicts(_nobody)
    _meet(rig, store, b"a", b"b", b"c", b"d", b"e")
    assert _waiting(store) == _expected(b"c", b"d", b"e")
    assert sum("on_conflict is too slow" in record.message for record in caplog.records) == 1
    store.conflicts_reported(1 << 63)
    assert list(store._state.rs.scan(CONFLICT, following(CONFLICT))) == []


def test_one_of_any_size_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conflict_queue, "MAX_UNREPORTED_CONFLICT_BYTES", 1)
    rig = Rig(1)
    store = rig.open()
    store.listen_to_conflicts(_nobody)
    _meet(rig, store, b"a", b"b")
    assert _waiting(store) == _expected(b"b")


def test_what_is_read_at_once_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conflict_queue, "CONFLICTS_READ_ENTRIES", 2)
    rig = Rig(1)
    store = rig.open()
    store.listen_to_conflicts(_nobody)
    _meet(rig, store, b"a", b"b", b"c")
    assert _waiting(store) == _expected(b"a", b"b")
    monkeypatch.setattr(conflict_queue, "CONFLICTS_READ_BYTES", 1)
    assert _waiting(store) == _expected(b"a")


def test_a_damaged_record_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(1)
    store = rig.open()
    store.listen_to_conflicts(_nobody)
    _meet(rig, store, b"a", b"b")
    store._state.rs.put(conflict_key(1), b"\xff")
    assert [conflict is None for _, conflict in store.unreported_conflicts(0)] == [True, False]
    assert "is skipped" in caplog.text


def test_records_come_back_as_they_were() -> None:
    conflict = Conflict(
        b"k", Change(b"k", None, "00000000000000ff", 1 << 60), Change(b"k", b"\0v", "ffffffffffffffff", 5)
    )
    assert decode_conflict(encode_conflict(conflict)) == conflict
    with pytest.raises(StorageError, match="cannot be read"):
        decode_conflict(b"")
