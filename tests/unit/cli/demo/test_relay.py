"""The relay forwards, and a cut link is cut, until it is healed."""

import socket
import threading
from collections.abc import Iterator

import pytest

from level_replicator.cli.demo.relay import Relay

PATIENCE_S = 30.0


class Echo:
    """Sends back what it gets, for any number of connections."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()
            if self._closing:
                return

    _closing = False

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    connection.sendall(data)
            except OSError:
                return

    def close(self) -> None:
        self._closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()
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
def relay() -> Iterator[Relay]:
    # Closed before the echo: it ends the connections that the echo waits for.
    made = Relay()
    yield made
    made.close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def answers(port: int) -> bool:
    try:
        with connect(port) as client:
            client.sendall(b"hello")
            return client.recv(5, socket.MSG_WAITALL) == b"hello"
    except ConnectionError:
        return False


def ended(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_forwards_whole(echo: Echo, relay: Relay) -> None:
    data = bytes(range(256)) * 20_000
    with connect(relay.open("1-2", echo.port)) as client:
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        received = bytearray()
        while len(received) < len(data):
            received += client.recv(1 << 20)
        sender.join()
    assert received == data


def test_cut_and_heal(echo: Echo, relay: Relay) -> None:
    port, other_port = relay.open("1-2", echo.port), relay.open("1-3", echo.port)
    with connect(port) as client, connect(other_port) as other:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        relay.cut("1-2")
        assert ended(client)
        assert not answers(port)
        other.sendall(b"y")
        assert other.recv(1) == b"y"
    relay.heal("1-2")
    assert answers(port)


def test_both_directions_of_a_link_are_cut(echo: Echo, relay: Relay) -> None:
    ports = [relay.open("1-2", echo.port), relay.open("1-2", echo.port)]
    relay.cut("1-2")
    assert [answers(port) for port in ports] == [False, False]


def test_nobody_behind_it(echo: Echo, relay: Relay) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = listener.getsockname()[1]
    assert not answers(relay.open("1-2", nobody))
    assert answers(relay.open("1-3", echo.port))


def test_close_twice_and_with_open_connections(echo: Echo, relay: Relay) -> None:
    with connect(relay.open("1-2", echo.port)) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        relay.close()
        assert ended(client)
    relay.close()
