"""Reserved ports: nobody else is given them, and a server can still listen on them."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.harness.ports import HOST, FreePorts, Reservation


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_reservations_do_not_collide(stack: ExitStack) -> None:
    ports: list[int] = []
    for _ in range(50):
        reservation = Reservation(4)
        stack.callback(reservation.close)
        ports += reservation.ports
    assert len(set(ports)) == 200


def test_a_reserved_port_refuses_connections_until_a_server_listens(free_ports: FreePorts) -> None:
    (port,) = free_ports(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port))
    for _ in range(2):  # a node that is killed comes back on its port
        with socket.create_server((HOST, port)), socket.create_connection((HOST, port)):
            pass


def test_the_kernel_gives_a_reserved_port_to_nobody_else(free_ports: FreePorts, stack: ExitStack) -> None:
    reserved = set(free_ports(20))
    for _ in range(200):
        server = stack.enter_context(socket.create_server((HOST, 0)))
        assert server.getsockname()[1] not in reserved
