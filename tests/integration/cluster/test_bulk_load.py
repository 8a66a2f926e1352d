"""A bulk load whose peer never comes back: the arrived entries replicate, and another peer completes the load."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from level_replicator.testing.relay import Relay
from tests.harness.local_node import LocalNode, wait_in_sync
from tests.harness.waiting import wait_until

Make = Callable[..., LocalNode]
MakeRelay = Callable[[int], Relay]
KEYS = 20_000


def test_a_bulk_load_is_completed_by_another_peer(
    master: Make, relay: MakeRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("level_replicator.storage.maintenance.floors.FLOOR_PATIENCE_MS", 300)
    monkeypatch.setattr("level_replicator.storage.maintenance.floors.BULK_LOAD_PATIENCE_MS", 300)
    a = master("a")
    with a.replica.write_batch() as batch:
        for number in range(KEYS):
            batch.put(b"%06d" % number, bytes(100))
    a.replica.truncate()
    wire = relay(a.port)
    wire.cut_after(1_500_000)
    b = master("b", [wire.address])
    wait_until(lambda: wire.is_cut, "the link is cut within the bulk load")
    a.close()
    wait_until(lambda: not b.replica.status()["floor"], "the floor is lowered")
    status = b.replica.status()
    assert status["bulk_load_incomplete"]
    assert 0 < status["entries"] == status["keys"] < KEYS
    c = master("c", [b.address])
    wait_until(lambda: c.contents() == b.contents(), "c is sent the log of b")
    wait_until(lambda: not b.replica.status()["bulk_load_incomplete"], "the reconciliation with c completes the load")
    b.put(b"later", b"1")
    c.put(b"and later", b"1")
    wait_in_sync(b, c)
    assert b.contents() == c.contents()
    assert b.replica.verify().sound
    assert c.replica.verify().sound
