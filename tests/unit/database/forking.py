"""Run as a program: every call in a forked child is refused, and the parent keeps working. Argument: directory."""

import os
import sys

import plyvel

from level_replicator.core.errors import ForkError
from level_replicator.database.database import Database
from tests.unit.database.writers import StraightWriter

raw = plyvel.DB(sys.argv[1], create_if_missing=True)
with Database(raw, StraightWriter(raw), sync_default=False) as db:
    db.put(b"k", b"v")
    prefixed, batch, snapshot = db.prefixed_db(b"p"), db.write_batch(), db.snapshot()
    iterator, raw_iterator = db.iterator(), db.raw_iterator()
    calls = [
        lambda: db.get(b"k"),
        lambda: db.put(b"k", b"child"),
        lambda: db.delete(b"k"),
        db.write_batch,
        db.snapshot,
        db.iterator,
        db.raw_iterator,
        db.compact_range,
        db.close,
        lambda: db.get_property(b"leveldb.stats"),
        lambda: db.approximate_size(b"a", b"z"),
        lambda: db.approximate_sizes((b"a", b"z")),
        lambda: list(db),
        lambda: prefixed.get(b"k"),
        lambda: prefixed.put(b"k", b"child"),
        lambda: prefixed.delete(b"k"),
        prefixed.write_batch,
        prefixed.iterator,
        prefixed.snapshot,
        batch.write,
        lambda: batch.put(b"k", b"child"),
        lambda: batch.delete(b"k"),
        batch.clear,
        batch.approximate_size,
        lambda: snapshot.get(b"k"),
        snapshot.iterator,
        snapshot.raw_iterator,
        lambda: next(iterator),
        iterator.prev,
        lambda: iterator.seek(b"k"),
        raw_iterator.valid,
        raw_iterator.next,
    ]
    child = os.fork()
    if child == 0:
        refused = 0
        for call in calls:
            try:
                call()
            except ForkError:
                refused += 1
        snapshot.close()
        del iterator, raw_iterator
        sys.exit(100 + len(calls) - refused)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 100, f"{status - 100} calls were not refused"
    assert next(iterator) == (b"k", b"v")
    assert snapshot.get(b"k") == b"v"
    db.put(b"k2", b"parent")
with plyvel.DB(sys.argv[1]) as again:
    assert list(again) == [(b"k", b"v"), (b"k2", b"parent")]
