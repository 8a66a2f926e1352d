"""What is kept for a peer: intervals, few of them, however far it falls behind."""

import dataclasses

from level_replicator.core.limits import MAX_SEND_QUEUE_INTERVALS
from level_replicator.storage.feed.round_planner import Round
from level_replicator.storage.feed.send_queue import SendQueue
from level_replicator.storage.store import Store
from tests.unit.storage.rig import Rig, contents, pull


def _open(store: Store, feed: SendQueue) -> Round:
    opened = store.rounds.open_next(feed, {}, {})
    assert isinstance(opened, Round)
    return opened


def _live_feed(rig: Rig, peer: int = 99) -> SendQueue:
    store = rig.open()
    feed = SendQueue(peer, [])
    _open(store, feed).reader.close()
    return feed


def test_a_feed_that_is_level_has_no_work() -> None:
    rig = Rig()
    feed = _live_feed(rig)
    assert rig.store is not None
    assert not rig.store.rounds.has_work(feed)
    rig.store.writer.put(b"k", b"v", False)
    assert rig.store.rounds.has_own_work(feed)
    opened = _open(rig.store, feed)
    target, work = opened.target, opened.work
    assert target == rig.store.vector
    assert list(work[rig.store.origin]) == [(0, target[rig.store.origin])]
    assert not rig.store.rounds.has_work(feed)


def test_a_peer_that_does_not_read_costs_few_intervals() -> None:
    rig = Rig()
    feed = _live_feed(rig)
    assert rig.store is not None
    for i in range(3 * MAX_SEND_QUEUE_INTERVALS):
        feed.add_intervals(7, [(10 * i, 10 * i + 1)])
        assert len(feed._pending[7]) <= MAX_SEND_QUEUE_INTERVALS
    assert feed._pending[7].overlaps(0, 1)
    assert feed._pending[7].overlaps(10 * i, 10 * i + 1)


def test_nobody_is_sent_what_it_wrote_itself() -> None:
    rig, other = Rig(1), Rig(2).open()
    other.writer.put(b"theirs", b"v", False)
    store = rig.open()
    pull(store, other)
    store.writer.put(b"ours", b"v", False)
    feed = SendQueue(other.origin, [])
    work = _open(store, feed).work
    assert set(work) == {store.origin}
    feed.add_intervals(other.origin, [(1, 2)])
    assert not store.rounds.has_work(feed)


def test_only_what_is_new_is_for_others() -> None:
    """A frame brings three entries of which the middle one was known: two intervals, without it."""
    source, sink = Rig(1).open(), Rig(2).open()
    for key in (b"a", b"b", b"c"):
        source.writer.put(key, b"v", False)
    seen = []
    apply = sink.apply

    def watched(frame, origin, vector):  # type: ignore[no-untyped-def]
        result = apply(frame, origin, vector)
        seen.append((frame, result.news[source.origin]))
        return result

    sink.apply = watched  # type: ignore[method-assign]
    pull(sink, source, frame_entries=10)
    ((frame, news),) = seen
    low, high = frame.entries[-1].stamp - 1, frame.entries[0].stamp
    assert news == [(low, high)]
    assert apply(frame, source.origin, {}).news == {}
    sink.writer.put(b"b", b"overwritten", False)
    third = Rig(3).open()
    middle = [entry for entry in frame.entries if entry.key == b"b"]
    third.apply(dataclasses.replace(frame, entries=middle, adopt=None, resumable=0), source.origin, {})
    news = third.apply(dataclasses.replace(frame, adopt=None, resumable=0), source.origin, {}).news[source.origin]
    stamp = middle[0].stamp
    assert news == [(high - 1, high), (low, low + 1)]
    assert all(not a < stamp <= b for a, b in news)
    assert set(contents(third)) == {b"a", b"b", b"c"}
