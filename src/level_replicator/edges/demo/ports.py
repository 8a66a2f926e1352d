"""Ports that stay ours while nobody listens on them."""

import random
import socket

HOST = "127.0.0.1"
LOWEST, HIGHEST = 20_000, 32_000
"""Below the ports that systems give to outgoing connections: a killed master's port must be free when it
returns, and a connection to a port of that range where nobody listens can even be made to itself."""


def free_ports(count: int) -> list[int]:
    """So many ports of loopback on which nobody listens now. Raises OSError when there are not enough."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} free ports from {LOWEST} to {HIGHEST}")
