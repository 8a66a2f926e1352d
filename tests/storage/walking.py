"""A reconciliation of one store with another one, message by message, without a session."""

from __future__ import annotations

from collections.abc import Iterator

from level_replicator.protocol.events import Answered, BeginWalk, Fill
from level_replicator.protocol.range_queries import Asks
from level_replicator.storage.feed.send_queue import Feed
from level_replicator.storage.store import Reconciling, Round, Store

LATEST = (1 << 64) - 1


def round_for(source: Store, reader: Store, *, walk: bool = False) -> Round | Reconciling | None:
    """What the source would send in a new session."""
    feed = Feed(reader.origin, (), lines=reader.keys, walk=walk)
    return source.open_round(feed, dict(reader.vector), dict(reader.horizon))


def reconciling(source: Store, reader: Store) -> Iterator[Fill]:
    """Stops at each frame of entries after it has arrived; takes the vector over at the end."""
    begun = round_for(source, reader, walk=True)
    assert isinstance(begun, Reconciling)
    begin = BeginWalk(begun.vector, begun.horizon, begun.dropped, looking=False, lines=begun.lines)
    walk, settling = reader.begin_walk(begin, source.origin, lambda news: None, lambda again: None)
    asks = Asks()
    asks.begin()
    while not walk.done:
        while walk.has_work:
            requests = walk.step()
            for each in requests.probes:
                asks.probed(each.low, each.high, each.count)
            if requests.probes:
                begun.answering.probe([(r.low, r.high, r.print, r.count) for r in requests.probes])
            if requests.fetch:
                asks.fetched([key for key, _ in requests.fetch])
                begun.answering.fetch([key for key, _ in requests.fetch], [digest for _, digest in requests.fetch])
        message = begun.answering.step()
        if message is None:
            continue
        answer = asks.answer(message, LATEST)  # type: ignore[arg-type]
        if isinstance(answer, Answered):
            walk.answered(answer)
        elif isinstance(answer, Fill):
            walk.filled(answer)
            yield answer
    settling.take()
    reader.end_walk()
    walk.close()
    begun.answering.close()


def reconcile(source: Store, reader: Store) -> list[Fill]:
    return list(reconciling(source, reader))
