"""Blocking calls on daemon threads."""

import asyncio
import threading

import pytest

from level_replicator.net.offload import on_daemon_thread


def test_the_result_and_the_thread() -> None:
    thread = asyncio.run(on_daemon_thread(threading.current_thread, "name"))
    assert thread is not threading.current_thread()
    assert thread.daemon  # or the end of the process would wait for it
    assert thread.name == "level-replicator name"


def test_an_exception_is_raised_in_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(on_daemon_thread(lambda: 1 // 0, "name"))


def test_the_event_loop_runs_meanwhile() -> None:
    async def main() -> bool:
        released = threading.Event()
        call = asyncio.ensure_future(on_daemon_thread(lambda: released.wait(60), "name"))
        await asyncio.sleep(0)  # blocks for ever if the call runs on the loop
        released.set()
        return await call

    assert asyncio.run(main()) is True


def test_a_caller_that_was_cancelled() -> None:
    released, ended = threading.Event(), threading.Event()

    def blocked() -> None:
        released.wait(60)
        ended.set()

    async def main() -> None:
        call = asyncio.ensure_future(on_daemon_thread(blocked, "name"))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        released.set()
        await on_daemon_thread(lambda: ended.wait(60), "other")
        await asyncio.sleep(0)  # its result arrives, and is ignored

    asyncio.run(main())


def test_a_loop_that_was_closed_meanwhile() -> None:
    """The thread ends without an error, which pytest would report."""
    released = threading.Event()
    threads: list[threading.Thread] = []

    async def main() -> None:
        loop, started = asyncio.get_running_loop(), asyncio.Event()

        def blocked() -> None:
            threads.append(threading.current_thread())
            loop.call_soon_threadsafe(started.set)
            released.wait(60)

        call = asyncio.ensure_future(on_daemon_thread(blocked, "name"))
        await asyncio.wait_for(started.wait(), 60)
        call.cancel()

    asyncio.run(main())
    released.set()
    threads[0].join(60)
    assert not threads[0].is_alive()
