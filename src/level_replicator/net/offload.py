"""A blocking call away from the event loop, on a thread that neither others nor the end of the process wait for."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


async def on_daemon_thread(function: Callable[[], _T], name: str) -> _T:
    """What the function returns or raises. asyncio's own threads are few, shared, and joined at exit: a name
    server that does not answer would hold up everybody."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
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
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=f"level-replicator {name}", daemon=True).start()
    return await outcome
