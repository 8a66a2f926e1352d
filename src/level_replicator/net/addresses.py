"""Addresses of nodes: "host:port" as users write it, and whether a host is this machine."""

import ipaddress

from level_replicator.core.errors import ConfigError

MAX_PORT = 65_535
WILDCARDS = ("0.0.0.0", "::")
"""Hosts with which a node listens on all addresses of its machine."""


def parse_address(address: str, what: str = "servers") -> tuple[str, int]:
    """Return (host, port) of "host:port", with an IPv6 address in brackets. `what` is the setting, for the error.

    Raises ConfigError."""
    host, colon, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not host or (":" in host) != bracketed or not port.isascii() or not port.isdigit() or len(port) > 5:
        raise ConfigError(
            f'{what}: {address!r} is not host:port: expected "127.0.0.1:8000", "node.example:8000" or "[::1]:8000"'
        )
    if not 0 < int(port) <= MAX_PORT:
        raise ConfigError(f"{what}: the port of {address!r} is out of range: expected 1 to {MAX_PORT}")
    return host, int(port)


def is_local(host: str) -> bool:
    """Return whether the host name or address can only be this machine."""
    return host == "localhost" or host in WILDCARDS or is_loopback(host)


def is_loopback(ip: str) -> bool:
    """Return whether `ip` is a loopback address. A name is none."""
    try:
        return ipaddress.ip_address(ip.split("%")[0]).is_loopback
    except ValueError:
        return False
