"""What writes stored values again does so in batches of bounded bytes: there may be a thousand values of 64 MiB."""

from __future__ import annotations

import pytest

from level_replicator.core.reconcile_rules import ReconcileContext
from level_replicator.storage.reconcile.resolver import Resolver
from level_replicator.storage.recovery import new_origin, repairs
from level_replicator.storage.store import Store
from level_replicator.storage.write import restamps
from tests.harness.memory_engine import MemoryBatch, MemoryEngine
from tests.unit.storage.rig import Rig, assert_sound, contents

VALUE_BYTES = 1_000
COUNT = 60
BATCH_BYTES = 5 * VALUE_BYTES
MOST_BYTES = BATCH_BYTES + 2 * VALUE_BYTES
"""The value that fills a batch, and what is beside the values."""


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each batch that is written from here on."""
    seen: list[int] = []
    write = MemoryBatch.write

    def measured(self: MemoryBatch) -> None:
        seen.append(sum(len(key) + len(value or b"") for key, value in self._operations))
        write(self)

    for module in (repairs, new_origin, restamps):
        monkeypatch.setattr(module, "REPAIR_BATCH_BYTES", BATCH_BYTES)
    monkeypatch.setattr(MemoryBatch, "write", measured)
    return seen


def filled() -> tuple[Rig, Store, dict[bytes, bytes]]:
    rig = Rig()
    store = rig.open()
    data = {b"%03d" % number: b"%03d" % number * (VALUE_BYTES // 3) for number in range(COUNT)}
    for key, value in data.items():
        store.writer.put(key, value, False)
    return rig, store, data


def test_what_a_stale_node_writes_again(sizes: list[int]) -> None:
    _, store, data = filled()
    sizes.clear()
    again: list[int] = []
    reconcile_context = ReconcileContext(dict(store.vector), {}, stale=True, their_dropped=store.clock.last)
    resolver = Resolver(store._state, 1, reconcile_context, {}, sync=False)
    low: bytes | None = b""
    while low is not None:
        resolved = resolver.resolve(low, b"", [])
        assert not resolved.wanted
        again.append(resolved.restamped)
        low = resolved.next_key
    assert len(again) > 1
    assert sum(again) == len(data)
    assert contents(store) == data
    assert max(sizes) <= MOST_BYTES
    assert_sound(store)


def lost_database(rig: Rig) -> None:
    """A power loss that took all of the database: what is in the log goes into it again."""
    engine = MemoryEngine(rig.db_disk, "db")
    for key in list(engine.scan_keys()):
        engine.delete(key, sync=True)
    engine.close()


def lost_log(rig: Rig) -> None:
    """One that took the entries of the log: they are made anew of what the database has."""
    engine = MemoryEngine(rig.rs_disk, "rs")
    for key in list(engine.scan_keys(b"l", b"m")):
        engine.delete(key, sync=True)
    engine.close()


@pytest.mark.parametrize("loss", [lost_database, lost_log])
def test_what_is_mended_after_a_power_loss(loss: object, sizes: list[int]) -> None:
    """And what the new origin takes over of the old one."""
    rig, store, data = filled()
    store._state.rs.batch(sync=True).write()
    store._state.db.batch(sync=True).write()
    rig.kill()
    rig.boot = b"second"
    assert callable(loss)
    loss(rig)
    sizes.clear()
    store = rig.open()
    assert contents(store) == data
    assert_sound(store)
    assert max(sizes) <= MOST_BYTES
