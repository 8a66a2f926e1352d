"""Run a blocking call on a daemon thread of its own, outside the event loop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

_T = TypeVar("_T")


async def on_daemon_thread(function: Callable[[], _T], name: str) -> _T:
    """Call `function` on a new daemon thread, and return or raise its result. `name` is part of the thread's name.

    The threads of asyncio are not used: they are few, shared, and joined at exit, so that a name server that does not
    answer would delay other calls and the end of the process."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_T] = loop.create_future()

    def set_outcome(set_it: Callable[[], None]) -> None:
        if not outcome.done():
            set_it()

    def run() -> None:
        try:
            set_it = partial(outcome.set_result, function())
        except BaseException as error:
            set_it = partial(outcome.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(set_outcome, set_it)

    threading.Thread(target=run, name=f"level-replicator {name}", daemon=True).start()
    return await outcome
