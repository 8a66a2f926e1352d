"""Batches: order, all or nothing, durable over a reopen."""

import pytest

from level_replicator.storage.engine.base import Engine
from tests.conformance.engines.places import Place


def test_the_last_operation_of_a_key_wins(engine: Engine) -> None:
    engine.put(b"gone", b"old")
    batch = engine.batch()
    batch.put(b"kept", b"1")
    batch.delete(b"kept")
    batch.put(b"kept", b"2")
    batch.put(b"gone", b"new")
    batch.delete(b"gone")
    batch.delete(b"never there")
    batch.write()
    assert dict(engine.scan()) == {b"kept": b"2"}


def test_nothing_shows_before_write_and_everything_after(engine: Engine) -> None:
    engine.put(b"old", b"")
    batch = engine.batch()
    for number in range(1_000):
        batch.put(b"%04d" % number, b"")
    batch.delete(b"old")
    assert list(engine.scan_keys()) == [b"old"]
    with engine.snapshot() as before:
        batch.write()
        assert list(before.scan_keys()) == [b"old"]
    assert list(engine.scan_keys()) == [b"%04d" % number for number in range(1_000)]


def test_a_batch_that_is_dropped_does_nothing(engine: Engine) -> None:
    batch = engine.batch(sync=True)
    batch.put(b"a", b"")
    del batch
    assert engine.get(b"a") is None


def test_an_empty_batch_is_fine(engine: Engine) -> None:
    engine.batch().write()
    engine.batch(sync=True).write()
    assert list(engine.scan()) == []


def test_of_two_batches_the_later_write_wins(engine: Engine) -> None:
    first, second = engine.batch(), engine.batch()
    first.put(b"a", b"first")
    second.put(b"a", b"second")
    second.write()
    first.write()
    assert engine.get(b"a") == b"first"


@pytest.mark.parametrize("sync", [False, True])
def test_everything_is_there_after_a_reopen(place: Place, sync: bool) -> None:
    engine = place.open()
    engine.put(b"put", b"1", sync=sync)
    engine.put(b"deleted", b"1", sync=sync)
    engine.delete(b"deleted", sync=sync)
    batch = engine.batch(sync=sync)
    batch.put(b"batch", b"2")
    batch.put(b"big", b"x" * 5_000_000)
    batch.write()
    engine.close()
    engine = place.open()
    assert dict(engine.scan()) == {b"put": b"1", b"batch": b"2", b"big": b"x" * 5_000_000}
    engine.close()
