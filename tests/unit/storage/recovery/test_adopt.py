"""Data that was in the database before replication: interrupted at any point, it is adopted once, and all of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from level_replicator.core.errors import ConfigError, StorageError
from level_replicator.core.limits import MAX_KEY_BYTES, MAX_VALUE_BYTES
from level_replicator.storage.recovery import adopt as adoption
from level_replicator.storage.recovery import open as opening
from tests.harness.virtual_disk import Operations
from tests.unit.storage.adopting import (
    DATA,
    AdoptingRig,
    assert_adopted,
    assert_works,
    lines_written,
    raise_after,
    written,
)
from tests.unit.storage.rig import Died, contents, dots

CHUNK = 4
STEPS = ["adopt: announced", "adopt: a chunk", "adopt: done"]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "_CHUNK_KEYS", CHUNK)
    monkeypatch.setattr(opening, "_BATCH_KEYS", CHUNK)


# -- undisturbed


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_every_key_is_adopted_without_a_log(count: int) -> None:
    data = {b"%03d" % i: b"v%d" % i for i in range(count)}
    rig = AdoptingRig(data=data)
    told: list[int] = []
    store = rig.adopt(told.append)
    assert_adopted(store, data)
    assert store.entries == 0
    assert store.vector == store.floor == {store.origin: store.vector[store.origin]}
    assert told == sorted(told)
    assert told[-1] == count


def test_the_empty_key_and_the_empty_value() -> None:
    data = {b"": b"of the empty key", b"empty": b"", b"\xff" * 9: b"\0"}
    assert_adopted(AdoptingRig(data=data).adopt(), data)


def test_no_value_is_written_a_second_time() -> None:
    rig = AdoptingRig()
    with written(rig) as batches:
        rig.adopt()
    assert not any(value in (each or b"") for value in DATA.values() for batch in batches for _, each in batch)


def test_the_bytes_of_a_chunk_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "_CHUNK_KEYS", 1_000)
    monkeypatch.setattr(adoption, "_CHUNK_BYTES", 60)
    rig = AdoptingRig(data={b"%02d" % i: bytes(28) for i in range(10)})
    told: list[int] = []
    rig.adopt(told.append)
    assert told[:-1] == [2, 4, 6, 8, 10]


def test_it_works_and_is_opened_again_as_any_other() -> None:
    rig = AdoptingRig()
    store = rig.adopt()
    origin = store.origin
    assert_works(store)
    after = contents(store)
    store = rig.reopen_after_kill()
    assert (store.origin, contents(store), store.keys) == (origin, after, len(after))
    store.close()
    store = rig.open()
    assert (store.origin, contents(store), store.keys) == (origin, after, len(after))


def test_adopt_where_there_is_nothing_to_adopt() -> None:
    rig = AdoptingRig(data={})
    told: list[int] = []
    store = rig.adopt(told.append)
    assert store.vector == {}
    store.writer.put(b"k", b"v", False)
    store.close()
    store = rig.adopt(told.append)
    assert contents(store) == {b"k": b"v"}
    assert told == []
    complete = AdoptingRig()
    complete.adopt().close()
    before = dots(complete.adopt(told.append))
    assert told == []
    assert dots(complete.reopen_after_kill()) == before


# -- without `adopt`


def test_without_it_the_error_says_what_to_do_and_nothing_is_written() -> None:
    rig = AdoptingRig()
    with pytest.raises(ConfigError, match=r"adopt=True.*level-replicator adopt"), written(rig) as batches:
        rig.open()
    assert batches == []


def test_an_interrupted_adoption_has_to_go_on() -> None:
    rig = AdoptingRig()
    with pytest.raises(KeyboardInterrupt):
        rig.adopt(raise_after(CHUNK, KeyboardInterrupt()))
    with pytest.raises(ConfigError, match=r"interrupted.*adopt=True.*level-replicator adopt"):
        rig.open()
    rig.kill()
    assert_adopted(rig.adopt(), DATA)


# -- interrupted


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("from the caller")])
def test_what_is_adopted_is_not_adopted_again(error: BaseException) -> None:
    rig = AdoptingRig()
    with pytest.raises(type(error)), written(rig) as first:
        rig.adopt(raise_after(CHUNK, error))
    assert len(lines_written(first)) == CHUNK
    told: list[int] = []
    with written(rig) as second:
        store = rig.adopt(told.append)
    assert_adopted(store, DATA)
    assert lines_written(second) == DATA.keys() - lines_written(first)
    assert told[-1] == len(DATA)


def each_step() -> Iterator[AdoptingRig]:
    """An adoption for each of its steps, that dies there."""
    whole = AdoptingRig()
    whole.adopt()
    for step in range(1, len(whole.passed) + 1):
        rig = AdoptingRig(step)
        rig.die_after = step
        yield rig


def each_write() -> Iterator[tuple[int, AdoptingRig]]:
    """The number of each write, and an adoption to disturb there."""
    whole = AdoptingRig()
    with written(whole) as batches:
        whole.adopt()
    for number in range(1, len(batches) + 1):
        yield number, AdoptingRig(number)


def test_a_kill_at_each_step() -> None:
    for rig in each_step():
        with pytest.raises(Died) as died:
            rig.adopt()
        assert str(died.value) in STEPS
        rig.die_after = 0
        store = rig.adopt()
        assert_adopted(store, DATA)
        assert_works(store)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_around_each_write(moment: str) -> None:
    for number, rig in each_write():
        left = number

        def die(when: str, _operations: Operations) -> None:
            nonlocal left
            left -= when == moment
            if not left:
                raise Died(when)

        rig.rs_disk.on_write = die
        with pytest.raises(Died):
            rig.adopt()
        rig.rs_disk.on_write = None
        store = rig.adopt()
        assert_adopted(store, DATA)
        assert_works(store)


@pytest.mark.parametrize("lands", [False, True])
def test_a_disk_that_fails_at_each_write(lands: bool) -> None:
    for number, rig in each_write():
        rig.rs_disk.fail(number, lands=lands)
        with pytest.raises(StorageError):
            rig.adopt()
        rig.rs_disk.repair()
        assert_adopted(rig.adopt(), DATA)


@pytest.mark.parametrize("seed", range(30))
def test_a_power_loss_at_each_step(seed: int) -> None:
    for rig in each_step():
        rig.rng.seed(seed)
        with pytest.raises(Died) as died:
            rig.adopt()
        rig.start_machine_anew()
        rig.die_after = 0
        if str(died.value) == "adopt: done":
            store = rig.open()
            assert_adopted(store, DATA)
            assert store.vector.pop(store.origin) == 1, "it goes on as a new origin, which has written nothing"
            assert set(store.vector) == {origin for _, origin in dots(store).values()}
            continue
        store = rig.adopt()
        assert_adopted(store, DATA)
        assert len({origin for _, origin in dots(store).values()}) == 1
        assert_works(store)


@pytest.mark.parametrize("seed", range(40))
def test_one_disturbance_after_the_other(seed: int) -> None:
    """Kills, power losses also while it begins anew, other programs in between: in the end all is adopted once."""
    rig = AdoptingRig(seed)
    data: dict[bytes, bytes] = dict(DATA)
    for _ in range(rig.rng.randrange(1, 6)):
        rig.die_after = rig.rng.randrange(1, 7)
        try:
            rig.adopt()
        except Died:
            rig.kill()
        else:
            break
        if rig.rng.random() < 0.6:
            rig.start_machine_anew()
        if rig.passed[-1] == "adopt: done":
            break
        key = b"k%02d" % rig.rng.randrange(12)
        change = {key: None if rig.rng.random() < 0.3 else b"changed %d" % rig.rng.randrange(100)}
        rig.write_around(change)
        data = {key: value for key, value in {**data, **change}.items() if value is not None}
    rig.die_after = 0
    rig.kill()
    assert_adopted(rig.adopt(), data)


def test_a_power_loss_right_after_it() -> None:
    """Also when the other program had not brought its last writes to the disk."""
    for seed in range(20):
        rig = AdoptingRig(seed)
        rig.write_around({b"not synced": b"v"}, sync=False)
        origin = rig.adopt().origin
        rig.start_machine_anew()
        store = rig.open()
        assert_adopted(store, {**DATA, b"not synced": b"v"})
        assert {origin for _, origin in dots(store).values()} == {origin}


# -- what other programs do in between


def test_changes_of_another_program_between_two_attempts_are_found() -> None:
    rig = AdoptingRig()
    with pytest.raises(KeyboardInterrupt):
        rig.adopt(raise_after(2 * CHUNK, KeyboardInterrupt()))
    rig.write_around({b"a first": b"1", b"k01": b"changed", b"k02": None, b"k03+": b"2", b"zz": b"3", b"k09": None})
    data = {**DATA, b"a first": b"1", b"k01": b"changed", b"k03+": b"2", b"zz": b"3"}
    del data[b"k02"], data[b"k09"]
    with written(rig) as second:
        store = rig.adopt()
    assert_adopted(store, data)
    assert lines_written(second) == {b"a first", b"k01", b"k03+", b"k08", b"zz"}


def test_another_database_in_the_place_of_the_one_that_was_being_adopted() -> None:
    rig = AdoptingRig()
    with pytest.raises(KeyboardInterrupt):
        rig.adopt(raise_after(CHUNK, KeyboardInterrupt()))
    rig.db_disk = AdoptingRig(data={b"other": b"v"}).db_disk
    assert_adopted(rig.adopt(), {b"other": b"v"})


def test_two_copies_of_an_interrupted_adoption_are_two_origins() -> None:
    rig = AdoptingRig()
    with pytest.raises(KeyboardInterrupt):
        rig.adopt(raise_after(CHUNK, KeyboardInterrupt()))
    copy = AdoptingRig(7)
    copy.db_disk, copy.rs_disk = rig.db_disk.copy(), rig.rs_disk.copy()
    stores = [rig.adopt(), copy.adopt()]
    for store in stores:
        assert_adopted(store, DATA)
    assert not set(dots(stores[0]).values()) & set(dots(stores[1]).values())
    assert stores[0].origin != stores[1].origin


# -- what cannot be replicated


@pytest.mark.parametrize(
    ("key", "size"), [(b"k05" + bytes(MAX_KEY_BYTES), 1), (b"k05 " + b"x" * 60, MAX_VALUE_BYTES + 1)]
)
def test_what_is_too_large_is_named_and_nothing_of_its_chunk_is_written(key: bytes, size: int) -> None:
    rig = AdoptingRig(data={**DATA, key: bytes(size)})
    with pytest.raises(ConfigError, match=r"k05.* is too large to be replicated"), written(rig) as batches:
        rig.adopt()
    assert lines_written(batches) == {b"k00", b"k01", b"k02", b"k03"}
    with pytest.raises(ConfigError) as refused:
        rig.adopt()
    assert repr(key[:50]) in str(refused.value)
    assert len(str(refused.value)) < 500
    rig.write_around({key: None})
    assert_adopted(rig.adopt(), DATA)
