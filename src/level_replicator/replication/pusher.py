"""Serves the pulls of one peer over one connection, with rounds of our log, or with a reconciliation if the log does
not reach back far enough.

In a reconciliation the peer queries one snapshot of the index (storage.reconcile.responder).
"""

import logging
from collections.abc import Callable
from struct import pack
from typing import assert_never

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.intervals import Interval
from level_replicator.core.limits import (
    BULK_LOAD_PREVIEW_ENTRIES,
    FORWARD_DELAY_MS,
    FRAME_TARGET_BYTES,
    FRAME_TARGET_ENTRIES,
    RECONCILE_STALL_MS,
    ROUND_INTERVAL_MS,
)
from level_replicator.core.version_vector import Vector, encode_vector
from level_replicator.protocol.events import EntriesReceived, PullRequested
from level_replicator.protocol.messages import (
    ByeCode,
    RangeEntries,
    RangeEqual,
    RangeReply,
    RangeRows,
    RangeSplit,
    ReconcileStart,
)
from level_replicator.protocol.session import Session
from level_replicator.replication.history_exchange import HistoryExchange
from level_replicator.replication.peers import Peer
from level_replicator.storage.feed.round_planner import ReconcileOffer
from level_replicator.storage.feed.send_queue import RoundReader, SendQueue
from level_replicator.storage.reconcile.responder import Answer, EntryFrame, Equal, Responder, Rows, Split
from level_replicator.storage.state.log_reader import DamagedEntry
from level_replicator.storage.state.tail import TailReader
from level_replicator.storage.store import Store

_log = logging.getLogger("level_replicator.replication")


class Pusher:
    """State of one connection. `peer`: the peer as it is known now; `now_ms`: a clock that does not jump.

    send_queue  the intervals of our log that the peer is still to be sent; None until it has requested a pull
    """

    def __init__(
        self,
        session: Session,
        store: Store,
        peer: Callable[[], Peer],
        histories: HistoryExchange,
        *,
        now_ms: Callable[[], int],
    ) -> None:
        self.send_queue: SendQueue | None = None
        self._session = session
        self._store = store
        self._peer = peer
        self._histories = histories
        self._now_ms = now_ms
        self._paused = False
        self._comparison_waits = False
        self._reader: RoundReader | TailReader | None = None
        self._responder: Responder | None = None
        self._queried_ms = 0
        self._next_round_ms = 0
        self._forward_at_ms: int | None = None
        self._preview = False
        self._unsent_vector: Vector = {}

    # -- requests of the peer

    def start(self, event: PullRequested) -> None:
        """Begin to serve a pull, in place of any earlier one."""
        self.pause()
        assert self._session.peer is not None
        self.send_queue = SendQueue(self._session.peer.origin, event.have, rows=event.rows, reconcile=event.reconcile)
        self._paused = False

    def pause(self) -> None:
        """Send nothing more until the peer requests another pull."""
        self._paused = True
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._responder is not None and not self._responder.compare_only:
            self._end_reconciliation()

    def start_comparison(self) -> None:
        """Open a snapshot for a comparison, after the reconciliation that is under way. Raises RemoteProtocolError."""
        if self._comparison_waits or (self._responder is not None and self._responder.compare_only):
            raise RemoteProtocolError("CompareStart during a comparison: only one may be under way on a connection")
        self._comparison_waits = self._responder is not None
        if not self._comparison_waits:
            self._begin_reconciliation(self._store.rounds.open_comparison(), pull=0)

    def query_ranges(self, ranges: list[tuple[bytes, bytes, bytes, int]]) -> None:
        """Answer range queries in the next steps. Raises RemoteProtocolError outside a reconciliation."""
        self._require_responder().query(ranges)

    def fetch(self, keys: list[bytes], digests: list[bytes]) -> None:
        """Send entries in the next steps. Raises RemoteProtocolError outside a reconciliation."""
        self._require_responder().fetch(keys, digests)

    def _require_responder(self) -> Responder:
        if self._responder is None:
            raise RemoteProtocolError("RangeQuery or Fetch outside a reconciliation")
        self._queried_ms = self._now_ms()
        return self._responder

    def tick(self) -> None:
        """Raises RemoteProtocolError if the peer holds a snapshot and does not continue its reconciliation for
        RECONCILE_STALL_MS."""
        if self._responder is None or self._responder.busy:
            return
        if self._now_ms() - self._queried_ms > RECONCILE_STALL_MS:
            raise RemoteProtocolError("the peer does not continue its reconciliation", ByeCode.TIMEOUT)

    def reconciliation_done(self) -> None:
        """End the peer's reconciliation, and continue with rounds."""
        if self._responder is None:
            return
        compare_only = self._responder.compare_only
        self._end_reconciliation()
        if not compare_only and self.send_queue is not None:
            self.send_queue.completed()
            self._session.push.reconcile_done()

    def close(self) -> None:
        """Release all snapshots, since the connection has ended."""
        self._comparison_waits = False
        self.pause()
        if self._responder is not None:
            self._end_reconciliation()

    # -- changes of this node

    def entries_received(self, frame: EntriesReceived) -> None:
        """Exclude entries that the peer has sent from its send queue."""
        if self.send_queue is not None:
            self.send_queue.exclude_received(frame)

    def queue_intervals(self, origin: int, news: list[Interval]) -> None:
        """Forward changes of another peer after FORWARD_DELAY_MS, unless this peer has got them from other nodes
        by then."""
        if self.send_queue is not None:
            self.send_queue.add_intervals(origin, news)
            self._forward_soon()

    def queue_vector(self, moved: Vector) -> None:
        """Send the peer an update of our vector, so that it does not send us changes that we have."""
        self._unsent_vector.update(moved)
        if self.send_queue is not None:
            known = self._session.push.peer_vector
            news = [origin for origin, stamp in moved.items() if stamp > known.get(origin, 0)]
            if news:
                self.send_queue.add_vector_entries(news)
                self._forward_soon()

    def _forward_soon(self) -> None:
        if self._forward_at_ms is None:
            self._forward_at_ms = self._now_ms() + FORWARD_DELAY_MS

    # -- sending

    def step(self) -> int | None:
        """Send one message. Returns 0 if there was one to send; else the milliseconds until there will be one; None:
        there will be none before the next event. Raises StorageError."""
        if self._responder is not None and self._responder.busy:
            self._answer(self._responder)
        elif self._reader is not None:
            self._send_entries(self._reader)
        else:
            wait = self._wait_for_round()
            if wait != 0:
                return wait
            if not self._begin_round():
                return None
        return 0

    def send_vector_update(self) -> None:
        """Send the vector entries that have moved, except those that a round has carried."""
        if self._unsent_vector:
            moved, self._unsent_vector = self._unsent_vector, {}
            self._session.send_vector_update(moved)

    def _wait_for_round(self) -> int | None:
        """Return the milliseconds until the next round may begin; None: there is nothing to send."""
        send_queue, rounds = self.send_queue, self._store.rounds
        if send_queue is None or self._paused or self._responder is not None or not self._histories.agreed:
            return None
        if not rounds.has_work(send_queue):
            self._forward_at_ms = None
            return None
        begin_ms = self._next_round_ms
        if self._forward_at_ms is not None and not rounds.has_own_work(send_queue):
            begin_ms = max(begin_ms, self._forward_at_ms)
        return max(0, begin_ms - self._now_ms())

    def _begin_round(self) -> bool:
        send_queue, session = self.send_queue, self._session
        push = session.push
        assert send_queue is not None
        # we never pull from a read-only peer, so there is no pull to wait for
        horizon = {} if session.read_only else session.peer_horizon
        opened = self._store.rounds.open_next(send_queue, push.peer_vector, horizon)
        if opened is None:
            return False
        self._histories.send_changes()
        self._forward_at_ms = None
        if isinstance(opened, ReconcileOffer):
            self._begin_reconciliation(opened, push.number)
            return True
        first = push.completed == 0
        message = push.begin(opened.target, opened.work)
        if not first and not message.vector and push.next_read() is None:
            push.round_ended()  # the peer has got all changes from other nodes
            send_queue.completed()
            opened.reader.close()
            return False
        self._reader, self._preview = opened.reader, opened.preview
        self._skip_vector_update(opened.target)
        session.send(message)
        return True

    def _skip_vector_update(self, target: Vector) -> None:
        """Send no update for the vector entries that the round carries. It leaves out entries that the peer knows."""
        if not self._unsent_vector:
            return
        known = self._session.push.peer_vector
        for origin, stamp in target.items():
            if self._unsent_vector.get(origin, 0) <= stamp and stamp > known.get(origin, 0):
                self._unsent_vector.pop(origin, None)

    def _send_entries(self, reader: RoundReader | TailReader) -> None:
        session, push = self._session, self._session.push
        read = push.next_read()
        if read is None:
            session.send(push.round_ended())
        else:
            try:
                most = BULK_LOAD_PREVIEW_ENTRIES if self._preview else FRAME_TARGET_ENTRIES
                records, reached = reader.read(read, most, FRAME_TARGET_BYTES)
            except DamagedEntry as error:
                _log.error("%s: run verify with repair; %s is served without the log", error, self._peer().label)
                self._give_up_round()
                return
            message = push.read(read, records, reached)
            if message is not None:
                session.send(message)
                self._peer().entries_out += len(records)
                if self._preview and push.under_way:
                    self._give_up_round()
                    return
        if not push.under_way:
            assert self.send_queue is not None
            self.send_queue.completed()
            reader.close()
            self._reader = None
            self._next_round_ms = self._now_ms() + ROUND_INTERVAL_MS

    def _give_up_round(self) -> None:
        """Abandon the round: the peer has to reconcile instead."""
        assert self.send_queue is not None
        assert self._reader is not None
        self._reader.close()
        self._reader = None
        self.send_queue.must_reconcile = True
        self._session.push.give_up()

    # -- a reconciliation of the peer

    def _begin_reconciliation(self, offer: ReconcileOffer, pull: int) -> None:
        self._responder = offer.responder
        self._queried_ms = self._now_ms()
        vector, horizon = encode_vector(offer.vector), encode_vector(offer.horizon)
        self._session.send(ReconcileStart(vector, horizon, offer.dropped, pull, offer.rows))

    def _answer(self, responder: Responder) -> None:
        answer = responder.step()
        if answer is not None:
            self._session.send(message_of(answer))

    def _end_reconciliation(self) -> None:
        responder, self._responder = self._responder, None
        assert responder is not None
        self._peer().entries_out += responder.sent
        if responder.lacking:
            _log.error(
                "%d entries that %s requested are damaged here: run verify with repair",
                responder.lacking,
                self._peer().label,
            )
        responder.close()
        if self._comparison_waits:
            self._comparison_waits = False
            self.start_comparison()


def message_of(answer: Answer) -> RangeReply:
    """Return the message that carries an answer of a Responder."""
    match answer:
        case EntryFrame(origins, records, equal, lacking, last):
            return RangeEntries(pack(f">{len(origins)}Q", *origins), records, equal, lacking, last)
        case Rows(keys, rows):
            return RangeRows(keys, rows)
        case Split(bounds, prints):
            return RangeSplit(bounds, b"".join(prints))
        case Equal():
            return RangeEqual()
        case _:
            assert_never(answer)
