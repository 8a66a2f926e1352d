"""Dials one server of the configuration again and again, unless another connection with the same node is open."""

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
from collections.abc import Callable
from random import Random

from level_replicator.core.limits import (
    BACKOFF_RESET_AFTER_S,
    CONNECT_TIMEOUT_S,
    DIAL_HASTENED_AFTER_S,
    DIAL_WARNING_INTERVAL_S,
)
from level_replicator.net.addresses import is_loopback
from level_replicator.net.backoff import Backoff
from level_replicator.net.offload import on_daemon_thread
from level_replicator.node.admission import Admission
from level_replicator.node.stream import StreamTransport
from level_replicator.replication.coordinator import Coordinator
from level_replicator.replication.peers import Peer, PeerErrorCode, PeerState

_log = logging.getLogger("level_replicator.node")


def is_address(host: str) -> bool:
    """Return whether `host` is an IP address and not a name."""
    try:
        ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    return True


def _reason(error: Exception) -> str:
    """Return the text of an error, without the arguments that asyncio puts into it."""
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


class _InsecureAddressError(OSError):
    """The address is not on loopback, and the node has no keys."""


class Dialer:
    """Dials one server, on the event loop of its node.

    host, port        of the server; a name is resolved at each attempt
    peer              record of the server
    anywhere          whether the server may be outside loopback
    random            jitter of the delays between attempts
    on_attempt_ended  called when an attempt, or the connection that it has opened, has ended
    """

    def __init__(
        self,
        coordinator: Coordinator,
        admission: Admission,
        host: str,
        port: int,
        peer: Peer,
        *,
        anywhere: bool,
        random: Random,
        on_attempt_ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.peer = peer
        self.attempts_ended = 0
        self._coordinator = coordinator
        self._admission = admission
        self._host = host
        self._port = port
        self._anywhere = anywhere
        self._backoff = Backoff(random)
        self._on_attempt_ended = on_attempt_ended
        self._hastened = asyncio.Event()
        self._warned_s: float | None = None

    async def run(self) -> None:
        """Dial until the task is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._while_connected_otherwise()
            try:
                stream = await self._dial()
            except (OSError, ValueError) as error:
                delay_s = self._backoff.next_delay_s()
                self._failed(error, delay_s)
            else:
                began = loop.time()
                await stream.closed
                if loop.time() - began > BACKOFF_RESET_AFTER_S:
                    self._backoff.reset()
                    self._warned_s = None
                delay_s = self._backoff.next_delay_s()
            await self._pause(delay_s)

    def hasten(self) -> int:
        """End the delay before the next attempt, once it has lasted DIAL_HASTENED_AFTER_S.

        Returns the value of `attempts_ended` after the attempt that is under way, or else the next one."""
        self._hastened.set()
        return self.attempts_ended + 1

    def _failed(self, error: Exception, delay_s: float) -> None:
        """Record a failed attempt, and log a warning for the first one and then at most one in a while."""
        text = _reason(error)
        self.peer.state = PeerState.WAITING
        insecure = isinstance(error, _InsecureAddressError)
        self.peer.last_error_code = PeerErrorCode.INSECURE if insecure else PeerErrorCode.UNREACHABLE
        self.peer.last_error = f"cannot connect: {text}"
        now_s = asyncio.get_running_loop().time()
        warn = self._warned_s is None or now_s - self._warned_s >= DIAL_WARNING_INTERVAL_S
        if warn:
            self._warned_s = now_s
        level = logging.WARNING if warn else logging.DEBUG
        _log.log(level, "cannot reach %s: %s; next attempt in %.1f s", self.peer.label, text, delay_s)

    async def _pause(self, delay_s: float) -> None:
        """Wait for the delay between two attempts, which `hasten` may shorten."""
        self._hastened.clear()
        self.attempts_ended += 1
        self._on_attempt_ended()
        least_s = min(delay_s, DIAL_HASTENED_AFTER_S)
        await asyncio.sleep(least_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s - least_s):
                await self._hastened.wait()

    async def _while_connected_otherwise(self) -> None:
        """Wait while a connection that the server has dialed is open: it serves both directions."""
        while (connection := self._coordinator.by_origin.get(self.peer.origin)) is not None:
            if connection.peer.fingerprint != self.peer.fingerprint:
                return  # any node can claim an origin: only the key proves that this is the same node
            if connection.peer.instance != self.peer.instance:
                return  # it may be a duplicate of the node that was at this address
            assert isinstance(connection.transport, StreamTransport)
            await asyncio.wait([connection.transport.closed])

    async def _dial(self) -> StreamTransport:
        """Open a connection. Raises OSError, and ValueError for a host that cannot be resolved."""
        self.peer.state = PeerState.CONNECTING
        ips = await self._resolve()
        if not self._anywhere:
            ips = [ip for ip in ips if is_loopback(ip)]
            if not ips:
                raise _InsecureAddressError(
                    f"{self._host} is not on loopback, and plain TCP is for loopback only: give it keys (`pems`)"
                )
        return await self._first_that_answers(ips)

    async def _resolve(self) -> list[str]:
        if is_address(self._host):
            return [self._host]
        found = await on_daemon_thread(
            lambda: socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM), f"resolver of {self._host}"
        )
        return list(dict.fromkeys(str(where[4][0]) for where in found))

    async def _first_that_answers(self, ips: list[str]) -> StreamTransport:
        loop = asyncio.get_running_loop()
        error: OSError = OSError("the name has no address")
        for ip in ips:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    _, stream = await loop.create_connection(
                        lambda: StreamTransport(self._admission, self.peer), ip, self._port
                    )
            except TimeoutError:
                error = OSError(f"{ip} did not answer within {CONNECT_TIMEOUT_S:g} s")
            except OSError as refused:
                error = refused
            else:
                return stream
        raise error
