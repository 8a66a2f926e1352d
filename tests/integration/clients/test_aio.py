"""The database for coroutines: a client, and a replica of this process."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import level_replicator as lrep
from level_replicator.core.limits import CLIENT_THREADS, PAGE_ENTRIES
from tests.harness import waiting
from tests.integration.security.keys import pems, print_of

Body = Callable[[lrep.aio.AsyncDatabase, lrep.Replica], Awaitable[None]]
KINDS = ["unix", "tcp", "tls", "here"]


@pytest.fixture(params=KINDS)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Body], None]:
    """Runs a coroutine with the database of a client over each transport, and of a replica in this process."""

    @asynccontextmanager
    async def opened(replica: lrep.Replica) -> AsyncIterator[lrep.aio.AsyncDatabase]:
        if request.param == "here":
            async with lrep.aio.wrap(replica) as db:
                yield db
            return
        options: dict[str, Any] = {}
        where: Any = tmp_path / "node"
        if request.param != "unix":
            where = "{}:{}".format(*replica.address or ())
        if request.param == "tls":
            options = {"pems": pems("B"), "fingerprint": print_of("A")}
        async with await lrep.aio.connect(where, **options) as db:
            yield db

    async def main(body: Body, replica: lrep.Replica) -> None:
        async with asyncio.timeout(waiting.DEADLINE_S), opened(replica) as db:
            await body(db, replica)

    def play(body: Body) -> None:
        config: dict[str, Any] = {"port": 0}
        if request.param == "tls":
            config |= {"pems": pems("A"), "trusted": print_of("B")}
        with lrep.open(tmp_path / "node", config) as replica:
            asyncio.run(main(body, replica))

    return play


def test_methods(play: Callable[[Body], None], tmp_path: Path) -> None:
    async def body(db: lrep.aio.AsyncDatabase, replica: lrep.Replica) -> None:
        await db.put(b"key", b"value", sync=True)
        assert await db.get(b"key") == replica.get(b"key") == b"value"
        assert await db.get(b"nothing", b"else") == b"else"
        await db.delete(b"key")
        assert await db.get(b"key") is None
        async with db.write_batch() as batch:
            for i in range(2 * PAGE_ENTRIES + 1):
                batch.put(b"%06d" % i, b"v")
            batch.delete(b"000000")
        with contextlib.suppress(ZeroDivisionError):
            async with db.write_batch(transaction=True) as batch:
                batch.put(b"never", b"")
                raise ZeroDivisionError
        assert await db.get(b"never") is None
        snapshot = await db.snapshot()
        await db.put(b"000001", b"new")
        assert len([key async for key in db.iterator(include_value=False)]) == 2 * PAGE_ENTRIES
        assert [item async for item in db.iterator(reverse=True, stop=b"000003")] == [
            (b"000002", b"v"),
            (b"000001", b"new"),
        ]
        assert [value async for value in db.iterator(prefix=b"000001", include_key=False)] == [b"new"]
        assert await snapshot.get(b"000001") == b"v"
        assert [value async for _, value in snapshot][:1] == [b"v"]
        snapshot.close()
        with pytest.raises(lrep.ClosedError):
            await snapshot.get(b"key")
        assert (await db.status())["keys"] == 2 * PAGE_ENTRIES
        assert await db.wait_synced(1)
        report = await db.verify()
        assert isinstance(report, lrep.Report)
        assert report.sound
        assert await db.truncate() > 0

    play(body)


def test_errors(play: Callable[[Body], None]) -> None:
    async def body(db: lrep.aio.AsyncDatabase, replica: lrep.Replica) -> None:
        for wrong in (
            lambda: db.put("text", b""),  # type: ignore[arg-type]
            lambda: db.get(1),  # type: ignore[arg-type]
            lambda: db.delete(None),  # type: ignore[arg-type]
        ):
            with pytest.raises(TypeError):
                await wrong()
        with pytest.raises(lrep.LimitError):
            await db.put(b"k" * (1024 * 1024 + 1), b"")
        with pytest.raises(lrep.ConfigError):
            await db.verify("nobody")
        with pytest.raises(lrep.ConfigError):
            db.changes("nonsense")
        with pytest.raises(TypeError):
            await anext(db.iterator(prefix=b"a", start=b"b"))
        assert [item async for item in db.iterator(start=b"b", stop=b"a")] == []

    play(body)


def test_many_requests_at_once_need_few_threads(play: Callable[[Body], None]) -> None:
    async def body(db: lrep.aio.AsyncDatabase, replica: lrep.Replica) -> None:
        before = threading.active_count()
        most = 0

        async def work(number: int) -> None:
            nonlocal most
            for i in range(5):
                key = b"%d %d" % (number, i)
                await db.put(key, key, sync=i == 0)
                assert await db.get(key) == key
                most = max(most, threading.active_count())

        await asyncio.gather(*(work(number) for number in range(100)))
        assert len(dict(replica)) == 500
        assert most <= before + CLIENT_THREADS

    play(body)


def test_a_feed(play: Callable[[Body], None]) -> None:
    async def body(db: lrep.aio.AsyncDatabase, replica: lrep.Replica) -> None:
        replica.put(b"old", b"1")
        assert [item.key async for item in db.changes(live=False)] == [b"old"]  # type: ignore[union-attr]
        feed = await db.changes(now=True).start()
        reading = asyncio.ensure_future(anext(feed))
        await asyncio.sleep(0)
        await db.put(b"new", b"2")
        assert (await reading).key == b"new"  # type: ignore[union-attr]
        cursor = feed.cursor
        await feed.close()
        assert [item async for item in db.changes(cursor, live=False)] == []
        with pytest.raises(StopAsyncIteration):
            await anext(feed)

    play(body)


def test_a_cancelled_read_loses_no_change(play: Callable[[Body], None]) -> None:
    async def body(db: lrep.aio.AsyncDatabase, replica: lrep.Replica) -> None:
        feed = await db.changes(now=True).start()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await anext(feed)
        await db.put(b"key", b"value")
        assert (await anext(feed)).key == b"key"  # type: ignore[union-attr]
        await feed.close()

    play(body)


def test_repeated_waits_leave_no_listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a node without writes: a write would remove the listeners."""
    monkeypatch.setattr("level_replicator.client.aio.changes.MAX_CLIENT_WAITS_MS", 1)

    async def body(replica: lrep.Replica) -> None:
        notifier = replica._node.store.notifier
        listen = notifier.call_at_next
        waiting_counts: list[int] = []
        enough = asyncio.Event()

        def listening(call: Callable[[], None]) -> None:
            listen(call)
            waiting_counts.append(notifier.waiting)
            if len(waiting_counts) == 5:
                enough.set()

        monkeypatch.setattr(notifier, "call_at_next", listening)
        async with lrep.aio.wrap(replica) as db:
            feed = await db.changes(now=True).start()
            reading = asyncio.ensure_future(anext(feed))
            await enough.wait()
            assert set(waiting_counts) == {1}
            replica.put(b"key", b"value")
            assert (await reading).key == b"key"  # type: ignore[union-attr]
            await feed.close()
        assert notifier.waiting == 0

    with lrep.open(tmp_path / "node", {}) as replica:
        asyncio.run(body(replica))


def test_when_the_node_comes_back(tmp_path: Path) -> None:
    async def body() -> None:
        replica = lrep.open(tmp_path / "node", {})
        async with await lrep.aio.connect(tmp_path / "node") as db:
            feed = await db.changes(now=True).start()
            replica.close()
            with pytest.raises(lrep.ConnectionLostError):
                await db.get(b"key")
            with lrep.open(tmp_path / "node", {}) as replica:
                await db.put(b"key", b"value")
                assert (await anext(feed)).key == b"key"  # type: ignore[union-attr]
        with pytest.raises(lrep.ClosedError):
            await db.get(b"key")
        with pytest.raises(lrep.ConnectionLostError):
            await lrep.aio.connect(tmp_path / "node")

    asyncio.run(body())


def test_rejected_clients(tmp_path: Path) -> None:
    async def body(address: str) -> None:
        with pytest.raises(lrep.ReplicationError, match="not among those"):
            await lrep.aio.connect(address, pems=pems("C"), fingerprint=print_of("A"))
        with pytest.raises(lrep.ReplicationError, match="should have"):
            await lrep.aio.connect(address, pems=pems("B"), fingerprint=print_of("C"))
        with pytest.raises(lrep.ReplicationError):
            await lrep.aio.connect(address, timeout=5)

    with lrep.open(tmp_path / "node", {"port": 0, "pems": pems("A"), "trusted": print_of("B")}) as replica:
        asyncio.run(body("{}:{}".format(*replica.address or ())))


def test_connect_is_awaited_or_a_block(tmp_path: Path) -> None:
    async def main() -> None:
        async with lrep.aio.connect(tmp_path) as db:
            await db.put(b"key", b"value")
        assert db.closed
        async with await lrep.aio.connect(tmp_path) as db:
            assert await db.get(b"key") == b"value"
        db = await asyncio.create_task(lrep.aio.connect(tmp_path))
        await db.close()
        db = await asyncio.wait_for(lrep.aio.connect(tmp_path), 30)
        await db.close()
        with pytest.raises(lrep.ConnectionLostError):
            async with lrep.aio.connect(tmp_path / "nothing"):
                raise AssertionError

    with lrep.open(tmp_path):
        asyncio.run(main())


def test_connect_runs_as_a_coroutine(tmp_path: Path) -> None:
    with pytest.raises(lrep.ConnectionLostError, match="nothing"):
        asyncio.run(lrep.aio.connect(tmp_path / "nothing"))
