"""Addresses of nodes as users write them."""

import re

import pytest

from level_replicator.core.errors import ConfigError
from level_replicator.net.addresses import is_local, is_loopback, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("node.example:1", ("node.example", 1)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_an_address(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "node", "node:", ":8000", "::1:8000", "[node]:8000", "[::1]", "node:-1", "node:٣", "node:100000", 8000]
)
def test_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"metrics: {text!r} is not host:port")):
        parse_address(text, "metrics")


@pytest.mark.parametrize("port", [0, 65536])
def test_a_port_out_of_range(port: int) -> None:
    with pytest.raises(ConfigError, match=f"servers: the port of 'node:{port}' is out of range: expected 1 to 65535"):
        parse_address(f"node:{port}")


@pytest.mark.parametrize(
    ("host", "local", "loopback"),
    [
        ("localhost", True, False),
        ("0.0.0.0", True, False),
        ("::", True, False),
        ("127.3.2.1", True, True),
        ("::1%lo", True, True),
        ("10.0.0.1", False, False),
        ("node.example", False, False),
    ],
)
def test_whether_a_host_is_this_machine(host: str, local: bool, loopback: bool) -> None:
    assert (is_local(host), is_loopback(host)) == (local, loopback)
