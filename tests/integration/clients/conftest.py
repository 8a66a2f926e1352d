from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import level_replicator as lrep

Connect = Callable[..., lrep.Client]


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[lrep.Replica]:
    with lrep.open(tmp_path / "node", {"port": 0}) as replica:
        yield replica


@pytest.fixture(params=["unix", "tcp"])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connect]:
    """Clients of a replica, over its Unix socket, and once more over its port."""
    with ExitStack() as stack:

        def connect(replica: lrep.Replica, **options: Any) -> lrep.Client:
            where = tmp_path / "node"
            if request.param == "tcp":
                assert replica.address is not None
                where = "{}:{}".format(*replica.address)  # type: ignore[assignment]
            return stack.enter_context(lrep.connect(where, **options))

        yield connect


@pytest.fixture
def client(replica: lrep.Replica, connect: Connect) -> lrep.Client:
    return connect(replica)
