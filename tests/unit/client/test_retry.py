"""Which requests are sent once more after the connection was lost, and how often."""

import asyncio
from itertools import islice
from typing import Any

import pytest

from level_replicator.client.aio.backends import AsyncRemoteBackend
from level_replicator.client.backends import RemoteBackend
from level_replicator.client.retry import LONG_VERBS, is_long, is_repeatable, wait_parts
from level_replicator.core.errors import ClosedError, ConnectionLostError
from level_replicator.core.limits import MAX_CLIENT_WAITS_MS
from level_replicator.protocol.client_messages import (
    AnyAnswer,
    AnyRequest,
    Data,
    Do,
    Done,
    Follow,
    Get,
    Read,
    Scan,
    TakeSnapshot,
    Value,
    Write,
)

LONGEST_S = MAX_CLIENT_WAITS_MS / 1000
READS: list[AnyRequest] = [Get(0, b"k"), Scan(0, None, None), TakeSnapshot(0), Follow(0, None, b""), Do(0, "status")]
OTHERS: list[AnyRequest] = [Write(0, []), Read(0, 1), *(Do(0, verb) for verb in sorted(LONG_VERBS))]


@pytest.mark.parametrize("request_", READS)
def test_reads_are_repeated(request_: AnyRequest) -> None:
    assert is_repeatable(request_)
    assert not is_long(request_)


@pytest.mark.parametrize("request_", OTHERS)
def test_others_are_not(request_: AnyRequest) -> None:
    assert not is_repeatable(request_)


@pytest.mark.parametrize(
    ("timeout_s", "parts"),
    [(0, [0]), (-1, [0]), (1, [1]), (LONGEST_S, [LONGEST_S]), (2 * LONGEST_S + 1, [LONGEST_S, LONGEST_S, 1])],
)
def test_a_wait_in_parts(timeout_s: float, parts: list[float]) -> None:
    assert list(wait_parts(timeout_s)) == parts
    assert list(islice(wait_parts(None), 3)) == [LONGEST_S] * 3


class Link:
    """A connection to a node that breaks off in the first `breaks` calls of the network."""

    def __init__(self, network: "Network") -> None:
        self.lost = False
        self.forgotten: list[int] = []
        self._network = network

    def call(self, request: AnyRequest, progress: Any = None) -> AnyAnswer:
        if self.lost:
            raise ConnectionLostError("lost before")
        self._network.calls.append(request)
        self._network.while_called()
        if self._network.breaks:
            self._network.breaks -= 1
            self.lost = True
            raise ConnectionLostError("lost now")
        answers = {Get: Value(0, b"v"), Write: Done(0)}
        return answers.get(type(request), Data(0, None))

    def forget(self, snapshot: int) -> None:
        self.forgotten.append(snapshot)

    def close(self) -> None:
        self.lost = True


class AsyncLink(Link):
    async def call(self, request: AnyRequest, progress: Any = None) -> AnyAnswer:  # type: ignore[override]
        return super().call(request, progress)


class Network:
    def __init__(self, kind: type[Link]) -> None:
        self._kind = kind
        self.calls: list[AnyRequest] = []
        self.links: list[Link] = []
        self.breaks = 0
        self.reachable = True
        self.while_called: Any = lambda: None

    def dial(self) -> Any:
        if not self.reachable:
            raise ConnectionLostError("nobody listens")
        self.links.append(self._kind(self))
        return self.links[-1]


class Both:
    """The synchronous or the asyncio backend, over a network."""

    def __init__(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.network = Network(AsyncLink if kind == "aio" else Link)
        self._async = kind == "aio"
        self.backend: Any
        if self._async:

            async def dial(_target: object) -> Any:
                return self.network.dial()

            monkeypatch.setattr("level_replicator.client.aio.backends._open_connection", dial)
            self.backend = AsyncRemoteBackend(None)  # type: ignore[arg-type]
            asyncio.run(self.backend.connect())
        else:
            self.backend = RemoteBackend("the node", self.network.dial)

    def call(self, request: AnyRequest) -> AnyAnswer:
        answer = self.backend.call(request)
        return asyncio.run(answer) if self._async else answer  # type: ignore[no-any-return]


@pytest.fixture(params=["sync", "aio"])
def both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Both:
    return Both(request.param, monkeypatch)


def test_a_read_is_sent_once_more_over_a_new_connection(both: Both) -> None:
    both.network.breaks = 1
    assert both.call(Get(0, b"k")) == Value(0, b"v")
    assert len(both.network.calls) == len(both.network.links) == 2


def test_a_read_is_not_sent_a_third_time(both: Both) -> None:
    both.network.breaks = 5
    with pytest.raises(ConnectionLostError):
        both.call(Get(0, b"k"))
    assert len(both.network.calls) == 2


@pytest.mark.parametrize("request_", OTHERS)
def test_what_may_have_been_done_is_sent_once(both: Both, request_: AnyRequest) -> None:
    both.network.breaks = 1
    with pytest.raises(ConnectionLostError):
        both.call(request_)
    assert len(both.network.calls) == 1
    both.call(request_)


def test_a_write_goes_over_a_new_connection_when_the_old_one_was_lost_before(both: Both) -> None:
    both.network.links[0].lost = True
    assert both.call(Write(0, [])) == Done(0)
    assert len(both.network.links) == 2


def test_a_node_that_cannot_be_reached_is_dialed_once_per_call(both: Both) -> None:
    both.network.links[0].lost = True
    both.network.reachable = False
    for _ in range(2):
        with pytest.raises(ConnectionLostError, match="nobody listens"):
            both.call(Get(0, b"k"))
    both.network.reachable = True
    assert both.call(Get(0, b"k")) == Value(0, b"v")


def test_closing_ends_a_call(both: Both) -> None:
    both.network.breaks = 1
    both.network.while_called = both.backend.close
    with pytest.raises(ClosedError):
        both.call(Get(0, b"k"))
    with pytest.raises(ClosedError):
        both.call(Get(0, b"k"))
    assert len(both.network.links) == 1


def test_only_an_open_connection_releases_snapshots(both: Both) -> None:
    both.backend.forget(5)
    both.network.links[0].lost = True
    both.backend.forget(6)
    assert both.network.links[0].forgotten == [5]


def test_long_work_has_a_connection_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a synchronous client; an asyncio client has many requests on one connection."""
    sync, aio = Both("sync", monkeypatch), Both("aio", monkeypatch)
    for both, links in ((sync, 2), (aio, 1)):
        both.call(Do(0, "verify"))
        both.call(Get(0, b"k"))
        assert len(both.network.links) == links
    assert [link.lost for link in sync.network.links] == [False, True]


def test_a_backend_apart_is_never_dialed_again() -> None:
    network = Network(Link)
    apart = RemoteBackend("the node", network.dial).apart()
    network.breaks = 1
    for _ in range(2):
        with pytest.raises(ConnectionLostError):
            apart.call(Get(0, b"k"))
    assert len(network.links) == 2
