"""Databases, views of a prefix, snapshots and batches with Python's operators for the items of a mapping."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import level_replicator as lrep


@pytest.fixture(params=["replica", "client", "shared"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with lrep.open(tmp_path / "node") as replica:
        if request.param == "replica":
            yield replica
            return
        connect = lrep.connect if request.param == "client" else _open_shared
        with connect(tmp_path / "node") as client:
            yield client


def _open_shared(path: Path) -> lrep.SharedDatabase:
    return lrep.open(path, share=True)


def test_a_database(db: Any) -> None:
    db.put(b"key", b"value")
    db.put(b"empty", b"")
    assert b"key" in db
    assert b"empty" in db
    assert b"missing" not in db
    assert (db[b"key"], db[b"empty"]) == (b"value", b"")
    with pytest.raises(KeyError, match="missing"):
        db[b"missing"]
    db[b"new"] = bytearray(b"1")
    assert db.get(b"new") == b"1"
    del db[b"new"]
    assert b"new" not in db
    del db[b"new"]  # as `delete`: the key may be missing
    for wrong in ("key", 1, None):
        with pytest.raises(TypeError):
            wrong in db  # noqa: B015
        with pytest.raises(TypeError):
            db[wrong]
        with pytest.raises(TypeError):
            db[wrong] = b""
        with pytest.raises(TypeError):
            del db[wrong]
    assert list(db) == [(b"empty", b""), (b"key", b"value")]


def test_a_view_of_a_prefix(db: Any) -> None:
    view = db.prefixed_db(b"a/").prefixed_db(b"b/")
    view[b"key"] = b"value"
    assert db[b"a/b/key"] == b"value"
    assert b"key" in view
    assert b"key" not in db
    assert view[b"key"] == b"value"
    with pytest.raises(KeyError, match="b'missing'"):
        view[b"missing"]
    del view[b"key"]
    assert b"a/b/key" not in db


def test_a_snapshot(db: Any) -> None:
    db[b"key"] = b"old"
    for snapshot, key in ((db.snapshot(), b"key"), (db.prefixed_db(b"k").snapshot(), b"ey")):
        db[b"key"] = b"new"
        assert key in snapshot
        assert b"missing" not in snapshot
        assert snapshot[key] == b"old"
        with pytest.raises(KeyError):
            snapshot[b"missing"]
        with pytest.raises(TypeError):
            snapshot[key] = b"later"
        with pytest.raises(TypeError):
            del snapshot[key]
        snapshot.close()
        db[b"key"] = b"old"


def test_a_batch(db: Any) -> None:
    db[b"old"] = b"1"
    with db.write_batch() as batch:
        batch[b"new"] = b"2"
        del batch[b"old"]
        with pytest.raises(TypeError):
            b"new" in batch  # noqa: B015
        with pytest.raises(TypeError):
            batch["text"] = b""
    assert list(db) == [(b"new", b"2")]


def test_after_close(db: Any) -> None:
    db.close()
    with pytest.raises(lrep.ClosedError):
        b"key" in db  # noqa: B015
    with pytest.raises(lrep.ClosedError):
        db[b"key"] = b""


def test_coroutines_cannot_answer_in(tmp_path: Path) -> None:
    async def main(replica: lrep.Replica) -> None:
        async with lrep.aio.wrap(replica) as db:
            await db.put(b"key", b"value")
            snapshot: Any = await db.snapshot()
            for each in (db, db.prefixed_db(b"k"), snapshot):
                with pytest.raises(TypeError, match=r"await db\.get"):
                    b"key" in each  # noqa: B015
            async with db.write_batch() as batch:
                batch[b"new"] = b"2"
                del batch[b"key"]
            assert [item async for item in db] == [(b"new", b"2")]

    with lrep.open(tmp_path) as replica:
        asyncio.run(main(replica))


def test_dir_has_public_names_only(db: Any) -> None:
    names = dir(db)
    assert {"get", "put", "changes", "status"} <= set(names)
    assert [name for name in names if name.startswith("_")] == []


def test_dir_of_coroutines(tmp_path: Path) -> None:
    async def main(replica: lrep.Replica) -> list[str]:
        async with lrep.aio.wrap(replica) as db:
            return dir(db)

    with lrep.open(tmp_path) as replica:
        names = asyncio.run(main(replica))
    assert {"get", "put", "changes", "status"} <= set(names)
    assert [name for name in names if name.startswith("_")] == []
