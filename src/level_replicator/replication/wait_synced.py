"""Waiting until this node covers what its peers have: they are asked for their vectors, then ours has to follow."""

import asyncio

from level_replicator.core.limits import MAX_WAITING_ASKS
from level_replicator.core.version_vector import Vector, covers, raise_to
from level_replicator.protocol.messages import ByeCode
from level_replicator.protocol.session import Phase
from level_replicator.replication.coordinator import Hub
from level_replicator.replication.peer_connection import Link


class Syncing:
    """Of one node, on its event loop. `dials`: whether there are servers to wait for."""

    def __init__(self, hub: Hub, dials: bool) -> None:
        self._hub = hub
        self._dials = dials
        self._asked: dict[int, tuple[Link, asyncio.Future[Vector | None]]] = {}
        self._token = 0
        self._progress: list[asyncio.Future[None]] = []
        hub.on_told = self._told
        hub.on_moved = self._moved
        hub.on_link_ended = self._link_ended

    async def wait(self, timeout_s: float | None) -> bool:
        """See Replica.wait_synced."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._until_synced()
        except TimeoutError:
            return False
        return True

    def cancel(self) -> None:
        """Ends every wait: the node stops."""
        for _, answer in self._asked.values():
            answer.cancel()
        for waiting in self._progress:
            waiting.cancel()

    async def _until_synced(self) -> None:
        while self._dials and not self._open_links():
            await self._next_progress()
        answers = await asyncio.gather(*(self._ask(link) for link in self._open_links()))
        target: Vector = {}
        for vector in answers:
            raise_to(target, vector or {})
        while not covers(self._hub.store.vector_copy(), target):
            await self._next_progress()

    def _open_links(self) -> list[Link]:
        """Those whose changes we take."""
        links = self._hub.by_origin.values()
        return [link for link in links if link.session.phase is Phase.OPEN and not link.session.read_only]

    async def _ask(self, link: Link) -> Vector | None:
        """The peer's vector; None when the link ends before it is told."""
        while not link.ended and link.session.unanswered >= MAX_WAITING_ASKS:
            await self._next_progress()
        if link.ended:
            return None
        self._token += 1
        answer: asyncio.Future[Vector | None] = asyncio.get_running_loop().create_future()
        self._asked[self._token] = (link, answer)
        link.session.ask(self._token)
        self._hub.has_output(link)
        return await answer

    def _told(self, token: int, vector: Vector) -> None:
        _, answer = self._asked.pop(token, (None, None))
        if answer is not None and not answer.done():
            answer.set_result(vector)
        self._moved()

    def _link_ended(self, link: Link, _code: ByeCode | None) -> None:
        for token, (asked, answer) in list(self._asked.items()):
            if asked is link:
                del self._asked[token]
                if not answer.done():
                    answer.set_result(None)
        self._moved()

    def _moved(self) -> None:
        waiting, self._progress = self._progress, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _next_progress(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._progress.append(future)
        await future
