"""Wrong arguments raise the errors that plyvel raises."""

from collections.abc import Callable
from typing import Any

import plyvel
import pytest

from level_replicator.core.errors import ClosedError
from level_replicator.database.database import Database
from tests.unit.database.writers import StraightWriter


class Subclass(bytes):
    pass


WRONG: list[Callable[[Any], object]] = [
    lambda db: db.put("k", b"v"),
    lambda db: db.put(None, b"v"),
    lambda db: db.put(bytearray(b"k"), b"v"),
    lambda db: db.put(Subclass(b"k"), b"v"),
    lambda db: db.put(b"k", "v"),
    lambda db: db.put(b"k", None),
    lambda db: db.put(b"k", 3),
    lambda db: db.put(b"k", [1]),
    lambda db: db.put(b"k", memoryview(b"abcd")[::2]),
    lambda db: db.put(b"k", b"v", sync=1),
    lambda db: db.put(b"k", b"v", True),
    lambda db: db.put(b"k"),
    lambda db: db.delete("k"),
    lambda db: db.delete(b"k", sync="yes"),
    lambda db: db.get("k"),
    lambda db: db.get(b"k", verify_checksums=1),
    lambda db: db.write_batch(transaction=1),
    lambda db: db.write_batch(sync=1),
    lambda db: db.write_batch().put("k", b"v"),
    lambda db: db.write_batch().put(b"k", 3),
    lambda db: db.write_batch().put(b"k", memoryview(b"abcd")[::2]),
    lambda db: db.write_batch().delete(None),
    lambda db: db.write_batch().append(None),
    lambda db: db.write_batch().append([]),
    lambda db: db.prefixed_db("p"),
    lambda db: db.prefixed_db(None),
    lambda db: db.iterator(start="k"),
    lambda db: db.iterator(unknown=1),
    lambda db: db.iterator(prefix=b"a", start=b"b"),
    lambda db: db.iterator().seek("k"),
    lambda db: db.snapshot().get("k"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
@pytest.mark.parametrize("prefixed", [False, True])
def test_wrong_arguments_raise_as_in_plyvel(raw: plyvel.DB, db: Database, number: int, prefixed: bool) -> None:
    kinds = []
    for target in (raw, db):
        with pytest.raises((TypeError, BufferError)) as caught:
            WRONG[number](target.prefixed_db(b"p") if prefixed else target)
        kinds.append(caught.type)
    assert kinds[0] is kinds[1]
    assert list(raw) == []


def test_bytes_like_values(db: Database) -> None:
    for value in (b"v", bytearray(b"v"), memoryview(b"v"), Subclass(b"v"), memoryview(b"xvx")[1:2]):
        db.put(b"k", value)
        assert db.get(b"k") == b"v"
        db.delete(b"k")


def test_sync_of_one_write(raw: plyvel.DB) -> None:
    for default in (False, True):
        writer = StraightWriter(raw)
        db = Database(raw, writer, sync_default=default)
        for target in (db, db.prefixed_db(b"x")):
            for sync in (None, False, True):
                target.put(b"k", b"v", sync=sync)
                target.delete(b"k", sync=sync)
        assert writer.syncs == [default, default, False, False, True, True] * 2


def test_a_missing_key_may_be_deleted(db: Database) -> None:
    db.delete(b"nobody")
    db.prefixed_db(b"no").delete(b"body")


def test_name_repr_and_closed(raw: plyvel.DB, db: Database) -> None:
    prefixed = db.prefixed_db(b"a").prefixed_db(b"b")
    assert (prefixed.db, prefixed.prefix) == (db, b"ab")
    assert "b'ab'" in repr(prefixed)
    assert db.name == raw.name
    assert repr(db.name) in repr(db)
    assert not db.closed
    db.close()
    assert db.closed
    assert "closed" in repr(db)
    with pytest.raises(AttributeError):
        db.closed = False  # type: ignore[misc]


def test_closed_by_its_block(raw: plyvel.DB, db: Database) -> None:
    with db as entered:
        assert entered is db
    assert raw.closed
    db.close()
    with pytest.raises(ClosedError):
        db.get(b"k")
