"""Ports of loopback that are reserved, so that no other test, in this process or another one, is given the same."""

import socket
from collections.abc import Callable

HOST = "127.0.0.1"
FreePorts = Callable[[int], list[int]]


class Reservation:
    """Some ports on which nobody listens, reserved until `close`.

    A bound socket that does not listen keeps a port from everybody who asks the kernel for a free one. A server can
    still bind the port by its number if it sets SO_REUSEADDR, as asyncio's servers do. This is so on Linux.
    """

    def __init__(self, count: int) -> None:
        self._sockets = [socket.socket() for _ in range(count)]
        for each in self._sockets:
            each.bind(("", 0))  # on all addresses, as a server may listen on any of them
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    @property
    def ports(self) -> list[int]:
        return [int(each.getsockname()[1]) for each in self._sockets]

    def close(self) -> None:
        for each in self._sockets:
            each.close()
