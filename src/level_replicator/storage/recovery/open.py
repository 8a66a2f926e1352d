"""Opening a replica: identifies the directory, finds out how it was left, and repairs it before it is used."""

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
    """Load the replication set, repair it, and mark it as open. Raise ConfigError, FormatError or StorageError; the
    next open then completes an interrupted repair.

    `boot`: see storage.engine.boot_id. `adopt`: adopts data that is in the database already (storage.recovery.adopt),
    and is called with the number of keys done; None: such data is an error."""
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
    """Begin an epoch with the first write of this run, unless the origin is new: no other node can have a directory of
    a new one."""
    origin = state.origin
    if origin == old_origin or origin in state.branches:
        state.next_epoch = make_epoch(origin, state.histories.get(origin, ()), random_bytes(EPOCH_BYTES))


def _repair(state: ReplicationState, identity: bytes, boot: bytes, random_bytes: Callable[[int], bytes]) -> bool:
    """Repair a replication set as it was left. Return whether database and replication set had to be compared."""
    meta = state.meta
    copied = _is_copy(meta, identity, state.db.identity())
    out_of_step = not meta.clean and (meta.boot != boot or not boot or copied)
    torn = out_of_step and not copied
    once_more = False
    if meta.changing_from is not None:
        load(state)
        torn = torn or (meta.repairing and meta.torn)
        out_of_step = out_of_step or meta.repairing
        # a copy that was made in the middle of an origin change: the other directory has that origin, too
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
    """Raise ConfigError if the database has nothing in common with the replication set: a repair would overwrite it.
    (A copy of both may lack values after a power loss.)"""
    rows = agreeing = values = 0
    for _, row, value in islice(side_by_side(state.rs, state.db), _PAIR_SAMPLE_KEYS):
        values += value is not None
        if row is not None and not INDEX_HEAD.unpack_from(row)[2] & DELETE:
            rows += 1
            agreeing += agrees(row, value)
    if rows and values and not agreeing:
        raise ConfigError(
            f"{state.db.name} is not the database that belongs to the replication set {state.rs.name}: of the first"
            f" {rows} keys none has the value that the set knows. Give the two that belong together; if it is an old"
            " copy all the same, and the set is to overwrite it, install with `adopt=True` or run"
            " `level-replicator adopt`"
        )


def _change_origin(
    state: ReplicationState, random_bytes: Callable[[int], bytes], identity: bytes, *, torn: bool = False
) -> None:
    """Begin an origin change of a copy, or of a directory after a power loss. The log is whole up to its vector.

    When two duplicates meet, their histories show at which stamp they began to differ (see core.epochs). If a history
    is not complete, that stamp is unknown, and different writes of the two may have the same dots."""
    meta = state.meta
    forked = meta.identity == NEW_ORIGIN_REQUESTED and not meta.traced
    unknown = forked and meta.origin not in state.histories
    whole = 0 if unknown else state.vector.get(meta.origin, 0)
    # the identities: if this is interrupted, the next open completes it, and does not take the directory for a copy
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
    """Return whether one of the directories is not the one that was open last."""
    return (meta.identity, meta.db_identity) != (identity, db_identity)


_PAIR_SAMPLE_KEYS = 1_000
_INTERRUPTED = (
    "the adoption of its data was interrupted: complete it with `adopt=True`, or with the command"
    " `level-replicator adopt`"
)


def _may_be_torn(state: ReplicationState, meta: Meta, identity: bytes, boot: bytes) -> bool:
    """Return whether an interrupted adoption may have lost some of its writes. Then it begins anew, since no other node
    knows of it."""
    return meta.boot != boot or not boot or _is_copy(meta, identity, state.db.identity())


def _begin_anew(state: ReplicationState) -> None:
    """Delete everything but the meta record, which makes the next open continue until it is overwritten."""
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
    """Return whether there is data to adopt. Raise ConfigError if there is and `adopt` is False, and StorageError if
    `rs` is not empty."""
    if next(iter(state.rs.scan_keys()), None) is not None:
        raise StorageError(f"{state.rs.name} holds data that is not a replication set: give an empty LevelDB as rs")
    if next(iter(state.db.scan_keys()), None) is not None:
        if adopt:
            return True
        raise ConfigError(
            f"{state.db.name} holds data, but its replication set {state.rs.name} is new: to make this data a master's,"
            " install with `adopt=True` or run `level-replicator adopt`; or give the replication set that belongs to it"
        )
    return False


def close_state(state: ReplicationState) -> None:
    """Mark an orderly stop. Nothing may be written after it.

    The database is brought to the disk first: after an orderly stop it is not compared with the index again."""
    if not state.origin or state.failed is not None:
        return
    state.flush_database()
    with Transaction(state, sync=True) as tx:
        tx.clear_touched()
        tx.change_meta(clean=True, keys=state.keys, entries=state.entries, durable=encode_vector(state.vector))
