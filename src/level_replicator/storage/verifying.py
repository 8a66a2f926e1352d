"""The audit of one node: does the database hold what the index says, and the log what it should?

It looks at snapshots while writes go on; what it finds is looked at again, under the lock, before it is mended.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from level_replicator.core.entry import DELETE, INDEX_HEAD, decode_entry
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.keys import INDEX, LOG, following, log_dot, log_key
from level_replicator.storage.engine import Reader
from level_replicator.storage.entries import logged_entry, restore_entry
from level_replicator.storage.loading import count, load
from level_replicator.storage.mending import mend_database, mend_log
from level_replicator.storage.meta import store_meta
from level_replicator.storage.pairing import agrees, side_by_side
from level_replicator.storage.plyvel_engine import ENGINE_ERRORS
from level_replicator.storage.reading import read_entry
from level_replicator.storage.renewal import announce_renewal, finish_renewal, mint_origin
from level_replicator.storage.state import State
from level_replicator.storage.writer import LocalWriter

MAX_EXAMPLES = 100
PROGRESS_KEYS = 10_000
"""Progress is told once for so many keys."""


@dataclass
class Report:
    """What an audit found, in numbers of keys.

    keys      looked at
    missing   the index says that there is a value, the database has none
    changed   the database has another value than the index says
    unknown   the database has a key that the index does not know, or knows as deleted: written around the replica
    unlogged  the log should have an entry, and has not
    damaged   an entry of the log cannot be read
    orphaned  an entry of the log belongs to no line of the index
    repaired  how many of these were mended; renewed: some could not be, and were given up to come back from peers: the
              node goes on as a new origin
    examples  up to MAX_EXAMPLES of (kind, key)
    """

    keys: int = 0
    missing: int = 0
    changed: int = 0
    unknown: int = 0
    unlogged: int = 0
    damaged: int = 0
    orphaned: int = 0
    repaired: int = 0
    renewed: bool = False
    examples: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def found(self) -> int:
        """All that is not as it should be."""
        return self.missing + self.changed + self.unknown + self.unlogged + self.damaged + self.orphaned

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return self.found == 0

    def note(self, kind: str, key: bytes) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append((kind, key))


def verify(
    state: State,
    *,
    repair: bool,
    random_bytes: Callable[[int], bytes],
    progress: Callable[[int], None] = lambda keys: None,
) -> Report:
    """Compares database, index and log; with `repair` mends what is found: from the log, from the database, else it
    gives up the key so that peers send it again. `progress`: told the keys looked at. Raises StorageError."""
    report = Report()
    try:
        with state.lock:
            state.check()
            rs, db = state.rs.snapshot(), state.db.snapshot()
        with rs, db:
            mender = _Mender(state, report)
            for kind, key in _findings(state, rs, db, report, progress):
                report.note(kind, key)
                if repair:
                    mender.mend(kind, key)
        progress(report.keys)
        if mender.lost:
            with state.lock:
                state.check()
                _give_up_what_is_lost(state, random_bytes)
            report.renewed = True
            report.repaired += len(mender.lost)
    except ENGINE_ERRORS as error:
        raise state.fail("verifying", error) from error
    return report


def _findings(
    state: State, rs: Reader, db: Reader, report: Report, progress: Callable[[int], None]
) -> Iterator[tuple[str, bytes]]:
    for key, line, value in side_by_side(rs, db):
        report.keys += 1
        if report.keys % PROGRESS_KEYS == 0:
            progress(report.keys)
        if line is None or (INDEX_HEAD.unpack_from(line)[2] & DELETE and value is not None):
            yield "unknown", key
            continue
        if not agrees(line, value):
            yield ("missing" if value is None else "changed"), key
        stamp, origin, _, _ = INDEX_HEAD.unpack_from(line)
        if stamp > state.floor.get(origin, 0) and logged_entry(rs, key, stamp, origin) is None:
            yield ("unlogged" if rs.get(log_key(origin, stamp)) is None else "damaged"), key
    for log_at, record in rs.scan(LOG, following(LOG)):
        try:
            line = rs.get(INDEX + decode_entry(record).key)
        except RemoteProtocolError:
            continue  # found from its line
        if line is None or INDEX_HEAD.unpack_from(line)[:2] != log_dot(log_at):
            yield "orphaned", log_at


class _Mender:
    """Mends one finding after the other. `lost`: keys whose value is nowhere any more."""

    def __init__(self, state: State, report: Report) -> None:
        self.lost: set[bytes] = set()
        self._state = state
        self._report = report

    def mend(self, kind: str, key: bytes) -> None:
        state = self._state
        with state.lock:
            state.check()
            mended = self._orphan(key) if kind == "orphaned" else self._mend(key)
        if mended:
            self._report.repaired += 1
        else:
            self.lost.add(key)

    def _mend(self, key: bytes) -> bool:
        """As things are now. False: it is lost."""
        state = self._state
        line, value = state.rs.get(INDEX + key), state.db.get(key)
        if line is None or (INDEX_HEAD.unpack_from(line)[2] & DELETE and value is not None):
            if value is not None:
                LocalWriter.write_locked(state, [(key, value)], False)
            return True
        stamp, origin, _, _ = INDEX_HEAD.unpack_from(line)
        record = restore_entry(state.rs, state.db, key, line)
        if record is None:
            return False
        if stamp > state.floor.get(origin, 0):
            missing = state.rs.get(log_key(origin, stamp)) is None
            state.rs.put(log_key(origin, stamp), record)
            state.entries += missing
        whole = read_entry(record).value
        if whole is not None:
            state.db.put(key, whole)
        return True

    def _orphan(self, log_at: bytes) -> bool:
        state = self._state
        record = state.rs.get(log_at)
        line = None if record is None else state.rs.get(INDEX + read_entry(record).key)
        if record is not None and (line is None or INDEX_HEAD.unpack_from(line)[:2] != log_dot(log_at)):
            state.rs.delete(log_at)
            state.entries -= 1
        return True


def _give_up_what_is_lost(state: State, random_bytes: Callable[[int], bytes]) -> None:
    """As after a power loss: what is nowhere is forgotten, vector included, under a new origin."""
    meta = state.meta
    assert meta is not None
    whole = state.vector.get(state.origin, 0)
    announce_renewal(state, mint_origin(random_bytes), whole, mending=True)
    mend_log(state)
    mend_database(state)
    meta.mending = False
    store_meta(state.rs, meta)
    finish_renewal(state)
    load(state)
    count(state)
