"""Batches: tests beyond plyvel's own."""

import plyvel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from level_replicator.core.errors import ClosedError
from level_replicator.database.batch import WriteBatch
from level_replicator.database.database import Database
from tests.unit.database.writers import StraightWriter


def contents(db: Database) -> dict[bytes, bytes]:
    return dict(db.iterator())


def test_the_last_operation_on_a_key_wins(db: Database) -> None:
    with db.write_batch() as batch:
        batch.put(b"a", b"1")
        batch.delete(b"a")
        batch.put(b"a", b"2")
        batch.put(b"b", b"1")
        batch.delete(b"b")
    assert contents(db) == {b"a": b"2"}


def test_a_batch_can_be_written_again_and_added_to(db: Database) -> None:
    batch = db.write_batch()
    batch.put(b"a", b"1")
    batch.write()
    db.delete(b"a")
    batch.put(b"b", b"2")
    batch.write()
    assert contents(db) == {b"a": b"1", b"b": b"2"}


def test_a_batch_is_empty_after_its_block(db: Database) -> None:
    with db.write_batch() as batch:
        batch.put(b"a", b"1")
    db.delete(b"a")
    batch.write()
    assert contents(db) == {}


def test_clear_forgets_only_what_came_before(db: Database) -> None:
    batch = db.write_batch()
    batch.put(b"a", b"1")
    batch.clear()
    batch.put(b"b", b"2")
    batch.write()
    assert contents(db) == {b"b": b"2"}


def test_append_copies_in_order_and_leaves_its_source(db: Database) -> None:
    first, second = db.write_batch(), db.write_batch()
    first.put(b"a", b"first")
    second.put(b"a", b"second")
    second.delete(b"b")
    db.put(b"b", b"")
    first.append(second)
    second.put(b"c", b"too late")
    first.write()
    assert contents(db) == {b"a": b"second"}
    second.write()
    assert contents(db) == {b"a": b"second", b"c": b"too late"}


def test_a_batch_can_be_appended_to_itself(db: Database) -> None:
    batch = db.write_batch()
    batch.put(b"a", b"1")
    batch.append(batch)
    batch.write()
    assert contents(db) == {b"a": b"1"}


def test_appended_operations_keep_the_prefix_of_their_batch(db: Database) -> None:
    outer, inner = db.prefixed_db(b"x-"), db.prefixed_db(b"x-").prefixed_db(b"y-")
    batch, source, plain = outer.write_batch(), inner.write_batch(), db.write_batch()
    batch.put(b"1", b"outer")
    source.put(b"2", b"inner")
    plain.put(b"3", b"plain")
    batch.append(source)
    batch.append(plain)
    batch.write()
    assert contents(db) == {b"x-1": b"outer", b"x-y-2": b"inner", b"3": b"plain"}


def test_a_prefixed_batch_deletes_under_its_prefix(db: Database) -> None:
    db.put(b"k", b"")
    db.put(b"x-k", b"")
    with db.prefixed_db(b"x-").write_batch() as batch:
        batch.delete(b"k")
    assert contents(db) == {b"k": b""}


def put_and_fail(batch: WriteBatch) -> None:
    with batch:
        batch.put(b"a", b"1")
        raise ZeroDivisionError


def test_a_transaction_writes_all_or_nothing(db: Database) -> None:
    batch = db.write_batch(transaction=True)
    with pytest.raises(ZeroDivisionError):
        put_and_fail(batch)
    batch.write()
    assert contents(db) == {}
    with batch:
        batch.put(b"b", b"2")
    assert contents(db) == {b"b": b"2"}


def test_a_transaction_under_a_prefix(db: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        put_and_fail(db.prefixed_db(b"x-").write_batch(transaction=True))
    assert contents(db) == {}


def test_values_are_copied_at_the_call(db: Database) -> None:
    value = bytearray(b"before")
    batch = db.write_batch()
    batch.put(b"a", value)
    batch.put(b"b", memoryview(value))
    value[:] = b"after!"
    batch.write()
    assert contents(db) == {b"a": b"before", b"b": b"before"}


def test_a_failed_write_keeps_the_batch(db: Database, writer: StraightWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(operations: object, sync: bool) -> None:
        raise OSError("disk full")

    batch = db.write_batch()
    batch.put(b"a", b"1")
    with monkeypatch.context() as patch:
        patch.setattr(writer, "write", fail)
        with pytest.raises(OSError, match="disk full"):
            batch.write()
    batch.write()
    assert contents(db) == {b"a": b"1"}


def test_sync_is_the_batch_s_own_or_the_default(raw: plyvel.DB) -> None:
    for default in (False, True):
        writer = StraightWriter(raw)
        db = Database(raw, writer, sync_default=default)
        for target in (db, db.prefixed_db(b"x")):
            for sync in (None, False, True):
                target.write_batch(sync=sync).write()
        assert writer.syncs == [default, False, True] * 2


def test_every_method_of_a_closed_database_s_batch_refuses(db: Database) -> None:
    batch, other = db.write_batch(), db.write_batch()
    db.close()
    for call in (
        lambda: batch.put(b"a", b""),
        lambda: batch.delete(b"a"),
        batch.clear,
        lambda: batch.append(other),
        batch.approximate_size,
        batch.write,
        batch.__enter__,
        db.write_batch,
        db.prefixed_db(b"x").write_batch,
    ):
        with pytest.raises(ClosedError):
            call()


KEYS = st.binary(max_size=300)
VALUES = st.binary(max_size=300) | st.sampled_from([b"x" * 16_383, b"x" * 16_384])
STEPS = st.lists(
    st.tuples(st.just("put"), KEYS, VALUES)
    | st.tuples(st.just("delete"), KEYS)
    | st.tuples(st.sampled_from(["clear", "append", "write"])),
    max_size=20,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(steps=STEPS)
def test_sizes_are_those_of_plyvel(raw: plyvel.DB, db: Database, steps: list[tuple[object, ...]]) -> None:
    ours, theirs = db.write_batch(), raw.write_batch()
    for name, *arguments in steps:
        if name == "append":
            ours.append(ours)
            copied = raw.write_batch()
            copied.append(theirs)
            theirs.append(copied)
        else:
            getattr(ours, str(name))(*arguments)
            getattr(theirs, str(name))(*arguments)
        assert ours.approximate_size() == theirs.approximate_size()
