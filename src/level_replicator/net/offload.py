"""Run a blocking call on a daemon thread of its own, outside the event loop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


async def on_daemon_thread(function: Callable[[], _T], name: str) -> _T:
    """Call `function` on a new daemon thread, and return or raise its result. `name` is part of the thread's name.

    The threads of asyncio are not used: they are few, shared, and joined at exit, so that a name server that does not
    answer would delay other calls and the end of the process."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_T] = loop.create_future()

    def set_outcome(result: _T | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(set_outcome, result, error)

    threading.Thread(target=run, name=f"level-replicator {name}", daemon=True).start()
    return await outcome
