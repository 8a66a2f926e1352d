"""Run the application's `identify`, which may block, raise, never return, or be a coroutine function.

A function runs on a thread of its own, a coroutine on an event loop that all coroutines share. Neither runs on the
event loop of the node.
"""

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future
from typing import Any

from level_replicator.core.limits import (
    MAX_IDENTIFY_CALLS,
    MAX_IDENTIFY_STRANGERS,
    MAX_IDENTIFY_STRANGERS_PER_NETWORK,
)
from level_replicator.security.peer_identity import Decision, PeerIdentity

_log = logging.getLogger("level_replicator.security")

Identify = Callable[[PeerIdentity], Any]


class IdentifyRunner:
    """Calls `identify` for peers. Call `ask` from one thread only; its results are set on other threads."""

    def __init__(self, identify: Identify) -> None:
        self._identify = identify
        self._under_way = 0
        self._strangers: dict[str, int] = {}
        """Network → number of running calls for unknown peers from there."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def ask(self, peer: PeerIdentity, network: str) -> "Future[Decision]":
        """Call `identify` and return a future of its decision, which is set when `identify` has returned and decided.

        If `identify` raises, the peer is rejected. `network` is the network of the peer's address; the calls for
        unknown peers are limited for each network."""
        outcome: Future[Decision] = Future()
        stranger = None if peer.known else network
        with self._lock:
            if not self._has_room(stranger):
                outcome.set_result(
                    Decision(accepted=False, reason="too many peers wait for a decision; try again later")
                )
                return outcome
            self._under_way += 1
            if stranger is not None:
                self._strangers[stranger] = self._strangers.get(stranger, 0) + 1
        threading.Thread(
            target=self._call, args=(peer, outcome, stranger), name="level-replicator-identify", daemon=True
        ).start()
        return outcome

    def _has_room(self, stranger: str | None) -> bool:
        if self._under_way >= MAX_IDENTIFY_CALLS:
            return False
        return stranger is None or (
            self._strangers.get(stranger, 0) < MAX_IDENTIFY_STRANGERS_PER_NETWORK
            and sum(self._strangers.values()) < MAX_IDENTIFY_STRANGERS
        )

    def _ended(self, stranger: str | None) -> None:
        with self._lock:
            self._under_way -= 1
            if stranger is not None:
                self._strangers[stranger] -= 1
                if not self._strangers[stranger]:
                    del self._strangers[stranger]

    def close(self) -> None:
        """Stop the shared event loop. Cancels coroutines that still run, without waiting for them."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)

    def _call(self, peer: PeerIdentity, outcome: "Future[Decision]", stranger: str | None) -> None:
        try:
            result = self._identify(peer)
            if inspect.isawaitable(result):
                asyncio.run_coroutine_threadsafe(_await(result), self._coroutines()).result()
        except (asyncio.CancelledError, FutureCancelledError):
            outcome.set_result(Decision(accepted=False, reason="the node is stopping"))
        except BaseException as error:
            _log.error("identify raised an exception, so the peer at %s is rejected", peer.address, exc_info=error)
            outcome.set_result(Decision(accepted=False, reason="the application failed to decide about this peer"))
        else:
            peer.decision.add_done_callback(lambda decided: outcome.set_result(decided.result()))
        finally:
            self._ended(stranger)

    def _coroutines(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run, args=(self._loop,), name="level-replicator-identify-loop", daemon=True
                ).start()
            return self._loop


async def _await(awaitable: Any) -> None:
    await awaitable


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()
