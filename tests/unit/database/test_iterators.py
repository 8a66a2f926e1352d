"""Iterators and snapshots: as plyvel's step by step, and refused once they, or the database, are closed."""

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from level_replicator import plyvel
from level_replicator.core.errors import ClosedError
from level_replicator.database.database import Database

KEYS = st.binary(max_size=2).map(lambda key: key.translate(bytes([0, 1, 0xFF] * 85 + [0xFF])))
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "start": KEYS,
        "stop": KEYS,
        "include_start": st.booleans(),
        "include_stop": st.booleans(),
        "reverse": st.booleans(),
        "include_key": st.booleans(),
        "include_value": st.booleans(),
    },
)
STEPS = st.lists(
    st.sampled_from([("__next__",), ("prev",), ("seek_to_start",), ("seek_to_stop",)])
    | st.tuples(st.just("seek"), KEYS),
    max_size=12,
)


def step(iterator: Any, name: str, *arguments: bytes) -> object:
    try:
        return getattr(iterator, name)(*arguments)
    except (StopIteration, SystemError) as error:  # SystemError: plyvel's, for `prev` to before a prefix
        return type(error)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    keys=st.sets(KEYS, max_size=8),
    options=OPTIONS,
    steps=STEPS,
    prefix=KEYS,
    source=st.sampled_from(["db", "prefixed", "snapshot", "prefixed snapshot"]),
)
def test_iterators_step_as_those_of_plyvel(
    raw: plyvel.DB,
    db: Database,
    keys: set[bytes],
    options: dict[str, Any],
    steps: list[tuple[str, ...]],
    prefix: bytes,
    source: str,
) -> None:
    for key in raw.iterator(include_value=False):
        raw.delete(key)
    for key in keys:
        raw.put(key, key * 2)
    with contextlib.ExitStack() as stack:
        iterators = []
        for target in (raw, db):
            readable: Any = target.prefixed_db(prefix) if "prefixed" in source else target
            if "snapshot" in source:
                readable = stack.enter_context(readable.snapshot())
            iterators.append(stack.enter_context(readable.iterator(**options)))
        for name, *arguments in steps:
            ours, theirs = (step(iterator, name, *arguments) for iterator in iterators)
            assert ours == theirs
        for _ in range(len(keys) + 1):
            assert step(iterators[0], "__next__") == step(iterators[1], "__next__")


def test_a_snapshot_survives_writes_and_serves_raw_iterators(db: Database) -> None:
    db.put(b"x-a", b"1")
    with db.prefixed_db(b"x-").snapshot() as snapshot:
        db.put(b"x-a", b"2")
        assert snapshot.get(b"a") == b"1"
        assert snapshot.get(b"b", b"default", verify_checksums=True, fill_cache=False) == b"default"
        assert list(snapshot) == [(b"a", b"1")]
        with snapshot.raw_iterator() as iterator:
            iterator.seek_to_first()
            assert iterator.item() == (b"x-a", b"1")
            iterator.next()
            assert not iterator.valid()


def test_an_iterator_survives_its_snapshot(db: Database) -> None:
    db.put(b"a", b"1")
    snapshot = db.snapshot()
    iterator = snapshot.iterator()
    snapshot.release()
    db.put(b"a", b"2")
    assert list(iterator) == [(b"a", b"1")]


@pytest.mark.parametrize("closed", ["handle", "database"])
def test_after_close_everything_refuses(db: Database, closed: str) -> None:
    iterator, raw_iterator, snapshot = db.iterator(), db.raw_iterator(), db.snapshot()
    if closed == "database":
        db.close()
    for handle in (iterator, raw_iterator, snapshot):
        if closed == "handle":
            handle.close()
        handle.close()
    for call in (
        iterator.__next__,
        iterator.prev,
        iterator.seek_to_start,
        iterator.seek_to_stop,
        lambda: iterator.seek(b"k"),
        raw_iterator.valid,
        raw_iterator.seek_to_first,
        raw_iterator.seek_to_last,
        lambda: raw_iterator.seek(b"k"),
        raw_iterator.next,
        raw_iterator.prev,
        raw_iterator.key,
        raw_iterator.value,
        raw_iterator.item,
        lambda: snapshot.get(b"k"),
        snapshot.iterator,
        snapshot.raw_iterator,
        snapshot.__iter__,
    ):
        with pytest.raises(ClosedError):
            call()


def test_after_close_the_database_refuses(db: Database) -> None:
    prefixed = db.prefixed_db(b"x")
    db.close()
    for target in (db, prefixed):
        for call in (
            lambda t=target: t.get(b"k"),
            lambda t=target: t.put(b"k", b"v"),
            lambda t=target: t.delete(b"k"),
            target.iterator,
            target.snapshot,
            target.__iter__,
        ):
            with pytest.raises(ClosedError):
                call()
    for call in (
        db.raw_iterator,
        db.compact_range,
        lambda: db.get_property(b"leveldb.stats"),
        lambda: db.approximate_size(b"a", b"b"),
        lambda: db.approximate_sizes((b"a", b"b")),
    ):
        with pytest.raises(ClosedError):
            call()
