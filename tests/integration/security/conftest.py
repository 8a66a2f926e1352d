from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.harness.local_node import LocalNode
from tests.harness.waiting import wait_until
from tests.integration.security.keys import pems

Open = Callable[..., LocalNode]


def wait_connected(a: LocalNode, b: LocalNode) -> None:
    """Wait until each node considers the other live."""
    wait_until(lambda: a.peer(b)["state"] == b.peer(a)["state"] == "live", lambda: a.replica.status()["peers"])


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Open]:
    """Returns a function that opens a secure node; `servers`: the nodes that it dials, with their metadata."""
    with ExitStack() as stack:

        def start(name: str, servers: "dict[LocalNode, dict[str, Any]] | None" = None, **config: Any) -> LocalNode:
            dialled = {other.address: metadata for other, metadata in (servers or {}).items()}
            # with a shorter heartbeat a loaded machine could end a connection, and the next one would hide faults
            one = LocalNode(tmp_path / name, dialled, **{"pems": pems(name), "heartbeat": 2.0, **config})
            stack.callback(one.close)
            return one

        yield start
