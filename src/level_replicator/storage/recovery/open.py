"""Opening a replica: whose directory is this, how was it left, and what has to be repaired before it is used."""

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
from level_replicator.storage.recovery.repair import repair_database, repair_log, replay_last_batch, roll_back_vector
from level_replicator.storage.state.index_scan import agrees, side_by_side
from level_replicator.storage.state.load import count, load
from level_replicator.storage.state.meta import FORMAT, NEW_ORIGIN_REQUESTED, Meta, load_meta, store_meta
from level_replicator.storage.state.schema import INDEX, META, TOUCHED, following
from level_replicator.storage.state.state import ReplicationState
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
    """Loads, repairs and marks as open. Raises ConfigError, FormatError or StorageError; then nothing is half done
    that the next open would not go on with.

    `adopt`: takes over data that is in the database already, and is told the keys that are done; None: an error."""
    meta = load_meta(state.rs)
    identity = state.rs.identity()
    before = None if meta is None else meta.origin
    anew = False
    if meta is not None and meta.adopting:
        if adopt is None:
            raise ConfigError(f"{state.db.name}: {_INTERRUPTED}")
        anew = _may_be_torn(state, meta, identity, boot)
    if anew:
        _begin_anew(state)
    if meta is None or anew:
        adopting = anew or _require_empty(state, adopt is not None)
        meta = Meta(
            FORMAT, random_origin(random_bytes), identity, boot, False, 0, 0, b"", adopting=adopting, traced=True
        )
        state.meta = meta
        state.origin = meta.origin
    else:
        state.meta = meta
        state.origin = meta.origin
        if adopt is None and meta.identity == identity and meta.db_identity != state.db.identity():
            _require_a_pair(state)
        _repair(state, meta, identity, boot, random_bytes)
    load(state)
    load_lost(state)
    rename_branches(state)
    if meta.clean:
        state.keys, state.entries = meta.keys, meta.entries
    else:
        count(state)
    if meta.adopting:
        assert adopt is not None
        meta.identity, meta.db_identity, meta.boot, meta.clean = identity, state.db.identity(), boot, False
        take_over_data(state, adopt)
    state.restored_gap = (state.vector.get(state.origin, 0), 0)
    state.tail.begin(state.newest.get(state.origin, 0))
    state.key_filter.begin(empty=next(iter(state.rs.scan_keys(INDEX, following(INDEX))), None) is None)
    if before is not None and not anew:
        _begin_epoch(state, before, random_bytes)
    meta.identity, meta.db_identity, meta.boot, meta.clean = identity, state.db.identity(), boot, False
    meta.durable = encode_vector(state.vector)
    state.unreported.load()
    store_meta(state.rs, meta)


def _begin_epoch(state: ReplicationState, before: int, random_bytes: Callable[[int], bytes]) -> None:
    """With the first write of this run, unless the origin is new: nobody else can have a directory of that."""
    origin = state.origin
    if origin == before or origin in state.branches:
        state.next_epoch = make_epoch(origin, state.histories.get(origin, ()), random_bytes(EPOCH_BYTES))


def _repair(
    state: ReplicationState, meta: Meta, identity: bytes, boot: bytes, random_bytes: Callable[[int], bytes]
) -> None:
    durable = decode_vector(meta.durable)
    copied = _is_copy(meta, identity, state.db.identity())
    out_of_step = not meta.clean and (meta.boot != boot or not boot or copied)
    torn = out_of_step and not copied
    once_more = False
    if meta.changing_from is not None:
        load(state)
        torn = torn or (meta.repairing and meta.torn)
        out_of_step = out_of_step or meta.repairing
        # a copy that was made in the middle of an origin change: the other directory goes on with that origin
        once_more = copied
    elif out_of_step:
        _log.warning(
            "unclean stop of origin %s, and %s since: comparing database and replication set",
            origin_name(meta.origin),
            "a copy of the directory" if copied else "a start of the machine",
        )
        roll_back_vector(state, durable)
        load(state)
        _change_origin(state, random_bytes, identity, torn=torn)
    elif copied:
        _log.warning(
            "a directory of origin %s was copied, restored or exchanged: comparing database and replication set;"
            " it goes on as a new origin",
            origin_name(meta.origin),
        )
        load(state)
        _change_origin(state, random_bytes, identity)
        out_of_step = True
    elif not meta.clean:
        load(state)
        _log.info("unclean stop: %d entries of the last batches done again", replay_last_batch(state))
        if state.bulk_load_incomplete:
            _log.info("it came in the middle of a bulk load: %d keys begin anew", recover_bulk_load(state))
    if out_of_step:
        repairs = repair_log(state, forget=torn) + repair_database(state, torn=torn, forget=torn)
        state.db.batch(sync=True).write()
        meta.repairing = meta.torn = False
        _log.warning("compared database and replication set: %d repairs", repairs)
        store_meta(state.rs, meta)
    if meta.changing_from is not None:
        finish_origin_change(state)
    if once_more:
        _change_origin(state, random_bytes, identity)
        meta.repairing = False
        finish_origin_change(state)
    meta.clean = meta.clean and not out_of_step


def _require_a_pair(state: ReplicationState) -> None:
    """Raises ConfigError if a database was put beside this replication set that has nothing in common with it: to bring
    them in line would overwrite one with the other. (A copy of both may lack values after a power loss.)"""
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
    """A copy, or a directory after a power loss, goes on as a new origin. Its vector says up to where it is whole.

    When two duplicates meet, their histories show at which stamp they began to differ (see core.epochs). If a history
    is not complete, that stamp is unknown, and different writes of the two may have the same dots."""
    meta = state.meta
    assert meta is not None
    forked = meta.identity == NEW_ORIGIN_REQUESTED and not meta.traced
    unknown = forked and meta.origin not in state.histories
    # if this is interrupted, the next open is to go on with it, and not to take the directory for a copy
    meta.identity, meta.db_identity = identity, state.db.identity()
    whole = 0 if unknown else state.vector.get(meta.origin, 0)
    begin_origin_change(state, random_bytes, whole, repairing=True, torn=torn, forked=forked)


def _is_copy(meta: Meta, identity: bytes, db_identity: bytes) -> bool:
    """Whether one of these is another directory than the one that was open last."""
    return (meta.identity, meta.db_identity) != (identity, db_identity)


_PAIR_SAMPLE_KEYS = 1_000
_INTERRUPTED = (
    "taking over its data was interrupted: go on with `adopt=True`, or with the command `level-replicator adopt`"
)


def _may_be_torn(state: ReplicationState, meta: Meta, identity: bytes, boot: bytes) -> bool:
    """Whether an interrupted adoption may have lost some of what it wrote. Nobody has heard of it: it begins anew."""
    return meta.boot != boot or not boot or _is_copy(meta, identity, state.db.identity())


def _begin_anew(state: ReplicationState) -> None:
    """Leaves only the meta record, which says that this is to be done, until another one takes its place."""
    batch = state.rs.batch()
    for number, key in enumerate(state.rs.scan_keys(), 1):
        if key != META:
            batch.delete(key)
        if number % _BATCH_KEYS == 0:
            batch.write()
            state.step("adopt: a batch forgotten")
            batch = state.rs.batch()
    batch.write()
    state.step("adopt: begun anew")


def _require_empty(state: ReplicationState, adopt: bool) -> bool:
    """Whether there is data to adopt. Raises StorageError, and ConfigError when there is and nobody asked for it."""
    if next(iter(state.rs.scan_keys()), None) is not None:
        raise StorageError(
            f"{state.rs.name} holds something that is not a replication set: give an empty LevelDB as rs"
        )
    if next(iter(state.db.scan_keys()), None) is not None:
        if adopt:
            return True
        raise ConfigError(
            f"{state.db.name} holds data, but its replication set {state.rs.name} is new: to make this data a master's,"
            " install with `adopt=True` or run `level-replicator adopt`; or give the replication set that belongs to it"
        )
    return False


def close_state(state: ReplicationState) -> None:
    """Marks an orderly stop. Nothing may be written after it.

    The database goes to the disk first: after an orderly stop nobody compares it with the index again."""
    meta = state.meta
    if meta is None or state.failed is not None:
        return
    meta.clean, meta.keys, meta.entries = True, state.keys, state.entries
    meta.durable = encode_vector(state.vector)
    state.db.batch(sync=True).write()
    state.rs.delete(TOUCHED)
    store_meta(state.rs, meta)
