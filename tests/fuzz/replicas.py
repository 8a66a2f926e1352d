"""A damaged replication set is opened and repaired, or refused with one of the named errors."""

import contextlib
from functools import cache
from itertools import count

import msgspec

from level_replicator.core.errors import ClockError, ConfigError, FormatError, StorageError
from level_replicator.core.version_vector import decode_vector
from level_replicator.protocol.push import PullSender
from level_replicator.storage.engine.plyvel import ENGINE_ERRORS
from level_replicator.storage.feed.round_planner import ReconcileOffer, Round
from level_replicator.storage.feed.send_queue import SendQueue
from level_replicator.storage.reconcile.responder import Responder
from level_replicator.storage.state.meta import FORMAT, Meta, encode_meta, load_meta
from level_replicator.storage.state.schema import META
from level_replicator.storage.store import Store
from tests.fuzz.source import Source
from tests.harness.memory_engine import MemoryEngine
from tests.harness.virtual_disk import VirtualDisk
from tests.unit.storage.rig import START_MS, Rig, pull

NAMED = (StorageError, FormatError, ConfigError)
"""What opening may raise, by its documentation."""
_BOOT = b"boot"


def meta(data: bytes) -> None:
    """The meta record: read as it was written, or a named error."""
    disk = VirtualDisk([(META, data)])
    with contextlib.suppress(StorageError, FormatError):
        taken = load_meta(MemoryEngine(disk))
        assert taken is not None
        assert taken.format == FORMAT
        assert 0 < taken.origin < 1 << 64
        decode_vector(taken.durable)
        assert msgspec.msgpack.decode(encode_meta(taken), type=Meta) == taken


class Disks:
    """What lies on the disks of a replica, and how it was left."""

    def __init__(self, rig: Rig) -> None:
        self.db = dict(rig.db_disk._on_disk())
        self.rs = dict(rig.rs_disk._on_disk())
        self.identities = rig.db_disk.identity, rig.rs_disk.identity


@cache
def kept_replicas() -> list[Disks]:
    """After an orderly stop, a kill, within a scan that broke off, and without a log."""
    peer = Rig(seed=1)
    peer.boot = _BOOT
    theirs = peer.open()
    theirs.writer.write([(b"p%d" % number, b"of the peer") for number in range(4)], False)
    theirs.writer.write([(b"p1", None), (b"c", b"conflict")], False)
    found = []
    for how in range(4):
        rig = Rig(seed=2 + how)
        rig.boot = _BOOT
        store = rig.open()
        store.writer.write([(b"a", b"1"), (b"b", b"2"), (b"c", b"3")], False)
        if how:
            pull(store, theirs, most=iter([True, how != 2, how != 2, how != 2, how != 2]).__next__, frame_entries=1)
        store.writer.write([(b"b", None), (b"p0", b"over")], False)
        if how == 3:
            store.retention.drop_tombstones(store.clock.last)
            store.retention.truncate()
            store.writer.write([(b"d", b"4"), (b"a", None)], False)
        if how == 0:
            store.close()
        found.append(Disks(rig))
    return found


def open_store(db: VirtualDisk, rs: VirtualDisk, *, wall_ms: int, boot: bytes = _BOOT) -> Store:
    """As a process that begins there does."""
    numbers = count(100)
    return Store(
        MemoryEngine(db, "db"),
        MemoryEngine(rs, "rs"),
        now_ms=lambda: wall_ms,
        random_bytes=lambda size: next(numbers).to_bytes(size, "big"),
        boot=boot,
    )


def replica(data: bytes) -> None:
    """Some lines of it are other ones, or gone. Then all that a replica does is tried.

    One fault is repaired by verify, or told; with several a stamp may have been given out twice, for which it is not
    made."""
    source = Source(data)
    how = source.byte()
    disks = kept_replicas()[how & 3]
    rs, db = dict(disks.rs), dict(disks.db)
    faults = 0
    while source.left:
        _damage(source, db if source.byte() & 7 == 7 else rs)
        faults += 1
    db_disk, rs_disk = VirtualDisk(db.items()), VirtualDisk(rs.items())
    db_disk.identity, rs_disk.identity = disks.identities
    if how & 8:
        rs_disk.identity = b"a copy"
    boot = b"another" if how & 4 else _BOOT
    try:
        store = open_store(db_disk, rs_disk, wall_ms=START_MS, boot=boot)
    except NAMED:
        return
    for work in (_initiator, _serve, _write, _audit, _write, _initiator, _serve):
        try:
            work(store)
            if work is _audit and faults == 1:
                _is_sound(store)
        except ClockError:
            break
        except ENGINE_ERRORS as error:
            # a link tells such a one in the log, and hangs up; writing and verify give it its name
            assert isinstance(error, StorageError) or work in (_initiator, _serve)  # noqa: PT017 - no test looks for it
            break
    with contextlib.suppress(StorageError):
        store.close()


def _damage(source: Source, disk: dict[bytes, bytes]) -> None:
    """One line."""
    names = sorted(disk)
    key = source.pick(names) if names else META
    line = disk.get(key, b"")
    match source.below(6):
        case 0:
            disk.pop(key, None)
        case 1:
            disk[key] = line[: source.byte()]
        case 2 if line:
            at = source.byte() % len(line)
            disk[key] = line[:at] + bytes([source.byte()]) + line[at + 1 :]
        case 3:
            disk[key] = source.piece()
        case 4:
            disk[source.pick([b"m", b"l", b"i", b"v", b"f", b"h", b"d", b"a", b"t", b"r"]) + source.piece()] = (
                source.piece()
            )
        case _:
            disk[key] = line + source.piece()


def _write(store: Store) -> None:
    store.writer.write([(b"a", b"new"), (b"b", None), (b"p2", b"new")], False)


def _audit(store: Store) -> None:
    store.verify(repair=False, progress=_quietly)
    report = store.verify(repair=True, progress=_quietly)
    assert report.left == 0
    if report.lost:  # no peer brings it
        assert store.verify(repair=True, progress=_quietly).left == 0


def _is_sound(store: Store) -> None:
    report = store.verify(repair=False, progress=_quietly)
    assert report.sound, report


def _quietly(keys: int) -> None:
    pass


def _serve(store: Store) -> None:
    """A first round to a peer that has nothing, or, where the log does not reach, all of the index."""
    opened = store.rounds.open_next(SendQueue(9, []), {}, {})
    if isinstance(opened, Round):
        push = PullSender()
        push.begin(opened.target, opened.work)
        while (read := push.next_read()) is not None:
            push.read(read, *opened.reader.read(read, 10, 1 << 20))
        opened.reader.close()
    elif isinstance(opened, ReconcileOffer):
        _answer_all(opened.responder)


def _initiator(store: Store) -> None:
    """A peer that looks at everything."""
    opened = store.rounds.open_comparison()
    opened.responder.query([(b"", b"", bytes(16), 1)])
    _answer_all(opened.responder)


def _answer_all(responder: Responder) -> None:
    responder.query([(b"", b"", bytes(16), 0)])
    responder.fetch([b"a", b"p1", b"nowhere"], [b"", b"", b""])
    while responder.busy:
        responder.step()
    responder.close()
