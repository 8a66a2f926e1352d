"""`status` of a real replica with a peer: exactly the keys and types of `lrep.Status` and `lrep.PeerStatus`."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest

import level_replicator as lrep
from level_replicator.core.limits import BEHIND_COUNT_CAP, STALL_MS


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[lrep.Replica, lrep.Replica]]:
    """A node, and another that dials it."""
    with lrep.open(tmp_path / "a", {"port": 0}) as first:
        assert first.address is not None
        servers = {"{}:{}".format(*first.address): {"name": "a"}}
        with lrep.open(tmp_path / "b", {"servers": servers}) as second:
            first.put(b"k", b"v")
            assert second.wait_synced(60)
            yield first, second


def _of_aio(where: Any) -> lrep.Status:
    async def read() -> lrep.Status:
        async with lrep.aio.wrap(where) if isinstance(where, lrep.Replica) else await lrep.aio.connect(where) as db:
            return await db.status()

    return asyncio.run(read())


def _of_client(replica: lrep.Replica) -> lrep.Status:
    with lrep.connect(Path(replica.name).parent) as client:
        return client.status()


READERS: dict[str, Callable[[lrep.Replica], lrep.Status]] = {
    "replica": lambda replica: replica.status(),
    "client": _of_client,
    "aio client": lambda replica: _of_aio(Path(replica.name).parent),
    "aio replica": _of_aio,
}


@pytest.mark.parametrize("reader", READERS)
def test_a_status_has_exactly_these_keys_and_types(nodes: tuple[lrep.Replica, lrep.Replica], reader: str) -> None:
    for replica, dialled in zip(nodes, (False, True), strict=True):
        status = READERS[reader](replica)
        (peer,) = status["peers"]
        assert list(status) == list(get_type_hints(lrep.Status))
        assert list(peer) == list(get_type_hints(lrep.PeerStatus))
        assert msgspec.convert(status, lrep.Status, strict=True) == status
        assert json.loads(json.dumps(status)) == status
        assert (status["keys"], peer["dialled"], peer["name"]) == (1, dialled, "a" if dialled else None)


@pytest.mark.parametrize("kind", [lrep.Status, lrep.PeerStatus])
def test_the_description_lists_exactly_these_keys(kind: type) -> None:
    described = re.findall(r"^    (\w+)  +\S", kind.__doc__ or "", re.MULTILINE)
    assert described == list(get_type_hints(kind))


def test_the_description_names_the_limits() -> None:
    text = lrep.PeerStatus.__doc__ or ""
    assert f"{BEHIND_COUNT_CAP:,}" in text
    assert f"above {STALL_MS // 1000} s" in text
