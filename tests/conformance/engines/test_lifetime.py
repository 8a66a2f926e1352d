"""Snapshots, closing, and whose directory it is."""

from collections.abc import Callable

import pytest

from level_replicator.core.errors import LockedError
from level_replicator.storage.engine.base import Engine
from tests.conformance.engines.places import Place


def test_a_snapshot_is_frozen(engine: Engine) -> None:
    engine.put(b"a", b"1")
    engine.put(b"b", b"1")
    early = engine.snapshot()
    engine.put(b"a", b"2")
    engine.delete(b"b")
    late = engine.snapshot()
    engine.put(b"c", b"3")
    assert (early.get(b"a"), early.get(b"b"), early.get(b"c")) == (b"1", b"1", None)
    assert dict(early.scan()) == {b"a": b"1", b"b": b"1"}
    assert dict(late.scan()) == {b"a": b"2"}
    assert dict(engine.scan()) == {b"a": b"2", b"c": b"3"}
    early.close()
    assert late.get(b"a") == b"2"
    late.close()


def test_a_closed_snapshot_refuses(engine: Engine) -> None:
    with engine.snapshot() as snapshot:
        assert snapshot.get(b"a") is None
    snapshot.close()
    for call in (lambda: snapshot.get(b"a"), lambda: next(snapshot.scan()), lambda: next(snapshot.scan_keys())):
        with pytest.raises(RuntimeError):
            call()


def test_a_closed_engine_refuses_everything(place: Place) -> None:
    engine = place.open()
    engine.put(b"a", b"1")
    engine.put(b"b", b"1")
    batch, snapshot = engine.batch(), engine.snapshot()
    batch.put(b"c", b"1")
    scans = [
        scan
        for reader in (engine, snapshot)
        for reverse in (False, True)
        for scan in (reader.scan(b"", reverse=reverse), reader.scan_keys(reverse=reverse))
    ]
    next(scans[0])
    before = engine.closed
    engine.close()
    engine.close()
    assert (before, engine.closed) == (False, True)
    calls: list[Callable[[], object]] = [
        lambda: engine.get(b"a"),
        lambda: engine.put(b"a", b"2"),
        lambda: engine.delete(b"a"),
        lambda: engine.batch(),
        lambda: engine.snapshot(),
        lambda: engine.scan(),
        lambda: engine.scan_keys(),
        lambda: engine.scan(b"a", reverse=True),
        lambda: engine.identity(),
        lambda: batch.put(b"d", b""),
        lambda: batch.delete(b"d"),
        lambda: batch.write(),
        lambda: snapshot.get(b"a"),
        lambda: next(snapshot.scan()),
        lambda: next(snapshot.scan_keys(b"a", reverse=True)),
        *(scan.__next__ for scan in scans),
    ]
    for call in calls:
        with pytest.raises(RuntimeError):
            call()
    snapshot.close()
    engine = place.open()
    assert dict(engine.scan()) == {b"a": b"1", b"b": b"1"}
    engine.close()


def test_one_engine_at_a_time(place: Place) -> None:
    engine = place.open()
    engine.put(b"a", b"1")
    for _ in range(2):
        with pytest.raises(LockedError, match="open already"):
            place.open()
    assert engine.get(b"a") == b"1"
    engine.close()
    engine = place.open()
    assert engine.get(b"a") == b"1"
    engine.close()


def identity_of(place: Place) -> bytes:
    engine = place.open()
    identity = engine.identity()
    assert engine.identity() == identity
    engine.close()
    return identity


def test_identity_is_stable_over_reopens_and_writes(place: Place) -> None:
    before = identity_of(place)
    engine = place.open()
    engine.put(b"a", b"1" * 5_000_000, sync=True)
    engine.close()
    assert identity_of(place) == before
    assert type(before) is bytes


def test_a_copy_has_another_identity_and_the_same_contents(place: Place) -> None:
    engine = place.open()
    engine.put(b"a", b"1")
    identity = engine.identity()
    engine.close()
    copy = place.copy()
    assert identity_of(copy) != identity
    assert identity_of(place) == identity
    original, copied = place.open(), copy.open()
    original.put(b"b", b"of the original")
    assert dict(copied.scan()) == {b"a": b"1"}
    copied.put(b"b", b"of the copy")
    assert original.get(b"b") == b"of the original"
    original.close()
    copied.close()


def test_a_backup_restored_in_place_has_another_identity(place: Place) -> None:
    """On many file systems it has the very inodes of what was deleted."""
    before = identity_of(place)
    place.restore()
    assert identity_of(place) != before


def test_the_name_is_for_messages(engine: Engine) -> None:
    assert type(engine.name) is str
    assert engine.name
