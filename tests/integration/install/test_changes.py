"""The changes feed and the callbacks, of real replicas."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

import level_replicator as lrep
from level_replicator import plyvel
from level_replicator.api.callbacks import Callback
from level_replicator.core.version_vector import Cursor, decode_cursor, encode_cursor
from level_replicator.storage.maintenance.retention import Retention
from tests.harness.local_node import LocalNode, wait_in_sync
from tests.harness.waiting import wait_until

NOW = 1 << 63


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[lrep.Replica]:
    with lrep.open(tmp_path / "a") as replica:
        yield replica


def read(feed: lrep.Changes) -> list[tuple[bytes, bytes | None] | str]:
    """All there is, as (key, value)."""
    return [
        (item.key, item.value) if isinstance(item, lrep.Change) else f"rescan, complete={item.complete}"
        for item in feed
    ]


def test_every_key_comes_once_with_its_latest_value(replica: lrep.Replica) -> None:
    replica.put(b"a", b"1")
    replica.put(b"b", b"1")
    replica.put(b"a", b"2")
    replica.delete(b"b")
    feed = replica.changes(live=False)
    assert read(feed) == [(b"a", b"2"), (b"b", None)]
    replica.put(b"c", b"1")
    assert read(replica.changes(since=feed.cursor, live=False)) == [(b"c", b"1")]
    assert read(feed) == [(b"c", b"1")]
    assert read(feed) == []


def test_what_a_change_tells(replica: lrep.Replica) -> None:
    replica.put(b"key", b"value")
    replica.delete(b"key")
    (change,) = replica.changes(live=False)
    assert isinstance(change, lrep.Change)
    assert change.deleted
    assert change.origin == replica.status()["origin"]
    assert change.stamp == replica.status()["vector"][change.origin]
    assert change.time_ms == change.stamp >> 16


def test_the_cursor_follows_each_item(replica: lrep.Replica) -> None:
    for number in range(2_000):
        replica.put(b"%04d" % number, b"")
    feed = replica.changes(live=False)
    for number in range(0, 2_000, 333):
        while True:
            item = next(feed)
            assert isinstance(item, lrep.Change)
            if item.key == b"%04d" % number:
                break
        rest = read(replica.changes(since=feed.cursor, live=False))
        assert rest == [(b"%04d" % n, b"") for n in range(number + 1, 2_000)]


def test_a_prefix(replica: lrep.Replica) -> None:
    for number in range(3_000):
        replica.put((b"x" if number % 1_000 == 0 else b"y") + b"%04d" % number, b"")
    feed = replica.changes(prefix=b"x", live=False)
    assert [item.key for item in feed if isinstance(item, lrep.Change)] == [b"x0000", b"x1000", b"x2000"]
    replica.put(b"y", b"")
    assert read(feed) == []
    assert read(replica.changes(since=feed.cursor, live=False)) == []


def test_truncation_is_told_and_bridged(replica: lrep.Replica) -> None:
    replica.put(b"a", b"1")
    replica.put(b"b", b"1")
    feed = replica.changes(live=False)
    assert len(read(feed)) == 2
    replica.delete(b"a")
    replica.put(b"c", b"1")
    replica.truncate()
    replica.put(b"d", b"1")
    expected = ["rescan, complete=False", (b"a", None), (b"c", b"1"), (b"d", b"1")]
    assert read(replica.changes(since=feed.cursor, live=False)) == expected
    assert read(feed) == expected
    assert read(feed) == []
    assert read(replica.changes(live=False)) == [(b"b", b"1"), (b"c", b"1"), (b"d", b"1")], (
        "who has nothing is not told"
    )


def test_forgotten_deletions_begin_anew(replica: lrep.Replica) -> None:
    replica.put(b"a", b"1")
    replica.put(b"b", b"1")
    feed = replica.changes(live=False)
    read(feed)
    replica.delete(b"a")
    retention: Retention = replica._node.store.retention
    retention.drop_tombstones(NOW)
    expected = ["rescan, complete=True", (b"b", b"1")]
    assert read(replica.changes(since=feed.cursor, live=False)) == expected
    begun = replica.changes(since=feed.cursor, live=False)
    assert next(begun) == lrep.Rescan(complete=True)
    assert read(replica.changes(since=begun.cursor, live=False)) == expected, "who broke off must begin anew"
    assert read(feed) == expected
    assert read(feed) == []


def test_on_another_node(tmp_path: Path) -> None:
    a = LocalNode(tmp_path / "a")
    b = LocalNode(tmp_path / "b", [a.address])
    try:
        a.put(b"1", b"")
        wait_in_sync(a, b)
        feed = a.replica.changes(live=False)
        assert read(feed) == [(b"1", b"")]
        b.put(b"2", b"")
        assert read(b.replica.changes(since=feed.cursor, live=False)) == [(b"2", b"")]
        b.close()
        a.put(b"3", b"")
        assert (b"3", b"") in read(feed)
        b.servers = []
        b.open()
        assert read(b.replica.changes(since=feed.cursor, live=False)) == [
            "rescan, complete=True",
            (b"1", b""),
            (b"2", b""),
        ], "it knows less than the reader: what it has may be older"
    finally:
        a.close()
        b.close()


def test_live(replica: lrep.Replica) -> None:
    got: Queue[Any] = Queue()
    feed = replica.changes(now=True)
    replica.put(b"0", b"")

    def run() -> None:
        for item in feed:
            got.put(item)
        got.put("the end")

    thread = threading.Thread(target=run)
    thread.start()
    for number in range(1, 100):
        replica.put(b"%d" % number, b"")
        if number % 10 == 0:
            while got.get(timeout=60).key != b"%d" % number:
                pass
    assert not got.empty() or feed.wait(0) is not None
    feed.close()
    while got.get(timeout=60) != "the end":
        pass
    thread.join()


def test_remote_changes_wake_a_live_feed(tmp_path: Path) -> None:
    a = LocalNode(tmp_path / "a")
    b = LocalNode(tmp_path / "b", [a.address])
    try:
        feed = b.replica.changes()
        for number in range(20):
            a.put(b"%d" % number, b"")
            item = next(feed)
            assert isinstance(item, lrep.Change)
            assert (item.key, item.origin) == (b"%d" % number, a.origin)
    finally:
        a.close()
        b.close()


def test_waiting(replica: lrep.Replica) -> None:
    feed = replica.changes(live=False)
    assert not feed.wait(0)
    assert not feed.wait(0.01)
    replica.put(b"a", b"")
    assert feed.wait(60)
    assert read(feed) == [(b"a", b"")]


def test_the_end_of_the_replica_is_the_end_of_a_live_feed(tmp_path: Path) -> None:
    replica = lrep.open(tmp_path / "a")
    feed = replica.changes()
    ended = threading.Thread(target=lambda: list(feed))
    ended.start()
    replica.close()
    ended.join(60)
    assert not ended.is_alive()
    with pytest.raises(lrep.ClosedError):
        replica.changes()


def test_a_damaged_entry_of_the_log_is_bridged(tmp_path: Path) -> None:
    with lrep.open(tmp_path / "a") as replica:
        replica.put(b"a", b"1")
        cursor = replica.changes(live=False)
        read(cursor)
        replica.put(b"b", b"2")
    with plyvel.DB(str(tmp_path / "a" / "rs")) as rs:
        key, record = list(rs.iterator(prefix=b"l"))[-1]
        rs.put(key, record[:-1] + b"x")
    with lrep.open(tmp_path / "a") as replica:
        assert read(replica.changes(since=cursor.cursor, live=False)) == ["rescan, complete=False", (b"b", b"2")]


CUT = "2.AAAAAAAAAAEAAAAC" + "A" * 32
"""Of node 1, with a vector of two lines that is cut off."""
WHOLE = Cursor({7: 1 << 63, 3: 5}, 9, {7: (1 << 63) + 1, 4: 1})


@pytest.mark.parametrize(
    "since",
    [
        "",
        "x",
        "1.x",
        "1.AAAA",
        "2.",
        "3.",
        5,
        b"1.",
        encode_cursor(Cursor({1: 2}))[:-2],
        encode_cursor(WHOLE)[:-2],
        CUT,
    ],
)
def test_what_is_no_cursor(replica: lrep.Replica, since: Any) -> None:
    with pytest.raises(lrep.ConfigError, match="not a cursor"):
        replica.changes(since=since)


@pytest.mark.parametrize("cursor", [WHOLE, Cursor({}), Cursor({}, 9), Cursor({3: 5}), Cursor({3: 5}, 1 << 63)])
def test_cursors_are_texts(cursor: Cursor) -> None:
    text = encode_cursor(cursor)
    assert decode_cursor(text) == cursor
    assert encode_cursor(Cursor(dict(reversed(cursor.vector.items())), cursor.node, cursor.ahead)) == text


def test_only_what_is_beyond_the_vector_is_kept() -> None:
    assert decode_cursor(encode_cursor(Cursor({3: 5, 4: 1}, 9, {3: 5, 4: 2}))) == Cursor({3: 5, 4: 1}, 9, {4: 2})


def test_cursors_of_earlier_versions(replica: lrep.Replica) -> None:
    """A vector alone, of no node that we know."""
    assert decode_cursor("1.AQIDBAUGBwgBi8_laAAAAQ") == Cursor({0x0102030405060708: 0x018BCFE568000001})
    replica.put(b"a", b"1")
    feed = replica.changes(live=False)
    read(feed)
    replica.put(b"b", b"2")
    old = encode_cursor(Cursor(decode_cursor(feed.cursor).vector))
    assert old.startswith("1.")
    assert read(replica.changes(since=old, live=False)) == [(b"b", b"2")]


def test_arguments(replica: lrep.Replica) -> None:
    with pytest.raises(lrep.ConfigError, match="one of the two"):
        replica.changes(since=encode_cursor(Cursor({})), now=True)
    with pytest.raises(TypeError, match="prefix"):
        replica.changes(prefix="x")  # type: ignore[arg-type]


# -- callbacks


def test_on_change(tmp_path: Path) -> None:
    got: list[Any] = []

    def on_change(change: Any) -> None:
        got.append(change.key)
        if change.key == b"bad":
            raise ValueError("a mistake of the program")
        if change.key == b"worse":
            sys.exit("it ends the thread that it is called on, where nobody looks")

    with lrep.open(tmp_path / "a") as replica:
        replica.put(b"before", b"")
    with lrep.open(tmp_path / "a", {"on_change": on_change}) as replica:
        replica.put(b"bad", b"")
        replica.put(b"worse", b"")
        replica.put(b"good", b"")
        wait_until(lambda: b"good" in got, "a call")
    assert got == [b"bad", b"worse", b"good"]


@pytest.mark.parametrize("error", [ValueError("a mistake"), SystemExit(1), KeyboardInterrupt()])
def test_a_callback_that_raises_is_called_again(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    got: list[int] = []

    def function(event: int) -> None:
        got.append(event)
        raise error

    callback: Callback[int] = Callback(function)
    callback(1)
    callback(2)
    callback.close(60)
    assert got == [1, 2]
    assert [record.message for record in caplog.records] == 2 * ["an event callback raised an error"]


def test_on_conflict(tmp_path: Path) -> None:
    told: Queue[tuple[Any, ...]] = Queue()
    a = LocalNode(tmp_path / "a", on_conflict=lambda *conflict: told.put(conflict))
    b = LocalNode(tmp_path / "b", [a.address], on_conflict=lambda *conflict: told.put(conflict))
    try:
        a.put(b"overwritten", b"1")
        wait_in_sync(a, b)
        b.put(b"overwritten", b"2")
        wait_in_sync(a, b)
        b.close()
        a.put(b"both", b"older")
        b.servers = []
        b.open()
        b.put(b"both", b"newer")
        b.close()
        b.servers = [a.address]
        b.open()
        wait_in_sync(a, b)
        key, winner, loser = told.get(timeout=60)
        assert key == b"both"
        assert (winner.value, winner.origin) == (b"newer", b.origin)
        assert (loser.value, loser.origin) == (b"older", a.origin)
        assert winner.time_ms >= loser.time_ms
        assert told.get(timeout=60) == (key, winner, loser), "both had one of the two, and hear of it"
        a.put(b"both", b"in knowledge of both")
        wait_in_sync(a, b)
    finally:
        a.close()
        b.close()
    assert told.empty()


def test_what_waits_for_a_slow_callback_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("level_replicator.api.callbacks.MAX_WAITING_EVENT_BYTES", 1_000)
    release, got = threading.Event(), []

    def slow(event: bytes) -> None:
        release.wait(60)
        got.append(event)

    callback: Callback[bytes] = Callback(slow, len)
    callback(b"first")
    wait_until(lambda: not callback._waiting, "the first call")
    for number in range(10):
        callback(b"%d" % number * 300)
    assert callback._bytes == 900
    callback(b"x" * 5_000)
    assert callback._bytes == 5_000
    release.set()
    callback.close(60)
    assert got == [b"first", b"x" * 5_000]
