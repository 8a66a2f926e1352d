"""The event loop of one replica, in a thread of its own: it listens, dials, and runs the timers."""

import asyncio
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypeVar

from level_replicator.core.errors import ClosedError, ConfigError
from level_replicator.core.limits import ACCEPTS_PER_TURN, LISTEN_BACKLOG, MAX_TICK_S
from level_replicator.net.unix_socket import listen_unix
from level_replicator.node.admission import Admission
from level_replicator.node.client_registry import ClientAccess, ClientRegistry
from level_replicator.node.client_session import OpenRequestHandler
from level_replicator.node.dialer import Dialer
from level_replicator.node.stream import StreamTransport
from level_replicator.replication.coordinator import Coordinator
from level_replicator.replication.peers import Peer, PeerEvent
from level_replicator.replication.wait_synced import SyncWaiter
from level_replicator.security.node_security import NodeSecurity
from level_replicator.security.reloader import CredentialReloader
from level_replicator.storage.store import Store

_log = logging.getLogger("level_replicator.node")
_T = TypeVar("_T")
_STOP_TIMEOUT_S = 2.0
"""Seconds that `stop` waits until the last bytes of all connections have been sent."""
_LAST_TURNS = 4
"""Turns of the event loop in which pending callbacks complete at the end."""


class Listening(Protocol):
    """The common interface of asyncio.Server and UnixSocketServer."""

    @property
    def sockets(self) -> Sequence[Any]: ...

    def close(self) -> None: ...


class Node:
    """One node. `start`, `stop`, `call` and the other methods of the first section may be called from any thread; all
    else runs on the thread of the event loop."""

    def __init__(
        self,
        store: Store,
        *,
        host: str,
        port: int | None,
        servers: Mapping[str, tuple[str, int]],
        names: Mapping[str, str],
        insecure: bool,
        max_drift_ms: int,
        heartbeat_ms: int,
        wall_ms: Callable[[], int],
        instance: bytes,
        random: Random,
        on_event: Callable[[PeerEvent], None],
        open_request_handler: OpenRequestHandler,
        read_only: Collection[str] = (),
        security: NodeSecurity | None = None,
        keys: CredentialReloader | None = None,
        access: ClientAccess = ClientAccess.FULL,
        socket_path: Path | None = None,
    ) -> None:
        self.store = store
        self.servers = {
            address: Peer(address, dialled=True, name=names.get(address), read_only=address in read_only)
            for address in servers
        }
        self.address: tuple[str, int] | None = None
        self.sync_waiter = SyncWaiter()
        self.coordinator = Coordinator(
            store,
            instance=instance,
            now_ms=lambda: time.monotonic_ns() // 1_000_000,
            wall_ms=wall_ms,
            wake=self._wake,
            max_drift_ms=max_drift_ms,
            heartbeat_ms=heartbeat_ms,
            random=random,
            on_event=on_event,
            observer=self.sync_waiter,
            servers=self.servers.values(),
        )
        self._loop = asyncio.new_event_loop()
        self.clients = ClientRegistry(self._loop, access, self.coordinator.refusals, open_request_handler)
        self.admission = Admission(self.coordinator, self.clients, security)
        self.dialers = [
            Dialer(
                self.coordinator,
                self.admission,
                *where,
                self.servers[address],
                anywhere=insecure or security is not None,
                random=random,
                on_attempt_ended=self.sync_waiter.progressed,
            )
            for address, where in servers.items()
        ]
        self._where = (host, port)
        self._keys = keys
        self._tick_s = min(max(heartbeat_ms / 4000, 0.01), MAX_TICK_S)
        self._socket_path = socket_path
        self._thread = threading.Thread(target=self._run, name=f"level-replicator-{store.origin:016x}", daemon=True)
        self._started: Future[None] = Future()
        self._stopping = asyncio.Event()
        self._kicked = self._pumping = False
        self._run_at: asyncio.TimerHandle | None = None

    # -- from other threads

    def start(self) -> None:
        """Start the thread. Returns when the node listens; raises ConfigError if it cannot."""
        self._thread.start()
        try:
            self._started.result()
        except (OSError, ValueError) as error:
            self._thread.join()
            if isinstance(error, ConfigError):
                raise
            host, port = self._where
            number = getattr(error, "errno", None) or 0  # the text of asyncio repeats the address
            reason = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or error
            raise ConfigError(f"cannot listen on {host}:{port}: {reason}") from error

    def stop(self) -> None:
        """End all connections and the thread. Idempotent. Raises RuntimeError on the thread of the event loop."""
        if self.on_own_thread():
            raise RuntimeError("a replica cannot be closed from its own event loop: use another thread")
        if not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.is_alive():
            self._thread.join()

    def on_own_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def call(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run a coroutine on the event loop. Raises ClosedError after its end."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as error:
            work.close()
            raise ClosedError("the replica is closed") from error

    def begin_wait(self, timeout_s: float | None, peers: int | None = None) -> Future[bool]:
        """Begin a wait on the node's loop. Returns its future result; see Replica.wait_synced."""
        return self.call(self.sync_waiter.wait(self.coordinator, timeout_s, servers=self.dialers, peers=peers))

    def disconnect(self, name: str) -> Future[int]:
        """See Replica.disconnect."""

        async def cut() -> int:
            return self.admission.disconnect(name)

        return self.call(cut())

    def reload_credentials(self, trusted: Collection[str] | None) -> Future[None]:
        """Read the key file and the trusted file again. `trusted`: the new list, if it is not a file."""

        async def reload() -> None:
            security = self.admission.security
            if security is None:
                return
            if trusted is not None:
                self.admission.revoke(security.trust.replace_trusted(trusted))
            if self._keys is not None:
                await self._keys.reload(security, self.admission.revoke)

        return self.call(reload())

    def change_origin(self, work: Callable[[], None]) -> Future[None]:
        """Run work that gives this node another origin, and end all connections, which then begin again. No change of
        a peer is applied in between."""

        async def change() -> None:
            try:
                work()
            finally:
                self.coordinator.end_connections()

        return self.call(change())

    def local_change(self) -> None:
        """Wake the loop after a local write, unless it will check for writes soon anyway: a wake costs more than the
        write."""
        if not self._kicked and self.coordinator.by_origin:
            self._kicked = True
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._pump)

    # -- the loop

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
            else:
                _log.exception("the event loop of origin %016x ended", self.store.origin)
        finally:
            self._loop.close()

    async def _main(self) -> None:
        host, port = self._where
        server = None
        if port is not None:
            server = await self._loop.create_server(
                lambda: StreamTransport(self.admission), host, port, backlog=ACCEPTS_PER_TURN
            )
            for each in server.sockets:
                # asyncio has one number for the length of the kernel's queue and for the connections accepted in a turn
                with socket.socket(fileno=os.dup(each.fileno())) as listening:
                    listening.listen(LISTEN_BACKLOG)
            name = server.sockets[0].getsockname()
            self.address = (name[0], name[1])
        local = None
        if self._socket_path is not None:
            try:
                local = await listen_unix(self._socket_path, lambda: StreamTransport(self.admission, local=True))
            except BaseException:
                if server is not None:
                    server.close()
                raise
        self._started.set_result(None)
        diallers = [dialer.run() for dialer in self.dialers]
        watch = []
        if self._keys is not None:
            assert self.admission.security is not None
            watch.append(self._keys.run(self.admission.security, self.admission.revoke))
        tasks = [self._loop.create_task(work) for work in [*diallers, *watch, self._ticks()]]
        for task in tasks:
            task.add_done_callback(_log_failure)
        await self._stopping.wait()
        await self._stop_listening([each for each in (server, local) if each is not None])
        for task in tasks:
            task.cancel()
        streams = [
            connection.transport.closed
            for connection in self.coordinator.connections
            if isinstance(connection.transport, StreamTransport)
        ]
        streams += [stream.closed for stream in [*self.admission.shut(), *self.clients.stop()]]
        self.coordinator.stop()
        if streams:
            await asyncio.wait(streams, timeout=_STOP_TIMEOUT_S)
        await asyncio.gather(*tasks, return_exceptions=True)
        self.sync_waiter.cancel()
        if self.admission.security is not None and self.admission.security.identify_runner is not None:
            self.admission.security.identify_runner.close()
        # admission refuses the connections that were just accepted, which takes a few turns of the loop
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=_STOP_TIMEOUT_S)
        for _ in range(_LAST_TURNS):
            await asyncio.sleep(0)

    async def _stop_listening(self, servers: list[Listening]) -> None:
        """Stop accepting, then close the servers.

        asyncio before 3.12.1 loses an accepted connection if its server is closed before the transport is made: so
        accepting stops first, and the loop turns until all transports are made."""
        for server in servers:
            for each in server.sockets:
                self._loop.remove_reader(each.fileno())
        for _ in range(_LAST_TURNS):
            await asyncio.sleep(0)
        for server in servers:
            server.close()

    async def _ticks(self) -> None:
        while True:
            await asyncio.sleep(self._tick_s)
            self.coordinator.tick()
            self.admission.tick()

    def _wake(self) -> None:
        if not self._pumping:
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        if self._run_at is not None:
            self._run_at.cancel()
            self._run_at = None
        self._pumping = True  # connections that become ready until it is reset are run in this turn
        if self._kicked:
            self.coordinator.local_change()
        self._pumping = False
        wait = self.coordinator.run()
        if wait is not None:
            # until then no write needs to wake the loop
            self._kicked = True
            self._run_at = self._loop.call_later(wait / 1000, self._pump)
            return
        self._kicked = False
        if self.coordinator.has_local_work():
            # a write came between the check and the reset
            self._kicked = True
            self.coordinator.local_change()


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("a task of the event loop failed", exc_info=task.exception())
