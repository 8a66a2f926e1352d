"""Virtual disks with a database that no replica wrote, and what an adoption must have made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from zlib import crc32

from level_replicator.core.entry import INDEX_HEAD
from level_replicator.storage.state.load import load_stamps, load_vector
from level_replicator.storage.state.meta import load_meta
from level_replicator.storage.state.schema import FLOOR, INDEX, LOG, following
from level_replicator.storage.store import Store
from tests.harness.memory_engine import MemoryEngine
from tests.harness.virtual_disk import Operations
from tests.unit.storage.rig import Died, Rig, contents, dots

DATA = {b"k%02d" % i: b"value %d" % i for i in range(10)}
Progress = Callable[[int], None]


class AdoptingRig(Rig):
    """Its database has data that no replica wrote. `die_after`: at which passing of a step; `passed`: steps so far."""

    def __init__(self, seed: int = 0, data: dict[bytes, bytes] = DATA) -> None:
        super().__init__(seed)
        self.passed: list[str] = []
        self.die_after = 0
        self.write_around(dict(data))

    def write_around(self, data: dict[bytes, bytes | None], *, sync: bool = True) -> None:
        """What another program does, as it lies on the disk."""
        db = MemoryEngine(self.db_disk, "db")
        batch = db.batch(sync=sync)
        for key, value in data.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.write()
        db.close()

    def adopt(self, progress: Progress = lambda keys: None) -> Store:
        self.passed = []
        try:
            self.store = Store(
                MemoryEngine(self.db_disk, "db"),
                MemoryEngine(self.rs_disk, "rs"),
                now_ms=lambda: self.now_ms,
                random_bytes=self.rng.randbytes,
                boot=self.boot,
                adopt=progress,
                on_step=self._step,
            )
        except BaseException:
            self.kill()  # it is over; the next one opens both again
            raise
        return self.store

    def start_machine_anew(self) -> None:
        self.db_disk.power_loss(self.rng)
        self.rs_disk.power_loss(self.rng)
        self.boot += b"'"

    def _step(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) == self.die_after:
            self.kill()  # a dead process can finish nothing
            raise Died(name)
        super()._step(name)


def raise_after(keys: int, error: BaseException) -> Progress:
    def progress(done: int) -> None:
        if done >= keys:
            raise error

    return progress


@contextmanager
def written(rig: AdoptingRig) -> Iterator[list[Operations]]:
    """What is written into the replication set meanwhile."""
    seen: list[Operations] = []
    rig.rs_disk.on_write = lambda when, operations: seen.append(operations) if when == "before" else None
    try:
        yield seen
    finally:
        rig.rs_disk.on_write = None


def lines_written(batches: list[Operations]) -> set[bytes]:
    return {key[1:] for batch in batches for key, value in batch if key.startswith(INDEX) and value is not None}


def assert_adopted(store: Store, data: dict[bytes, bytes]) -> None:
    """The index says exactly what the database holds, under one origin; memory, disk and counts agree."""
    state = store._state
    assert contents(store) == data
    lines = {key[1:]: INDEX_HEAD.unpack_from(line) for key, line in state.rs.scan(INDEX, following(INDEX))}
    assert {key: line[3] for key, line in lines.items()} == {key: crc32(value) for key, value in data.items()}
    assert all(flags == 0 for _, _, flags, _ in lines.values())
    assert store.keys == len(data)
    assert store.entries == sum(1 for _ in state.rs.scan_keys(LOG, following(LOG)))
    stamps = [line[0] for line in lines.values()]
    assert len(set(stamps)) == len(stamps)
    assert state.vector == load_vector(state.rs)
    assert state.floor == load_stamps(state.rs, FLOOR)
    assert all(stamp <= state.vector[key_origin] for stamp, key_origin, _, _ in lines.values())
    assert state.clock.last >= max(stamps, default=0)
    meta = load_meta(state.rs)
    assert meta is not None
    assert not meta.adopting
    report = store.verify(repair=False, progress=lambda keys: None)
    assert report.sound, report


def assert_works(store: Store) -> None:
    """It takes writes, also over what was adopted, with greater stamps."""
    adopted = dots(store)
    newest = max(stamp for stamp, _ in adopted.values())
    store.writer.write([(b"k05", b"overwritten"), (b"k06", None), (b"new", b"n")], False)
    assert min(dots(store)[key][0] for key in (b"k05", b"k06", b"new")) > newest
    assert store.keys == len(contents(store))
    assert store.entries == 3
    assert store.verify(repair=False, progress=lambda keys: None).sound
