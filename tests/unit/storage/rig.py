"""Stores on virtual disks, and what they hold."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from random import Random

from level_replicator.core.entry import INDEX_HEAD, decode_entry
from level_replicator.protocol.events import EntriesReceived
from level_replicator.protocol.push import PullSender
from level_replicator.storage.feed.round_planner import Round
from level_replicator.storage.feed.send_queue import SendQueue
from level_replicator.storage.state.meta import load_meta, store_meta
from level_replicator.storage.state.schema import INDEX, LOG, following, log_dot
from level_replicator.storage.store import Store
from tests.harness.memory_engine import MemoryEngine
from tests.harness.virtual_disk import VirtualDisk

START_MS = 1_700_000_000_000


class Died(BaseException):
    """The process was killed at this step."""


class Rig:
    """One directory: two disks that outlive the store on them."""

    def __init__(self, seed: int = 0) -> None:
        self.db_disk, self.rs_disk = VirtualDisk(), VirtualDisk()
        self.rng = Random(seed)
        self.now_ms = START_MS
        self.boot = b"first"
        self.die_at: str | None = None
        self.interrupt_at: str | None = None
        self.store: Store | None = None

    def open(self, *, adopt: bool = False) -> Store:
        self.store = Store(
            MemoryEngine(self.db_disk, "db"),
            MemoryEngine(self.rs_disk, "rs"),
            now_ms=lambda: self.now_ms,
            random_bytes=self.rng.randbytes,
            boot=self.boot,
            on_step=self._step,
            adopt=(lambda keys: None) if adopt else None,
        )
        return self.store

    def kill(self) -> None:
        self.db_disk.kill()
        self.rs_disk.kill()

    def reopen_after_kill(self) -> Store:
        self.kill()
        self.die_at = None
        return self.open()

    def _step(self, name: str) -> None:
        if name == self.die_at:
            self.kill()  # a dead process can finish nothing
            raise Died(name)
        if name == self.interrupt_at:
            self.interrupt_at = None
            raise KeyboardInterrupt


def contents(store: Store) -> dict[bytes, bytes]:
    return dict(store._state.db.scan())


def dots(store: Store) -> dict[bytes, tuple[int, int]]:
    """Key → dot, of the index."""
    lines = store._state.rs.scan(INDEX, following(INDEX))
    return {key[1:]: INDEX_HEAD.unpack_from(line)[:2] for key, line in lines}


def assert_sound(store: Store) -> None:
    """The log holds exactly what the index says above the floor, and the counts are right."""
    logged = {}
    for key, record in store._state.rs.scan(LOG, following(LOG)):
        entry = decode_entry(record)
        assert entry.key not in logged
        logged[entry.key] = log_dot(key)
    assert logged == {key: dot for key, dot in dots(store).items() if store._state.logged(dot[1], dot[0])}
    assert store.entries == len(logged)
    assert store.keys == len(contents(store))


def pull(into: Store, source: Store, most: Callable[[], bool] = lambda: True, frame_entries: int = 2) -> bool:
    """A whole first round, or as much of it as `most` allows. Whether it was completed."""
    feed = SendQueue(into.origin, into.resumable(source.origin))
    opened = source.rounds.open_next(feed, dict(into.vector), dict(into.horizon))
    assert isinstance(opened, Round)
    reader, target, work = opened.reader, opened.target, opened.work
    push = PullSender()
    push.peer_has(dict(into.vector))
    push.begin(target, work)
    while (read := push.next_read()) is not None:
        records, reached = reader.read(read, frame_entries, 1 << 20)
        message = push.read(read, records, reached)
        if message is None:
            continue
        if not most():
            return False
        entries = [decode_entry(record) for record in records]
        adopt = target if message.last else None
        resumable = min(message.high, target.get(message.origin, 0))
        into.apply(
            EntriesReceived(message.origin, message.low, message.high, entries, resumable, adopt), source.origin, target
        )
        if message.last:
            return True
    into.adopt_vector(target, source.origin)
    return True


def allow(number: int) -> Callable[[], bool]:
    """True `number` times."""
    left = count(number, -1)
    return lambda: next(left) > 0


def hide_copy(rig: Rig) -> None:
    """Makes copied disks look like the directory that they were made of, as in an image of a whole disk."""
    engine = MemoryEngine(rig.rs_disk, "rs")
    meta = load_meta(engine)
    assert meta is not None
    database = MemoryEngine(rig.db_disk, "db")
    meta.identity, meta.db_identity = engine.identity(), database.identity()
    store_meta(engine, meta)
    engine.close()
    database.close()


def give_up(store: Store) -> None:
    """One audit with repair writes down what is lost, a second one forgets what no peer has brought."""
    while store.verify(repair=True, progress=lambda keys: None).given_up == 0:
        assert store.lost
