from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from level_replicator.testing.relay import Relay
from tests.harness import patience
from tests.harness.local_node import LocalNode


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(patience.defaults(), "cap_s", patience.CAP_S)


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Callable[..., LocalNode]]:
    """master(name, servers, clock=..., config...): closed at the end of the test."""
    made: list[LocalNode] = []

    def make(name: str, servers: list[str] | None = None, **options: Any) -> LocalNode:
        one = LocalNode(tmp_path / name, servers or [], **options)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


@pytest.fixture
def relay() -> Iterator[Callable[..., Relay]]:
    made: list[Relay] = []

    def make(target_port: int = 0) -> Relay:
        one = Relay(target_port)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()
