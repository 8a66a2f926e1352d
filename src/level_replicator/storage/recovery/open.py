"""Open a replication set: detect a kill, a power loss or a copy since the last close, and repair before use.

The meta record says how the set was left (storage.state.meta.Meta):

    closed in order                      nothing is repaired
    unclean, in the same boot            a kill: the last batch is applied to the database again (recovery.replay)
    unclean, in another or unknown boot  a power loss: log, index and database are compared, and the origin changes
    other identity of a directory        a copy or a restore: the same
    `changing_from`, `adopting`          an interrupted origin change or adoption is completed
"""

import logging
from collections.abc import Callable
from itertools import islice

from level_replicator.core.entry import DELETE, INDEX_HEAD
from level_replicator.core.epochs import EPOCH_BYTES, make_epoch
from level_replicator.core.errors import ConfigError, StorageError
from level_replicator.core.version_vector import decode_vector, encode_vector, origin_name
from level_replicator.storage.reconcile.bulk_load import recover_bulk_load
from level_replicator.storage.recovery.adopt import adopt as take_over_data
from level_replicator.storage.recovery.branches import rename_branches
from level_replicator.storage.recovery.new_origin import begin_origin_change, finish_origin_change, random_origin
from level_replicator.storage.recovery.repair_db import repair_database
from level_replicator.storage.recovery.repair_log import repair_log
from level_replicator.storage.recovery.replay import replay_last_batch
from level_replicator.storage.recovery.roll_back import roll_back_vector
from level_replicator.storage.state.index_scan import agrees, side_by_side
from level_replicator.storage.state.load import count, load, load_counts
from level_replicator.storage.state.meta import FORMAT, NEW_ORIGIN_REQUESTED, Meta, load_meta
from level_replicator.storage.state.schema import INDEX, META, following
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction
from level_replicator.storage.write.lost import load_lost

_BATCH_KEYS = 10_000
_log = logging.getLogger("level_replicator.storage")


def open_state(
    state: ReplicationState,
    *,
    boot: bytes,
    random_bytes: Callable[[int], bytes],
    adopt: Callable[[int], None] | None = None,
) -> None:
    """Load the replication set, repair it, and mark it as open.

    `boot` is the id of the present boot (storage.engine.boot_id). If the replication set is new and the database
    contains data, the data is adopted (storage.recovery.adopt), and `adopt` is called with the number of keys done;
    with None such data is an error. Raises ConfigError, FormatError or StorageError; the next open then completes an
    interrupted repair."""
    meta = load_meta(state.rs)
    identity = state.rs.identity()
    anew = False
    if meta is not None and meta.adopting:
        if adopt is None:
            raise ConfigError(f"{state.db.name}: {_INTERRUPTED}")
        anew = _may_be_torn(state, meta, identity, boot)
    if anew:
        _begin_anew(state)
    counted = False
    if meta is None or anew:
        old_origin = None
        adopting = anew or _require_empty(state, adopt is not None)
        state.set_meta(
            Meta(FORMAT, random_origin(random_bytes), identity, boot, False, 0, 0, b"", adopting=adopting, traced=True)
        )
    else:
        old_origin = meta.origin
        state.set_meta(meta)
        if adopt is None and meta.identity == identity and meta.db_identity != state.db.identity():
            _require_a_pair(state)
        counted = not _repair(state, identity, boot, random_bytes) and meta.clean
    load(state)
    load_lost(state)
    rename_branches(state)
    if counted:
        load_counts(state)
    else:
        count(state)
    opened = {"identity": identity, "db_identity": state.db.identity(), "boot": boot, "clean": False}
    if state.meta.adopting:
        assert adopt is not None
        with Transaction(state, sync=True) as tx:
            tx.change_meta(**opened)
        take_over_data(state, adopt)
    state.restored_gap = (state.vector.get(state.origin, 0), 0)
    state.tail.begin(state.newest.get(state.origin, 0))
    state.key_filter.begin(empty=next(iter(state.rs.scan_keys(INDEX, following(INDEX))), None) is None)
    if old_origin is not None:
        _begin_epoch(state, old_origin, random_bytes)
    state.unreported.load()
    with Transaction(state, sync=True) as tx:
        tx.change_meta(**opened, durable=encode_vector(state.vector))


def _begin_epoch(state: ReplicationState, old_origin: int, random_bytes: Callable[[int], bytes]) -> None:
    """Let the first write of this run begin an epoch, unless the origin is new.

    No other directory can have a new origin."""
    origin = state.origin
    if origin == old_origin or origin in state.branches:
        state.next_epoch = make_epoch(origin, state.histories.get(origin, ()), random_bytes(EPOCH_BYTES))


def _repair(state: ReplicationState, identity: bytes, boot: bytes, random_bytes: Callable[[int], bytes]) -> bool:
    """Repair a replication set. Return True if database and replication set had to be compared."""
    meta = state.meta
    copied = _is_copy(meta, identity, state.db.identity())
    out_of_step = not meta.clean and (meta.boot != boot or not boot or copied)
    torn = out_of_step and not copied
    once_more = False
    if meta.changing_from is not None:
        load(state)
        torn = torn or (meta.repairing and meta.torn)
        out_of_step = out_of_step or meta.repairing
        # a copy that was made during an origin change: the original has the new origin, too
        once_more = copied
    elif out_of_step:
        _log.warning(
            "unclean stop of origin %s, and %s since: comparing database and replication set",
            origin_name(meta.origin),
            "a copy of the directory" if copied else "a start of the machine",
        )
        roll_back_vector(state, decode_vector(meta.durable))
        load(state)
        _change_origin(state, random_bytes, identity, torn=torn)
    elif copied:
        _log.warning(
            "a directory of origin %s was copied, restored or exchanged: comparing database and replication set,"
            " and changing to a new origin",
            origin_name(meta.origin),
        )
        load(state)
        _change_origin(state, random_bytes, identity)
        out_of_step = True
    elif not meta.clean:
        load(state)
        _log.info("unclean stop: %d entries of the last batches written again", replay_last_batch(state))
        if state.bulk_load_incomplete:
            _log.info("the stop interrupted a bulk load: %d keys are loaded again", recover_bulk_load(state))
    if out_of_step:
        repairs = repair_log(state, forget=torn) + repair_database(state, torn=torn, forget=torn)
        state.flush_database()
        _log.warning("compared database and replication set: %d repairs", repairs)
        with Transaction(state, sync=True) as tx:
            tx.change_meta(repairing=False, torn=False)
    if state.meta.changing_from is not None:
        finish_origin_change(state)
    if once_more:
        _change_origin(state, random_bytes, identity)
        finish_origin_change(state)
    return out_of_step


def _require_a_pair(state: ReplicationState) -> None:
    """Raise ConfigError if the database has nothing in common with the replication set.

    A repair would overwrite such a database. Some values may differ, as in a copy that was made after a power loss."""
    rows = agreeing = values = 0
    for _, row, value in islice(side_by_side(state.rs, state.db), _PAIR_SAMPLE_KEYS):
        values += value is not None
        if row is not None and not INDEX_HEAD.unpack_from(row)[2] & DELETE:
            rows += 1
            agreeing += agrees(row, value)
    if rows and values and not agreeing:
        raise ConfigError(
            f"{state.db.name} is not the database that belongs to the replication set {state.rs.name}: of the first"
            f" {rows} keys none has the value in the set. Give two LevelDBs that belong together. If the database is an"
            " old copy, and the set may overwrite it, install with `adopt=True` or run `level-replicator adopt`"
        )


def _change_origin(
    state: ReplicationState, random_bytes: Callable[[int], bytes], identity: bytes, *, torn: bool = False
) -> None:
    """Begin the origin change of a copy, or of a directory after a power loss. The log is complete up to its vector.

    When two duplicates meet, their histories show the stamp at which they began to differ (core.epochs). If a history
    is incomplete, that stamp is unknown, and different writes of the two nodes may have the same dots."""
    meta = state.meta
    forked = meta.identity == NEW_ORIGIN_REQUESTED and not meta.traced
    unknown = forked and meta.origin not in state.histories
    whole = 0 if unknown else state.vector.get(meta.origin, 0)
    # with the identities the next open completes an interrupted change, and does not take the directory for a copy
    begin_origin_change(
        state,
        random_bytes,
        whole,
        repairing=True,
        torn=torn,
        forked=forked,
        identities=(identity, state.db.identity()),
    )


def _is_copy(meta: Meta, identity: bytes, db_identity: bytes) -> bool:
    """Return True if one of the directories is not the one that was opened last."""
    return (meta.identity, meta.db_identity) != (identity, db_identity)


_PAIR_SAMPLE_KEYS = 1_000
_INTERRUPTED = (
    "the adoption of its data was interrupted: complete it with `adopt=True`, or with the command"
    " `level-replicator adopt`"
)


def _may_be_torn(state: ReplicationState, meta: Meta, identity: bytes, boot: bytes) -> bool:
    """Return True if an interrupted adoption may have lost some of its writes.

    It then begins anew, which is safe, since no other node knows these writes."""
    return meta.boot != boot or not boot or _is_copy(meta, identity, state.db.identity())


def _begin_anew(state: ReplicationState) -> None:
    """Delete all records except the meta record, with which the next open continues an interrupted deletion."""
    tx = Transaction(state)
    for number, key in enumerate(state.rs.scan_keys(), 1):
        if key != META:
            tx.rs.delete(key)
        if number % _BATCH_KEYS == 0:
            tx.commit()
            state.step("adopt: a batch forgotten")
            tx = Transaction(state)
    tx.commit()
    state.step("adopt: begun anew")


def _require_empty(state: ReplicationState, adopt: bool) -> bool:
    """Return True if there is data to adopt.

    Raises ConfigError if there is data and `adopt` is False, StorageError if `rs` is not empty."""
    if next(iter(state.rs.scan_keys()), None) is not None:
        raise StorageError(f"{state.rs.name} holds data that is not a replication set: give an empty LevelDB as rs")
    if next(iter(state.db.scan_keys()), None) is not None:
        if adopt:
            return True
        raise ConfigError(
            f"{state.db.name} holds data, but its replication set {state.rs.name} is new: to replicate this data,"
            " install with `adopt=True` or run `level-replicator adopt`; or give the replication set that belongs to it"
        )
    return False


def close_state(state: ReplicationState) -> None:
    """Record an orderly stop. Nothing may be written afterwards.

    The database is synced first, since it is not compared with the index after an orderly stop."""
    if not state.origin or state.failed is not None:
        return
    state.flush_database()
    with Transaction(state, sync=True) as tx:
        tx.clear_touched()
        tx.change_meta(clean=True, keys=state.keys, entries=state.entries, durable=encode_vector(state.vector))
