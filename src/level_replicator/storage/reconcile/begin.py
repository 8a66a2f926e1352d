"""Begins the reading side of a reconciliation, or of a comparison, with the index of a peer."""

from contextlib import nullcontext

from level_replicator.core.reconcile_rules import ReconcileContext, is_stale
from level_replicator.protocol.events import ReconcileStarted
from level_replicator.storage.reconcile.bulk_load import begin_bulk_load, has_few_rows
from level_replicator.storage.reconcile.comparison import Comparison
from level_replicator.storage.reconcile.initiator import Initiator
from level_replicator.storage.reconcile.resolver import Resolver
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction
from level_replicator.storage.write.lost import forget_found
from level_replicator.storage.write.remote_applier import require_room


def begin_reconciliation(
    state: ReplicationState,
    peer: ReconcileStarted,
    source: int,
    *,
    rows: int,
    own_rows: int,
    sync: bool,
    peer_pulls: bool,
) -> tuple[Initiator, Resolver]:
    """Begin a reconciliation with the snapshot that a peer, whose origin is `source`, has opened.

    `rows`: rows of this node when it requested the pull; `own_rows`: the most with which it is bulk loaded;
    `peer_pulls`: see Merger. Raises StorageError, and RemoteProtocolError if the vector has too many origins."""
    with state.applying("reconciling with a peer"):
        require_room(state, peer.vector)
        forget_found(state)
        state.clock.follow(max(peer.vector.values(), default=0))
        context = ReconcileContext(dict(state.vector), peer.vector, is_stale(state.vector, peer.horizon), peer.dropped)
        if context.stale and state.resume:
            # this reconciliation may take away entries that were applied of other scans
            with Transaction(state) as tx:
                tx.forget_scans()
        bulk_loads = state.vector.keys() <= {state.origin} and has_few_rows(rows, peer.rows, own_rows)
        if bulk_loads:
            begin_bulk_load(state, peer.vector)
        state.bulk_loading = state.bulk_load_incomplete
        state.bulk_loads += state.bulk_loading
    resolver = Resolver(state, source, context, peer.horizon, sync=sync, bulk_loads=bulk_loads, peer_pulls=peer_pulls)
    return Initiator(state.rs.snapshot, resolver, state.lost), resolver


def begin_comparison(state: ReplicationState) -> tuple[Initiator, Comparison]:
    """Begin a comparison, which changes nothing. The comparison is to be closed."""
    snapshot = state.rs.snapshot()
    comparison = Comparison(snapshot)
    return Initiator(lambda: nullcontext(snapshot), comparison), comparison
