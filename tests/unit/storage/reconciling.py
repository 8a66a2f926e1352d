"""A reconciliation of one store with another one, message by message, without a session."""

from __future__ import annotations

from collections.abc import Iterator

from level_replicator.protocol.events import RangeAnswered, RangeEntriesReceived, ReconcileStarted
from level_replicator.protocol.range_queries import PendingQueries
from level_replicator.replication.pusher import message_of
from level_replicator.storage.feed.round_planner import ReconcileOffer, Round
from level_replicator.storage.feed.send_queue import SendQueue
from level_replicator.storage.store import Store

LATEST = (1 << 64) - 1


def round_for(source: Store, reader: Store, *, reconcile: bool = False) -> Round | ReconcileOffer | None:
    """What the source would send in a new session."""
    feed = SendQueue(reader.origin, (), rows=reader.keys, reconcile=reconcile)
    return source.rounds.open_next(feed, dict(reader.vector), dict(reader.horizon))


def reconciling(source: Store, reader: Store) -> Iterator[RangeEntriesReceived]:
    """Stops at each frame of entries after it has arrived; takes the vector over at the end."""
    begun = round_for(source, reader, reconcile=True)
    assert isinstance(begun, ReconcileOffer)
    begin = ReconcileStarted(begun.vector, begun.horizon, begun.dropped, compare_only=False, rows=begun.rows)
    initiator, resolver = reader.begin_reconciliation(begin, source.origin)
    asks = PendingQueries()
    asks.begin()
    while not initiator.done:
        while initiator.has_work:
            requests = initiator.step()
            for each in requests.queries:
                asks.add_range(each)
            if requests.queries:
                begun.responder.query([(r.low, r.high, r.print, r.count) for r in requests.queries])
            if requests.fetch:
                asks.add_fetch([key for key, _ in requests.fetch])
                begun.responder.fetch([key for key, _ in requests.fetch], [digest for _, digest in requests.fetch])
        found = begun.responder.step()
        if found is None:
            continue
        answer = asks.answer(message_of(found), LATEST)
        if isinstance(answer, RangeAnswered):
            initiator.answered(answer)
        elif isinstance(answer, RangeEntriesReceived):
            initiator.entries_received(answer)
            yield answer
    resolver.adopt_vector()
    reader.end_reconciliation()
    initiator.close()
    begun.responder.close()


def reconcile(source: Store, reader: Store) -> list[RangeEntriesReceived]:
    return list(reconciling(source, reader))
