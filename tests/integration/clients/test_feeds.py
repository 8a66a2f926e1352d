"""The changes feed, read from another process."""

import signal
import threading
from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator.core.limits import CHANGES_CHUNK_ENTRIES
from tests.harness import waiting
from tests.harness.waiting import wait_until


def pairs_of(feed: lrep.RemoteChanges) -> list[tuple[bytes, bytes | None]]:
    return [(item.key, item.value) for item in feed if isinstance(item, lrep.Change)]


def test_all_changes_and_then_the_new_ones(replica: lrep.Replica, client: lrep.Client) -> None:
    count = 2 * CHANGES_CHUNK_ENTRIES + 3
    for i in range(count):
        replica.put(b"%06d" % i, b"1")
    first = client.changes(live=False)
    assert len(pairs_of(first)) == count
    replica.delete(b"000000")
    second = client.changes(first.cursor, live=False)
    assert pairs_of(second) == [(b"000000", None)]
    assert pairs_of(client.changes(second.cursor, live=False)) == []
    # and the cursor is one of any node's feed
    assert list(replica.changes(second.cursor, live=False)) == []


def test_a_live_feed_is_woken_by_writes_and_by_close(replica: lrep.Replica, client: lrep.Client) -> None:
    feed = client.changes(prefix=b"a", now=True)
    seen: list[bytes] = []

    def read() -> None:
        seen.extend(item.key for item in feed if isinstance(item, lrep.Change))

    thread = threading.Thread(target=read)
    thread.start()
    for i in range(100):
        replica.put(b"a%d" % i, b"")
        replica.put(b"b%d" % i, b"")
    wait_until(lambda: len(seen) == 100, "all writes")
    client.put(b"a last", b"")
    wait_until(lambda: len(seen) == 101, "a write while the feed waited")
    feed.close()
    thread.join(10)
    assert not thread.is_alive()
    assert seen == [b"a%d" % i for i in range(100)] + [b"a last"]


def test_waiting_has_an_end(replica: lrep.Replica, client: lrep.Client) -> None:
    feed = client.changes(now=True)
    assert feed.wait(0) is False
    assert feed.wait(0.05) is False
    replica.put(b"key", b"value")
    assert feed.wait(10)
    assert next(feed) == next(replica.changes())


def test_the_log_does_not_reach_back(replica: lrep.Replica, client: lrep.Client) -> None:
    replica.put(b"old", b"1")
    feed = client.changes(live=False)
    pairs_of(feed)
    replica.put(b"new", b"2")
    replica.truncate()
    items = list(client.changes(feed.cursor, live=False))
    assert isinstance(items[0], lrep.Rescan)
    assert not items[0].complete
    assert [item.key for item in items[1:] if isinstance(item, lrep.Change)] == [b"new"]


def test_a_feed_continues_after_a_restart_of_the_node(tmp_path: Path) -> None:
    with lrep.open(tmp_path / "node", {}) as replica:
        client = lrep.connect(tmp_path / "node")
        feed = client.changes(now=True)
        replica.put(b"1", b"")
        assert next(feed).key == b"1"  # type: ignore[union-attr]
    with pytest.raises(lrep.ConnectionLostError):
        next(feed)
    with lrep.open(tmp_path / "node", {}) as replica:
        replica.put(b"2", b"")
        assert next(feed).key == b"2"  # type: ignore[union-attr]
        feed.close()
        client.close()


def test_arguments(client: lrep.Client) -> None:
    with pytest.raises(lrep.ConfigError, match="cursor"):
        client.changes("not a cursor")
    with pytest.raises(lrep.ConfigError, match="one of the two"):
        client.changes(client.changes(live=False).cursor, now=True)
    with pytest.raises(TypeError):
        client.changes(prefix="text")  # type: ignore[arg-type]


def test_an_interrupted_reader_misses_nothing(replica: lrep.Replica, client: lrep.Client) -> None:
    """A signal handler that raises while a feed waits, and while an iterator and a snapshot are being opened."""

    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    feed = client.changes(now=True)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(20):
            with pytest.raises(Interrupted):
                _interrupted(feed)
            replica.put(b"%d" % number, b"")
            assert feed.wait(waiting.DEADLINE_S)
            assert next(feed).key == b"%d" % number  # type: ignore[union-attr]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert client.get(b"0") == b""


def _interrupted(feed: lrep.RemoteChanges) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.005)
    feed.wait(30)


def test_a_feed_ends_with_its_client(client: lrep.Client) -> None:
    feed = client.changes(now=True)
    ended = threading.Event()
    thread = threading.Thread(target=lambda: (list(feed), ended.set()))
    thread.start()
    assert not ended.wait(0.02)
    client.close()
    thread.join(30)
    assert ended.is_set()


def test_a_closed_feed_leaves_no_listener(replica: lrep.Replica, client: lrep.Client) -> None:
    """On a node without writes as well."""
    for _ in range(20):
        feed = client.changes(now=True)
        assert not feed.wait(0.01)
        feed.close()
    wait_until(
        lambda: len(replica._node.clients.connections) <= 1 and replica._node.store.notifier.waiting == 0,
        "all listeners to be removed",
    )
