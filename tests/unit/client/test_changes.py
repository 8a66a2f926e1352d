"""Readers of a changes feed: positions, lost connections, nodes that are away, interrupts, and cancellations."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from level_replicator.client.aio.changes import AsyncChanges
from level_replicator.client.changes import FeedPosition, RemoteChanges
from level_replicator.core.errors import ClosedError, ConfigError, ConnectionLostError, RemoteProtocolError
from level_replicator.core.version_vector import Cursor, decode_cursor, encode_cursor, encode_vector
from level_replicator.protocol.client_messages import (
    AnyAnswer,
    AnyRequest,
    Done,
    Follow,
    Items,
    Number,
    Read,
    Unfollow,
)
from level_replicator.storage.feed.change_feed import Change, Rescan

ORIGIN, NODE = 1, 9


class Feeds:
    """A node with changes 1, 2, … of one origin, of which each read gives those that the feed has not given yet.

    `trouble` is raised by the next call, `during` is called in each."""

    def __init__(self) -> None:
        self.closed = False
        self.name = "feeds"
        self.last = 0
        self.trouble: BaseException | None = None
        self.during: Callable[[AnyRequest], None] = lambda _request: None
        self.requests: list[AnyRequest] = []
        self.parts: list[Feeds] = []
        self._feeds: dict[int, int] = {}

    def call(self, request: AnyRequest, progress: Any = None) -> AnyAnswer:
        self.requests.append(request)
        self.during(request)
        trouble, self.trouble = self.trouble, None
        if trouble is not None:
            self._feeds.clear()
            raise trouble
        match request:
            case Follow(cursor=cursor, now=now):
                number = len(self.requests)
                at = decode_cursor(cursor).vector.get(ORIGIN, 0) if cursor else 0
                self._feeds[number] = self.last if now else at
                return Number(0, number)
            case Read(feed=feed):
                if feed not in self._feeds:
                    raise ClosedError("this changes feed is closed")
                at, self._feeds[feed] = self._feeds[feed], self.last
                return items(range(at + 1, self.last + 1), self.last)
            case Unfollow():
                return Done(0)
            case _:
                raise AssertionError(request)

    def forget(self, snapshot: int) -> None: ...

    def forget_feed(self, feed: int) -> None: ...

    def apart(self) -> "Feeds":
        self.parts.append(self)
        return self

    def close(self) -> None: ...

    @property
    def follows(self) -> list[Follow]:
        return [request for request in self.requests if isinstance(request, Follow)]


class AsyncFeeds(Feeds):
    """`held`, if it is there, holds back all answers until it is set."""

    held: asyncio.Event | None = None

    async def call(self, request: AnyRequest, progress: Any = None) -> AnyAnswer:  # type: ignore[override]
        await asyncio.sleep(0)
        if self.held is not None:
            await self.held.wait()
        return super().call(request)


def items(stamps: Any, last: int, *, rescan: int = 0) -> Items:
    changes = [(b"%d" % stamp, b"", ORIGIN, stamp) for stamp in stamps]
    return Items(0, changes, True, rescan, encode_vector({ORIGIN: last} if last else {}), False, NODE)


# -- position


def test_without_a_cursor_all_is_asked_for_until_there_is_one() -> None:
    position = FeedPosition(None, b"p", now=False)
    assert position.follow == Follow(0, None, b"p", False)
    assert not position.take(items([], 0))
    assert position.follow == Follow(0, None, b"p", False), "an empty cursor would ask for a rescan of nothing"
    assert position.take(items([1, 2], 2))
    assert position.waiting
    position.give()
    assert position.follow == Follow(0, position.cursor, b"p")
    assert decode_cursor(position.cursor).vector == {ORIGIN: 1}


def test_now_is_asked_for_until_the_node_has_said_where_it_is() -> None:
    position = FeedPosition(None, b"", now=True)
    assert position.follow == Follow(0, None, b"", True)
    assert not position.take(items([], 7))
    assert position.follow == Follow(0, position.cursor, b"")
    assert decode_cursor(position.cursor).vector == {ORIGIN: 7}


def test_a_rescan_comes_before_its_changes() -> None:
    position = FeedPosition(encode_cursor(Cursor({ORIGIN: 5})), b"", now=False)
    assert position.take(items([6], 6, rescan=2))
    assert position.give() == Rescan(True)
    assert position.follow.cursor is not None, "it has been given something"
    assert isinstance(position.give(), Change)


def test_arguments() -> None:
    cursor = encode_cursor(Cursor({ORIGIN: 5}))
    assert FeedPosition(cursor, b"", now=False).follow == Follow(0, cursor, b"")
    with pytest.raises(ConfigError, match="one of the two"):
        FeedPosition(cursor, b"", now=True)
    with pytest.raises(ConfigError):
        FeedPosition("nonsense", b"", now=False)
    with pytest.raises(TypeError, match="expected bytes, got str"):
        FeedPosition(None, "p", now=False)  # type: ignore[arg-type]


def test_a_cursor_that_a_node_breaks() -> None:
    with pytest.raises(RemoteProtocolError):
        FeedPosition(None, b"", now=False).take(Items(0, [], True, 0, b"\xff\xff", False))


# -- readers


class Reader:
    """A feed in one of its two shapes, over the same node."""

    def __init__(self, kind: str, runner: asyncio.Runner) -> None:
        self._runner = runner if kind == "aio" else None
        self.feeds = AsyncFeeds() if kind == "aio" else Feeds()

    def open(self, *, live: bool = True, now: bool = False, since: str | None = None) -> Any:
        if self._runner is None:
            return RemoteChanges(self.feeds, since, b"", live=live, now=now)
        feed = AsyncChanges(self.feeds, since, b"", live=live, now=now)  # type: ignore[arg-type]
        return self._runner.run(feed.start())

    def next(self, feed: Any) -> Any:
        async def following() -> Any:
            return await anext(feed, None)

        return next(feed, None) if self._runner is None else self._runner.run(following())

    def do(self, work: Callable[[], Any]) -> Any:
        async def main() -> Any:
            return await work()

        return work() if self._runner is None else self._runner.run(main())


@pytest.fixture(params=["sync", "aio"])
def reader(request: pytest.FixtureRequest) -> Any:
    with asyncio.Runner() as runner:
        yield Reader(request.param, runner)


def test_it_ends_where_there_is_nothing_more(reader: Reader) -> None:
    reader.feeds.last = 2
    feed = reader.open(live=False)
    assert [reader.next(feed).key, reader.next(feed).key] == [b"1", b"2"]
    assert reader.next(feed) is None
    reader.feeds.last = 3
    assert reader.next(feed) is None, "it has ended for good"
    again = reader.open(live=False, since=feed.cursor)
    assert reader.next(again).key == b"3"


def test_after_a_lost_connection_it_reads_on_at_the_cursor(reader: Reader) -> None:
    feed = reader.open(now=True)
    reader.feeds.last = 2
    assert reader.next(feed).key == b"1"
    assert reader.next(feed).key == b"2"
    reader.feeds.last = 3
    reader.feeds.trouble = ConnectionLostError("the node went away")
    assert reader.next(feed).key == b"3"
    first, second = reader.feeds.follows
    assert (first.cursor, first.now) == (None, True)
    assert second.cursor is not None
    assert decode_cursor(second.cursor).vector == {ORIGIN: 2}


def test_a_feed_from_now_on_misses_nothing_when_it_is_lost_before_its_first_item(reader: Reader) -> None:
    reader.feeds.last = 5
    feed = reader.open(now=True)
    reader.feeds.trouble = ConnectionLostError("the node went away")
    reader.feeds.last = 6
    assert reader.next(feed).key == b"6"


def test_a_node_that_does_not_come_back(reader: Reader) -> None:
    """The error comes from each call, and the feed goes on with the node."""
    feed = reader.open(now=True)
    reader.feeds.last = 1

    def away(_request: AnyRequest) -> None:
        raise ConnectionLostError("the node went away")

    reader.feeds.during = away
    for _ in range(2):
        with pytest.raises(ConnectionLostError):
            reader.next(feed)
    reader.feeds.during = lambda _request: None
    assert reader.next(feed).key == b"1"


def test_closed_while_it_reads(reader: Reader) -> None:
    feed = reader.open(now=True)

    def close(request: AnyRequest) -> None:
        if isinstance(request, Read):
            feed._closed = True
            raise ConnectionLostError("it was closed")

    reader.feeds.during = close
    reader.feeds.closed = True
    assert reader.next(feed) is None
    assert len(reader.feeds.follows) == 1


def test_waiting(reader: Reader) -> None:
    feed = reader.open(now=True)
    assert reader.do(lambda: feed.wait(0)) is False
    assert reader.do(lambda: feed.wait(0.01)) is False
    waits = [request.wait_ms for request in reader.feeds.requests if isinstance(request, Read)]
    assert all(0 <= wait_ms <= 10 for wait_ms in waits)
    reader.feeds.last = 1
    assert reader.do(lambda: feed.wait(0)) is True
    assert reader.do(lambda: feed.wait()) is True
    assert reader.next(feed).key == b"1"
    reader.do(feed.close)
    assert reader.do(lambda: feed.wait()) is False


def test_an_interrupted_read_is_read_once_more() -> None:
    feeds = Feeds()
    feed = RemoteChanges(feeds, None, b"", live=True, now=True)
    feeds.last = 1
    feeds.trouble = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        next(feed)
    assert next(feed) == Change(b"1", b"", f"{ORIGIN:016x}", 1)
    assert len(feeds.parts) == 2


def test_a_feed_that_was_closed_while_it_was_dialed_again_keeps_no_connection() -> None:
    feeds = Feeds()
    closed: list[bool] = []
    feeds.close = lambda: closed.append(True)  # type: ignore[method-assign]
    feed = RemoteChanges(feeds, None, b"", live=True, now=True)
    feeds.trouble = ConnectionLostError("the node went away")
    apart = feeds.apart

    def closing() -> Feeds:
        feed.close()
        return apart()

    feeds.apart = closing  # type: ignore[method-assign]
    assert next(feed, None) is None
    assert closed == [True, True]
    assert len(feeds.follows) == 1


def test_a_cancelled_read_is_left_to_the_next_one() -> None:
    async def main() -> None:
        feeds = AsyncFeeds()
        feed = await AsyncChanges(feeds, None, b"", live=True, now=True).start()  # type: ignore[arg-type]
        feeds.last = 1
        feeds.held = asyncio.Event()
        for _ in range(3):
            reading = asyncio.ensure_future(anext(feed))
            await asyncio.sleep(0.001)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        feeds.held.set()
        assert (await anext(feed)).key == b"1"  # type: ignore[union-attr]
        assert len(feeds.follows) == 1

    asyncio.run(main())


def test_closing_wakes_the_task_that_waits_and_not_one_that_is_cancelled() -> None:
    async def main() -> None:
        feeds = AsyncFeeds()
        feed = await AsyncChanges(feeds, None, b"", live=True, now=True).start()  # type: ignore[arg-type]
        feeds.held = asyncio.Event()
        waiting = asyncio.ensure_future(anext(feed, "the end"))
        await asyncio.sleep(0.001)
        closing = asyncio.ensure_future(feed.close())
        assert await waiting == "the end"
        feeds.held.set()
        await closing
        assert isinstance(feeds.requests[-1], Unfollow)

        feed = await AsyncChanges(feeds, None, b"", live=True, now=True).start()  # type: ignore[arg-type]
        feeds.held.clear()
        waiting = asyncio.ensure_future(anext(feed, "the end"))
        await asyncio.sleep(0.001)
        waiting.cancel()
        feed.end()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
