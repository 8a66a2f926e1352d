"""The dialer of one server: delays, warnings, and addresses that it does not dial."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from level_replicator.core.limits import DIAL_WARNING_INTERVAL_S
from level_replicator.node.dialer import Dialer
from level_replicator.replication.peers import Peer, PeerState

NOBODY: Any = SimpleNamespace(by_origin={})
"""A coordinator without connections."""


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        return int(closed_soon.getsockname()[1])


def dialer_to(host: str, port: int, ended: asyncio.Event) -> Dialer:
    admission: Any = None  # no connection comes to it
    peer = Peer(f"{host}:{port}", dialled=True, name="node-b")
    return Dialer(NOBODY, admission, host, port, peer, anywhere=False, random=Random(1), on_attempt_ended=ended.set)


@contextlib.asynccontextmanager
async def running(dialer: Dialer) -> AsyncIterator[None]:
    task = asyncio.create_task(dialer.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_failed_attempt_is_recorded_and_a_hastened_one_follows() -> None:
    async def scene() -> None:
        ended = asyncio.Event()
        dialer = dialer_to("127.0.0.1", closed_port(), ended)
        dialer._backoff._first_s = dialer._backoff._cap_s = 3600.0
        async with running(dialer), asyncio.timeout(30):
            assert dialer.hasten() == 1
            await ended.wait()
            assert dialer.attempts_ended == 1
            assert dialer.peer.state is PeerState.WAITING
            assert dialer.peer.last_error == "cannot connect: Connection refused"
            ended.clear()
            assert dialer.hasten() == 2
            await ended.wait()
            assert dialer.attempts_ended == 2

    asyncio.run(scene())


def test_warnings_are_an_hour_apart(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        dialer = dialer_to("127.0.0.1", 1, asyncio.Event())
        for _ in range(3):
            dialer._failed(OSError("down"), 0.5)
        assert dialer._warned_s is not None
        dialer._warned_s -= DIAL_WARNING_INTERVAL_S
        dialer._failed(OSError("still down"), 30.0)

    with caplog.at_level(logging.WARNING, "level_replicator"):
        asyncio.run(scene())
    assert [record.getMessage() for record in caplog.records] == [
        "cannot reach node-b at 127.0.0.1:1: down; next attempt in 0.5 s",
        "cannot reach node-b at 127.0.0.1:1: still down; next attempt in 30.0 s",
    ]


def test_without_keys_nothing_outside_loopback_is_dialed() -> None:
    async def scene() -> None:
        dialer = dialer_to("192.0.2.1", 1, asyncio.Event())
        with pytest.raises(OSError, match="plain TCP is for loopback only"):
            await dialer._dial()

    asyncio.run(scene())
