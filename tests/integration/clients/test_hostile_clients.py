"""Clients that break the protocol: their cost is bounded, and other clients do not notice."""

import contextlib
import gc
import socket
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import level_replicator as lrep
from level_replicator.core.limits import (
    MAX_CLIENT_PENDING_WRITE_BYTES,
    MAX_CLIENTS,
    MAX_FRAME_BYTES,
    MAX_HANDSHAKE_FRAME_BYTES,
    PAGE_BYTES,
)
from level_replicator.node import admission, client_registry
from level_replicator.protocol.client_messages import (
    PREAMBLE,
    VERSION,
    Attach,
    Attached,
    Do,
    Failed,
    Follow,
    Get,
    Read,
    Release,
    Scan,
    Unfollow,
    Value,
    Write,
    decode_answer,
    encode,
)
from level_replicator.protocol.framing import FrameReader
from level_replicator.protocol.messages import Hello, decode
from level_replicator.protocol.messages import encode as encode_of_peer
from tests.harness import waiting
from tests.harness.waiting import wait_until


class Raw:
    """A socket to the Unix socket of a node."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(waiting.DEADLINE_S)
        self.socket.connect(str(folder / "lrep.sock"))
        self._frames = FrameReader()
        self._frames.limit = MAX_FRAME_BYTES
        self._bodies: list[bytes] = []

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def attach(self) -> "Raw":
        self.socket.sendall(PREAMBLE + encode(Attach(0)))
        assert isinstance(self.hear(), Attached)
        return self

    def tell(self, *messages: object) -> None:
        self.socket.sendall(b"".join(encode(each) for each in messages))  # type: ignore[arg-type]

    def body(self) -> bytes | None:
        while not self._bodies:
            data = self.socket.recv(65536)
            if not data:
                return None
            self._bodies.extend(self._frames.feed(data))
        return self._bodies.pop(0)

    def hear(self) -> object:
        body = self.body()
        return None if body is None else decode_answer(body)

    def end(self) -> str:
        """The last answer."""
        last = self.hear()
        assert isinstance(last, Failed), last
        assert self.hear() is None
        return last.text


@pytest.fixture
def folder(replica: lrep.Replica, tmp_path: Path) -> Path:
    replica.put(b"key", b"value")
    return tmp_path / "node"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (PREAMBLE + b"\xff\xff\xff\xff", "bytes"),
        (PREAMBLE + (MAX_HANDSHAKE_FRAME_BYTES + 1).to_bytes(4, "big"), "expected at most 32768"),
        (PREAMBLE + b"\0\0\0\1\xc1", "not a request"),
        (PREAMBLE + b"\0\0\0\0", "not a request"),
        (PREAMBLE + encode(Get(1, b"key")), "sends Attach first"),
        (PREAMBLE + encode(Attach(0, VERSION + 1)), "version"),
        (PREAMBLE + encode(Attach(0)) * 2, "sends Attach first, and only once"),
        (b"LRC0" + encode(Attach(0)), "for clients"),
    ],
)
def test_bytes_of_another_protocol_end_the_connection(folder: Path, said: bytes, told: str) -> None:
    with Raw(folder) as raw:
        raw.socket.sendall(said)
        last = b""
        while (body := raw.body()) is not None:
            last = body
        assert told.encode() in last


def test_an_http_client_at_the_unix_socket_gets_an_http_answer(folder: Path) -> None:
    with Raw(folder) as raw:
        raw.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
        answer = b"".join(iter(lambda: raw.socket.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.0 400 ")


def test_a_peer_is_not_let_in_at_the_unix_socket(folder: Path) -> None:
    with Raw(folder) as raw:
        raw.socket.sendall(encode_of_peer(Hello("level-replicator", 2, 1, b"x" * 16)))
        body = raw.body()
        assert body is not None
        assert "for clients" in decode(body).text  # type: ignore[union-attr]
        assert raw.body() is None


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (Get(1, b"key", 12345), "ClosedError"),
        (Scan(1, None, None, 12345), "ClosedError"),
        (Scan(1, None, None, 0, False, False, False), "RemoteProtocolError"),
        (Read(1, 12345, 100), "ClosedError"),
        (Follow(1, "nonsense", b""), "ConfigError"),
        (Do(1, "no such thing"), "ConfigError"),
        (Do(1, "truncate", {"max_bytes": "many"}), "ConfigError"),
        (Do(1, "truncate", {"max_bytes": -1}), "ConfigError"),
        (Do(1, "log", {"before": ["x", {}]}), "ValueError"),
        (Do(1, "log", {"before": [1]}), "ReplicationError"),
        (Do(1, "sizes", {"ranges": [[b"a"]]}), "ValueError"),
        (Do(1, "backup", {}), "ReplicationError"),
        (Do(1, "verify", {"peer": "nobody"}), "ConfigError"),
        (Write(1, [(b"x" * (1024 * 1024 + 1), b"")]), "LimitError"),
    ],
)
def test_a_request_that_makes_no_sense_is_answered_with_an_error(folder: Path, request_: object, kind: str) -> None:
    with Raw(folder) as raw:
        raw.attach().tell(request_)
        answer = raw.hear()
        assert isinstance(answer, Failed)
        assert answer.kind == kind, answer
        raw.tell(Release(2, 9), Unfollow(3, 9), Get(4, b"key"))
        assert [raw.hear() for _ in range(3)][-1] == Value(4, b"value")


def test_unread_answers_stop_the_work_for_their_client_only(folder: Path, replica: lrep.Replica) -> None:
    """Requests for a gigabyte at once: the node produces no more of it than the socket buffers take."""
    replica.put(b"large", bytes(PAGE_BYTES))
    with Raw(folder) as raw:
        raw.attach()
        (link,) = replica._node.clients.connections
        served: list[int] = []
        serve = link._serve
        link._serve = lambda request: (served.append(request.id), serve(request))[1]  # type: ignore[func-returns-value,method-assign]
        asked = 4_000
        raw.tell(*(Get(number, b"large") for number in range(1, asked + 1)))
        with lrep.connect(folder) as other:  # it has had many turns when this is answered
            for _ in range(200):
                other.put(b"other", b"1")
        assert len(served) < 100
        got = [raw.hear() for _ in range(asked)]
        assert [answer.id for answer in got if isinstance(answer, Value)] == list(range(1, asked + 1))


def test_a_client_that_leaves_in_the_middle(folder: Path, replica: lrep.Replica) -> None:
    with Raw(folder) as raw:
        raw.attach().tell(Follow(1, None, b""))
        feed = raw.hear().number  # type: ignore[union-attr]
        raw.tell(Read(2, feed), Read(3, feed, 30_000), Scan(4, None, None), Do(5, "wait_synced", {"timeout": 30}))
        raw.hear()
    wait_until(lambda: replica.status()["clients"] == 0, "its end")
    replica.put(b"more", b"")
    assert replica.status()["failed"] is None


def test_silent_connections_are_closed(folder: Path, replica: lrep.Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "HANDSHAKE_TIMEOUT_MS", 100)
    for said in (b"", PREAMBLE[:2], PREAMBLE, PREAMBLE + encode(Attach(0))[:5]):
        with Raw(folder) as raw:
            raw.socket.sendall(said)
            body = raw.body()
            assert body is not None
            assert b"within the time limit" in body


def test_only_so_many_clients(folder: Path, replica: lrep.Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_CLIENTS > 100
    monkeypatch.setattr(client_registry, "MAX_CLIENTS", 3)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(Raw(folder)).attach()
        with pytest.raises(lrep.ReplicationError, match="3 clients"):
            lrep.connect(folder)


def test_waiting_feeds_cost_no_work(folder: Path, replica: lrep.Replica) -> None:
    """Each feed gets the news, and a client that has left is forgotten."""
    with ExitStack() as stack:
        feeds = []
        for _ in range(5):
            raw = stack.enter_context(Raw(folder)).attach()
            raw.tell(Follow(1, None, b"", True))
            feeds.append((raw, raw.hear().number))  # type: ignore[union-attr]
        for raw, feed in feeds:
            raw.tell(Read(2, feed, 30_000))
        for raw, feed in feeds[1:]:
            raw.tell(Read(3, feed, 30_000))
        replica.put(b"new", b"1")
        for raw, _ in feeds:
            answer = raw.hear()
            assert [key for key, *_ in answer.changes] == [b"new"]  # type: ignore[union-attr]
    wait_until(lambda: replica._node.store.notifier.waiting <= 5 and not replica._node.clients.connections, "their end")
    replica.put(b"newer", b"1")
    wait_until(lambda: replica._node.store.notifier.waiting == 0, "all listeners to be removed")


def test_closing_while_others_connect_leaves_nothing_open(tmp_path: Path) -> None:
    """asyncio loses connections that it has just accepted; pytest fails on sockets that were not closed."""
    for _ in range(8):
        done = threading.Event()

        def knock(done: threading.Event = done) -> None:
            while not done.is_set():
                with socket.socket(socket.AF_UNIX) as visitor, contextlib.suppress(OSError):
                    visitor.connect(str(tmp_path / "node" / "lrep.sock"))

        replica = lrep.open(tmp_path / "node", {})
        visitors = [threading.Thread(target=knock) for _ in range(2)]
        for each in visitors:
            each.start()
        replica.close()
        done.set()
        for each in visitors:
            each.join()
    gc.collect()


def test_writes_under_way_are_bounded_in_bytes(folder: Path, replica: lrep.Replica) -> None:
    with Raw(folder) as raw:
        raw.attach()
        (link,) = replica._node.clients.connections
        most: list[int] = []
        beside = replica._node.clients.beside

        def noted(*arguments: Any) -> None:
            most.append(link._long_bytes)
            beside(*arguments)

        replica._node.clients.beside = noted  # type: ignore[method-assign]
        value = bytes(1024 * 1024)
        count = 40
        writer = threading.Thread(
            target=raw.tell, args=[Write(number, [(b"%d" % number, value)]) for number in range(1, count + 1)]
        )
        writer.start()
        assert sorted(raw.hear().id for _ in range(count)) == list(range(1, count + 1))  # type: ignore[union-attr]
        writer.join()
    assert len(most) == count
    assert max(most) <= MAX_CLIENT_PENDING_WRITE_BYTES + len(value) + 10


def test_many_connections_at_once(folder: Path, replica: lrep.Replica) -> None:
    """More connections from one network than may wait to be accepted."""
    failures: list[Exception] = []
    together = threading.Barrier(100)

    def come() -> None:
        together.wait()
        try:
            with lrep.connect(folder) as client:
                assert client.get(b"key") == b"value"
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=come) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
