"""What a replica does, its clients do: synchronous and asyncio, over a Unix socket, TCP and TLS, and in its process."""

import asyncio
import gc
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import level_replicator as lrep
from level_replicator import plyvel
from level_replicator.core.limits import (
    MAX_CLIENT_FEEDS,
    MAX_CLIENT_SNAPSHOTS,
    MAX_KEY_BYTES,
    MAX_VALUE_BYTES,
    PAGE_ENTRIES,
)
from tests.harness.waiting import DEADLINE_S, wait_until
from tests.integration.clients.shapes import SHAPES, Shape, open_shape


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shape]:
    with open_shape(request.param, tmp_path) as shape:
        yield shape


def fill(replica: lrep.Replica, count: int) -> list[tuple[bytes, bytes]]:
    pairs = [(b"%06d" % i, b"value %d" % i) for i in range(count)]
    with replica.write_batch() as batch:
        for key, value in pairs:
            batch.put(key, value)
    return pairs


class Subclass(bytes):
    pass


def _batched(db: Any, add: Callable[[Any], Any]) -> Any:
    batch = db.write_batch()
    add(batch)
    return batch.approximate_size()


CALLS: dict[str, Callable[[Any], Any]] = {
    "get": lambda db: db.get(b"000001"),
    "get a missing key": lambda db: db.get(b"none", b"else"),
    "get with options": lambda db: db.get(b"000001", verify_checksums=True, fill_cache=False),
    "get with None options": lambda db: db.get(b"000001", verify_checksums=None, fill_cache=None),
    "get a text": lambda db: db.get("k"),
    "get a subclass of bytes": lambda db: db.get(Subclass(b"000001")),
    "get with a wrong flag": lambda db: db.get(b"k", verify_checksums=1),
    "get with another wrong flag": lambda db: db.get(b"k", fill_cache="yes"),
    "put a text": lambda db: db.put("k", b""),
    "put a text as value": lambda db: db.put(b"k", "v"),
    "put None": lambda db: db.put(b"k", None),
    "put a strided view": lambda db: db.put(b"k", memoryview(b"abcd")[::2]),
    "put with a wrong sync": lambda db: db.put(b"k", b"", sync=1),
    "put a key that is too large": lambda db: db.put(b"k" * (1024 * 1024 + 1), b""),
    "delete None": lambda db: db.delete(None),
    "delete with a wrong sync": lambda db: db.delete(b"k", sync="no"),
    "delete a missing key": lambda db: db.delete(b"none"),
    "batch with a wrong transaction": lambda db: db.write_batch(transaction=1),
    "batch with a wrong sync": lambda db: db.write_batch(sync=1),
    "batch of a text": lambda db: _batched(db, lambda batch: batch.put("k", b"")),
    "batch of a number": lambda db: _batched(db, lambda batch: batch.put(b"k", 3)),
    "batch without a key": lambda db: _batched(db, lambda batch: batch.delete(None)),
    "batch appends a list": lambda db: _batched(db, lambda batch: batch.append([])),
    "batch appends itself": lambda db: _batched(db, lambda batch: (batch.put(b"k", b"v"), batch.append(batch))),
    "batch of nothing": lambda db: _batched(db, lambda batch: None),
    "batch under a prefix": lambda db: _batched(db.prefixed_db(b"ab"), lambda batch: batch.put(b"k", b"v" * 200)),
    "prefix of a text": lambda db: db.prefixed_db("p"),
    "prefixed get": lambda db: db.prefixed_db(b"0000").get(b"01"),
    "prefixed get of a text": lambda db: db.prefixed_db(b"0000").get("01"),
    "prefixed twice": lambda db: db.prefixed_db(b"00").prefixed_db(b"000").iterator(),
    "prefixed with bounds": lambda db: db.prefixed_db(b"0000").iterator(start=b"01", stop=b"04", include_stop=True),
    "all": lambda db: db.iterator(),
    "reversed": lambda db: db.iterator(reverse=True, start=b"000002", stop=b"000007"),
    "reversed None": lambda db: db.iterator(reverse=None, include_start=None, include_key=None),
    "only keys": lambda db: db.iterator(include_value=False),
    "only values": lambda db: db.iterator(include_key=False, prefix=b"00000"),
    "neither keys nor values": lambda db: db.iterator(include_key=False, include_value=False),
    "without start": lambda db: db.iterator(start=b"000003", include_start=False, include_value=False),
    "with stop": lambda db: db.iterator(stop=b"000003", include_stop=True, include_value=False),
    "empty": lambda db: db.iterator(start=b"b", stop=b"a"),
    "empty reversed": lambda db: db.iterator(start=b"b", stop=b"a", reverse=True),
    "start is a text": lambda db: db.iterator(start="k"),
    "prefix and start": lambda db: db.iterator(prefix=b"a", start=b"b"),
    "prefix and stop": lambda db: db.iterator(prefix=b"a", stop=b"b"),
    "unknown option": lambda db: db.iterator(unknown=1),
    "reverse is a number": lambda db: db.iterator(reverse=1),
    "include_key is a text": lambda db: db.iterator(include_key="yes"),
    "include_start is a number": lambda db: db.iterator(include_start=0),
    "fill_cache is a number": lambda db: db.iterator(fill_cache=0),
    "seek to a text": lambda db: db.iterator().seek("k"),
    "raw with an unknown option": lambda db: db.raw_iterator(start=b"a"),
    "raw with a wrong flag": lambda db: db.raw_iterator(fill_cache=1),
    "property": lambda db: db.get_property(b"nothing"),
    "property of a text": lambda db: db.get_property("leveldb.stats"),
    "size": lambda db: db.approximate_size(b"0", b"1"),
    "size of texts": lambda db: db.approximate_size("0", "1"),
    "sizes of nothing": lambda db: db.approximate_sizes(),
    "sizes": lambda db: db.approximate_sizes((b"0", b"1"), (b"1", b"2")),
    "compact": lambda db: db.compact_range(start=b"0", stop=b"1"),
    "compact from a text": lambda db: db.compact_range(start="0"),
    "wait for nobody": lambda db: db.wait_synced(),
    "wait for no time": lambda db: db.wait_synced(0),
    "wait for less than no time": lambda db: db.wait_synced(-1),
    "verify both": lambda db: db.verify("nobody", repair=True),
    "verify a peer that is not there": lambda db: db.verify("nobody:1"),
    "verify a number": lambda db: db.verify(5),
    "disconnect": lambda db: db.disconnect("nobody:1"),
    "disconnect a number": lambda db: db.disconnect(5),
    "truncate below nothing": lambda db: db.truncate(max_bytes=-1),
    "truncate to True": lambda db: db.truncate(max_bytes=True),
    "truncate to a text": lambda db: db.truncate(max_bytes="all"),
    "truncate to half a byte": lambda db: db.truncate(max_bytes=1e9 + 0.5),
    "truncate to infinity": lambda db: db.truncate(max_bytes=float("inf")),
    "truncate by no age": lambda db: db.truncate(max_age=float("nan")),
    "history": lambda db: db.history(most=2),
    "history of a prefix": lambda db: db.history(prefix=b"00000", most=3),
    "history of more than a page": lambda db: db.history(most=10**9),
    "history of nothing": lambda db: db.history(most=0),
    "changes of a broken cursor": lambda db: db.changes("nonsense"),
    "changes since and now": lambda db: db.changes("1.", now=True),
    "changes of a text": lambda db: db.changes(prefix="text"),
    "changes": lambda db: db.changes(live=False),
}


def test_each_call_has_the_outcome_that_it_has_on_the_replica(shape: Shape) -> None:
    fill(shape.replica, 10)
    ours = Shape("replica", shape.replica, shape.replica, shape._runner)
    different = {}
    for name, call in CALLS.items():
        outcomes = shape.outcome(call), ours.outcome(call)
        if outcomes[0] != outcomes[1]:
            different[name] = outcomes
    assert different == {}
    assert len(dict(shape.replica)) == 10


@pytest.mark.parametrize("reverse", [False, True])
def test_an_iterator_goes_to_and_fro(shape: Shape, reverse: bool) -> None:
    pairs = fill(shape.replica, PAGE_ENTRIES + 3)
    found = shape.db.iterator(reverse=reverse)
    expected = pairs[::-1] if reverse else pairs

    def following() -> Any:
        return anext(found) if shape.is_async else next(found)

    up, down = (found.prev, following) if reverse else (following, found.prev)
    assert [shape.do(following), shape.do(following)] == expected[:2]
    assert shape.do(found.prev) == expected[1]
    assert shape.items(found) == expected[1:]
    with pytest.raises(StopIteration):
        shape.do(following)
    assert shape.do(found.prev) == expected[-1]
    found.seek(b"%06d" % PAGE_ENTRIES)
    assert shape.do(up) == pairs[PAGE_ENTRIES]
    found.seek_to_start()
    assert shape.do(up) == pairs[0]
    found.seek_to_stop()
    assert shape.do(down) == pairs[-1]
    found.close()
    for refused in (found.prev, found.seek_to_start, lambda: found.seek(b""), following):
        with pytest.raises(lrep.ClosedError):
            shape.do(refused)


def test_a_raw_iterator(shape: Shape) -> None:
    pairs = fill(shape.replica, PAGE_ENTRIES + 3)
    raw = shape.db.raw_iterator()
    assert not raw.valid()
    for move, expected in (
        (raw.seek_to_first, pairs[0]),
        (raw.next, pairs[1]),
        (raw.prev, pairs[0]),
        (raw.seek_to_last, pairs[-1]),
        (raw.prev, pairs[-2]),
        (raw.next, pairs[-1]),
        (lambda: raw.seek(b"%06d" % PAGE_ENTRIES), pairs[PAGE_ENTRIES]),
        (raw.prev, pairs[PAGE_ENTRIES - 1]),
    ):
        shape.do(move)
        assert raw.valid()
        assert (raw.key(), raw.value()) == raw.item() == expected
    shape.do(raw.seek_to_last)
    shape.do(raw.next)
    assert not raw.valid()
    for refused in (raw.item, raw.next, raw.prev):
        with pytest.raises(plyvel.IteratorInvalidError):
            shape.do(refused)
    raw.close()
    for refused in (raw.valid, raw.seek_to_first):
        with pytest.raises(lrep.ClosedError):
            shape.do(refused)


def test_a_snapshot(shape: Shape) -> None:
    pairs = fill(shape.replica, 5)
    for db, prefix in ((shape.db, b""), (shape.db.prefixed_db(b"0000"), b"0000")):
        snapshot = shape.do(db.snapshot)
        shape.replica.delete(b"000001")
        there = [(key[len(prefix) :], value) for key, value in pairs]
        assert shape.do(lambda snapshot=snapshot, key=there[1][0]: snapshot.get(key)) == b"value 1"
        assert shape.do(lambda snapshot=snapshot: snapshot.get(b"none", 5)) == 5
        assert shape.items(snapshot.iterator()) == there
        raw = snapshot.raw_iterator()
        shape.do(raw.seek_to_last)
        assert raw.item() == pairs[-1]
        snapshot.release()
        snapshot.close()
        for refused in (lambda snapshot=snapshot: snapshot.get(b"k"), snapshot.iterator, snapshot.raw_iterator):
            with pytest.raises(lrep.ClosedError):
                shape.do(refused)
        shape.replica.put(b"000001", b"value 1")


def test_dropped_snapshots_and_iterators_are_released(shape: Shape) -> None:
    fill(shape.replica, PAGE_ENTRIES + 1)
    for _ in range(MAX_CLIENT_SNAPSHOTS + 10):
        shape.do(shape.db.snapshot)
        shape.next(shape.db.iterator())
    assert shape.do(lambda: shape.db.get(b"000001")) == b"value 1"


def test_dropped_and_closed_feeds_are_released(shape: Shape) -> None:
    shape.replica.put(b"key", b"value")
    for number in range(2 * MAX_CLIENT_FEEDS):
        feed = shape.db.changes()
        assert shape.next(feed).key == b"key"
        if number % 2:
            shape.do(feed.close)
        del feed
        if number % 16 == 0:  # far fewer than MAX_CLIENT_FEEDS, and a collection is slow in a large process
            gc.collect()
    assert shape.do(lambda: shape.db.get(b"key")) == b"value"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unix", "aio-tcp"])
def test_an_item_of_the_largest_size_has_a_place_in_a_page(name: str, tmp_path: Path) -> None:
    key, value = b"k" * MAX_KEY_BYTES, b"v" * MAX_VALUE_BYTES
    with open_shape(name, tmp_path) as shape:
        shape.replica.put(key, value)
        for reverse in (False, True):
            assert shape.items(shape.db.iterator(reverse=reverse)) == [(key, value)]
        [change] = shape.items(shape.db.changes(live=False))
        assert (change.key, change.value) == (key, value)


def test_closed_feeds_of_the_process_that_shares_its_database_are_released(tmp_path: Path) -> None:
    with lrep.open(tmp_path / "node", share=True) as db:
        db.put(b"key", b"value")
        for number in range(2 * MAX_CLIENT_FEEDS):
            feed = db.changes()
            assert next(feed).key == b"key"
            if number % 2:
                feed.close()
            del feed
            if number % 16 == 0:
                gc.collect()


def test_a_batch(shape: Shape) -> None:
    first, second = shape.db.write_batch(), shape.db.prefixed_db(b"x").write_batch(sync=True)
    first.put(b"a", bytearray(b"1"))
    second.put(b"b", b"2")
    first.append(second)
    shape.do(first.write)
    assert dict(shape.replica) == {b"a": b"1", b"xb": b"2"}
    first.clear()
    first.delete(b"a")
    first.delete(b"xb")
    shape.do(first.write)
    shape.do(first.write)
    assert dict(shape.replica) == {}


def test_after_close(shape: Shape) -> None:
    db = shape.db
    fill(shape.replica, 5)
    found = db.iterator()
    shape.next(found)
    batch = db.write_batch()
    snapshot = shape.do(db.snapshot)
    raw = db.raw_iterator()
    prefixed = db.prefixed_db(b"0")
    shape.do(db.close)
    shape.do(db.close)
    assert db.closed
    assert "closed" in repr(db)
    for refused in (
        lambda: db.get(b"key"),
        lambda: db.put(b"key", b""),
        lambda: db.delete(b"key"),
        lambda: db.iterator(),
        lambda: db.raw_iterator(),
        lambda: db.snapshot(),
        lambda: db.write_batch(),
        lambda: db.changes(),
        lambda: db.status(),
        lambda: db.history(),
        lambda: db.verify(),
        lambda: db.wait_synced(1),
        lambda: batch.put(b"key", b""),
        lambda: batch.clear(),
        lambda: batch.approximate_size(),
        lambda: batch.write(),
        lambda: snapshot.get(b"key"),
        lambda: snapshot.iterator(),
        lambda: raw.seek_to_first(),
        lambda: raw.valid(),
        lambda: prefixed.get(b"key"),
        lambda: prefixed.iterator(),
        lambda: found.seek_to_start(),
        lambda: anext(found) if shape.is_async else next(found),
    ):
        with pytest.raises(lrep.ClosedError):
            shape.do(refused)


def test_a_progress_that_raises_ends_its_call_only(shape: Shape, tmp_path: Path) -> None:
    """A backup goes to the Unix socket only, and an audit reports too seldom for a small database."""
    if shape.name.endswith(("tcp", "tls")):
        pytest.skip("a node writes files for clients of its Unix socket only")
    fill(shape.replica, 10)

    def progress(_done: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        shape.do(lambda: shape.db.backup(tmp_path / "copy", progress=progress))
    assert shape.do(lambda: shape.db.get(b"000001")) == b"value 1"


def test_a_feed(shape: Shape) -> None:
    feed = shape.db.changes(now=True)
    if shape.is_async:
        shape.do(feed.start)
    assert shape.do(lambda: feed.wait(0)) is False
    assert shape.do(lambda: feed.wait(0.05)) is False
    shape.replica.put(b"key", b"value")
    assert shape.do(lambda: feed.wait(DEADLINE_S))
    item = shape.next(feed)
    assert (item.key, item.value) == (b"key", b"value")
    cursor = feed.cursor
    shape.do(feed.close)
    with pytest.raises(StopIteration):
        shape.next(feed)
    shape.replica.put(b"key", b"other")
    assert [item.value for item in shape.items(shape.db.changes(cursor, live=False))] == [b"other"]


def test_a_feed_refuses_an_invalid_timeout(shape: Shape) -> None:
    feed = shape.db.changes()
    for timeout in (math.nan, "1", 10**400):
        with pytest.raises(lrep.ConfigError, match=r"timeout: this .* is not a number of seconds"):
            shape.do(lambda timeout=timeout: feed.wait(timeout))
    shape.do(feed.close)


@pytest.mark.parametrize("name", [name for name in SHAPES if name.startswith("aio")])
def test_a_feed_ends_with_its_database(name: str, tmp_path: Path) -> None:
    """As it does for a thread: see test_feeds.py."""

    async def main(shape: Shape) -> None:
        feed = await shape.db.changes(now=True).start()
        reading = asyncio.ensure_future(anext(feed, "the end"))
        await asyncio.sleep(0.02)
        assert not reading.done()
        await shape.db.close()
        assert await asyncio.wait_for(reading, DEADLINE_S) == "the end"

    with open_shape(name, tmp_path) as shape:
        shape.do(lambda: main(shape))


@pytest.mark.parametrize("name", [name for name in SHAPES if name.startswith("aio")])
def test_a_cancelled_read_leaves_the_snapshot_and_keeps_none_of_its_own(name: str, tmp_path: Path) -> None:
    async def main(shape: Shape) -> None:
        fill(shape.replica, 2 * PAGE_ENTRIES)
        snapshot = await shape.db.snapshot()
        for source in (snapshot, shape.db):
            for _ in range(5):
                iterator = source.iterator()
                reading = asyncio.ensure_future(anext(iterator))
                await asyncio.sleep(0)
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
        assert await snapshot.get(b"000001") == b"value 1"
        snapshot.close()
        await shape.db.get(b"000001")

    with open_shape(name, tmp_path) as shape:
        opened: set[int] = set()
        snapshot = shape.replica.snapshot
        shape.replica.snapshot = lambda: _Counted(snapshot(), opened)  # type: ignore[assignment,method-assign,return-value]
        shape.do(lambda: main(shape))
        wait_until(lambda: (shape.do(lambda: shape.db.get(b"")), not opened)[1], "all snapshots to be released")


class _Counted:
    """A snapshot that is in a set while it is open."""

    def __init__(self, made: Any, opened: set[int]) -> None:
        self.get, self.iterator, self._close = made.get, made.iterator, made.close
        self._opened = opened
        opened.add(id(self))

    def close(self) -> None:
        self._opened.discard(id(self))
        self._close()
