"""The relay forwards, counts and delays; a relay that is cut lets nothing through until it is healed."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from level_replicator.testing.relay import HOST, Relay
from tests.harness.waiting import wait_until

PATIENCE_S = 30.0


class Echo:
    """Sends back what it receives, on any number of connections."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        self._closing = False
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while not self._closing:
            connection, _ = self._listener.accept()
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    connection.sendall(data)
            except OSError:
                return

    def close(self) -> None:
        self._closing = True
        socket.create_connection((HOST, self.port)).close()
        self._thread.join()
        for thread in self._threads:
            thread.join()
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def relay(echo: Echo) -> Iterator[Relay]:
    # closed before the echo, since it ends the connections that the echo waits for
    made = Relay(echo.port)
    yield made
    made.close()


def connect(relay: Relay) -> socket.socket:
    return socket.create_connection((HOST, relay.port), timeout=PATIENCE_S)


def answers(relay: Relay) -> bool:
    try:
        with connect(relay) as client:
            client.sendall(b"hello")
            return client.recv(5, socket.MSG_WAITALL) == b"hello"
    except ConnectionError:
        return False


def ended(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_everything_is_forwarded_and_counted(relay: Relay) -> None:
    data = bytes(range(256)) * 20_000
    with connect(relay) as client:
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        received = bytearray()
        while len(received) < len(data):
            received += client.recv(1 << 20)
        sender.join()
    assert received == data
    assert (relay.to_target, relay.to_dialler) == (len(data), len(data))


def test_a_cut_resets_connections_until_it_is_healed(relay: Relay) -> None:
    with connect(relay) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        relay.cut()
        assert relay.is_cut
        assert ended(client)
        assert not answers(relay)
    relay.heal()
    assert answers(relay)
    assert relay.cuts == 1


def test_a_relay_cuts_itself_after_a_number_of_bytes_which_all_arrive(relay: Relay) -> None:
    relay.cut_after(7)
    with connect(relay) as client:
        client.sendall(b"0123456789")
        assert client.recv(10, socket.MSG_WAITALL) == b"0123456"
    assert not answers(relay)
    relay.heal()
    assert answers(relay)


def test_bytes_before_the_cut_arrive_although_the_relay_has_unread_bytes(relay: Relay) -> None:
    relay.chunk_bytes = 16
    relay.cut_after(7)
    with connect(relay) as client:
        sender = threading.Thread(target=client.sendall, args=(bytes(4 << 20),))
        sender.start()
        wait_until(lambda: relay.is_cut, "the relay cuts itself")
        sender.join()  # the relay has read everything, and the client has read nothing
        assert client.recv(8) == bytes(7)
        assert client.recv(8) == b""


def test_a_delay_holds_each_chunk(relay: Relay) -> None:
    relay.delay_s = 0.05
    begin = time.monotonic()
    assert answers(relay)
    assert time.monotonic() - begin >= 2 * relay.delay_s


def test_captured_bytes_are_kept_for_each_connection(relay: Relay) -> None:
    relay.capture = True
    assert answers(relay)
    assert answers(relay)
    assert relay.captured == [(b"hello", b"hello"), (b"hello", b"hello")]


def test_the_target_may_move(relay: Relay, echo: Echo) -> None:
    relay.target_port = 0
    assert not answers(relay)
    relay.target_port = echo.port
    assert answers(relay)


def test_close_ends_open_connections_and_is_idempotent(relay: Relay) -> None:
    with connect(relay) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        relay.close()
        assert ended(client)
    relay.close()
