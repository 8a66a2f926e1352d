"""What a peer pulls from us, over one connection: rounds of the log, or a reconciliation where that does not reach.

In a reconciliation the peer queries one snapshot of the index (storage.reconcile.responder)."""

import logging
from typing import Protocol

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.intervals import Interval
from level_replicator.core.limits import (
    BULK_LOAD_PREVIEW_ENTRIES,
    FORWARD_DELAY_MS,
    FRAME_TARGET_BYTES,
    FRAME_TARGET_ENTRIES,
    FRAMES_PER_TURN,
    RECONCILE_STALL_MS,
    ROUND_INTERVAL_MS,
)
from level_replicator.core.version_vector import Vector, encode_vector
from level_replicator.protocol.messages import ByeCode, ReconcileStart
from level_replicator.protocol.session import Session
from level_replicator.replication.peers import Peer
from level_replicator.storage.feed.send_queue import RoundReader, SendQueue
from level_replicator.storage.reconcile.responder import Responder
from level_replicator.storage.state.log_reader import DamagedEntry
from level_replicator.storage.state.tail import TailReader
from level_replicator.storage.store import Reconciling, Store

_log = logging.getLogger("level_replicator.replication")


class PushHost(Protocol):
    """What a pusher asks of its connection. `names_agreed`: whether both nodes call all branches the same."""

    session: Session
    peer: Peer
    ended: bool
    names_agreed: bool

    @property
    def store(self) -> Store: ...

    @property
    def full(self) -> bool:
        """Whether the peer has SEND_BUFFER_BYTES or more unread."""

    def now_ms(self) -> int: ...

    def flush(self) -> None: ...

    def send_histories(self) -> None: ...

    def told_by_round(self, target: Vector) -> None:
        """The peer learns from the round what our vector is."""

    def peer_goes_on(self) -> None:
        """The peer goes on with its own reconciliation."""


class Pusher:
    """Of one connection. `send_queue`: None until the peer has wanted anything."""

    def __init__(self, host: PushHost) -> None:
        self.send_queue: SendQueue | None = None
        self._host = host
        self._held = False
        self._comparison_waits = False
        self.peer_horizon: Vector = {}
        self._reader: RoundReader | TailReader | None = None
        self._responder: Responder | None = None
        self._asked_ms = 0
        self._quiet_until_ms = 0
        self._forward_at_ms: int | None = None
        self._preview = False

    # -- what the peer asks

    def wanted(self, send_queue: SendQueue, horizon: Vector) -> None:
        """The peer begins a pull, in place of any earlier one."""
        self.hold()
        self.send_queue, self.peer_horizon, self._held = send_queue, horizon, False

    def hold(self) -> None:
        """The peer wants nothing until it wants again."""
        self._held = True
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._responder is not None and not self._responder.compare_only:
            self._end_reconciliation()

    def compared(self) -> None:
        if self._comparison_waits or (self._responder is not None and self._responder.compare_only):
            raise RemoteProtocolError("a second comparison")
        self._comparison_waits = self._responder is not None
        if not self._comparison_waits:
            self._begin_reconciliation(self._host.store.open_comparison(), pull=0)

    @property
    def responder(self) -> Responder:
        """The responder, for a query of the peer. Raises RemoteProtocolError outside a reconciliation."""
        if self._responder is None:
            raise RemoteProtocolError("a range query outside a reconciliation")
        self._asked_ms = self._host.now_ms()
        self._host.peer_goes_on()
        return self._responder

    def tick(self) -> None:
        """Raises RemoteProtocolError for a peer that keeps a snapshot and does not go on with its reconciliation."""
        if self._responder is None or self._responder.busy:
            return
        if self._host.now_ms() - self._asked_ms > RECONCILE_STALL_MS:
            raise RemoteProtocolError("the peer does not go on with its reconciliation", ByeCode.TIMEOUT)

    def reconcile_done(self) -> None:
        if self._responder is None:
            return
        compare_only = self._responder.compare_only
        self._end_reconciliation()
        if not compare_only and self.send_queue is not None:
            self.send_queue.completed()
            self._host.session.push.reconcile_done()

    def close(self) -> None:
        self.hold()
        if self._responder is not None:
            self._end_reconciliation()

    # -- what happens here

    def applied_elsewhere(self, origin: int, news: list[Interval]) -> None:
        """Another peer's changes are in the log: forwarded in a while, unless the peer says that it has them."""
        if self.send_queue is not None:
            self.send_queue.applied(origin, news)
            self._forward_soon()

    def vector_moved(self, moved: Vector) -> None:
        if self.send_queue is not None:
            known = self._host.session.push.peer_vector
            news = [origin for origin, stamp in moved.items() if stamp > known.get(origin, 0)]
            if news:
                self.send_queue.moved(news)
                self._forward_soon()

    def _forward_soon(self) -> None:
        if self._forward_at_ms is None:
            self._forward_at_ms = self._host.now_ms() + FORWARD_DELAY_MS

    # -- sending

    def pump(self) -> int | None:
        """Sends what there is, a few frames. Milliseconds until it wants to go on; None: when something happens."""
        for _ in range(FRAMES_PER_TURN):
            if self._host.full:
                return None
            if self._responder is not None and self._responder.busy:
                self._answer(self._responder)
            elif self._reader is not None:
                self._send_some(self._reader)
            else:
                wait = self._wait_for_round()
                if wait != 0:
                    return wait
                if not self._begin_round():
                    return None
            self._host.flush()
        return 0

    def _wait_for_round(self) -> int | None:
        """0: begin now; None: there is nothing to send."""
        send_queue, host = self.send_queue, self._host
        if send_queue is None or self._held or self._responder is not None or not self._host.names_agreed:
            return None
        if not host.store.has_work(send_queue):
            self._forward_at_ms = None
            return None
        begin_ms = self._quiet_until_ms
        if self._forward_at_ms is not None and not host.store.has_own_work(send_queue):
            begin_ms = max(begin_ms, self._forward_at_ms)
        return max(0, begin_ms - host.now_ms())

    def _begin_round(self) -> bool:
        send_queue, push = self.send_queue, self._host.session.push
        assert send_queue is not None
        # of a read-only peer we never pull, so there is no pull to wait for
        horizon = {} if self._host.session.read_only else self.peer_horizon
        opened = self._host.store.open_round(send_queue, push.peer_vector, horizon)
        if opened is None:
            return False
        self._host.send_histories()
        self._forward_at_ms = None
        if isinstance(opened, Reconciling):
            self._begin_reconciliation(opened, push.number)
            return True
        first = push.completed == 0
        message = push.begin(opened.target, opened.work)
        if not first and not message.vector and push.next_read() is None:
            push.round_ended()  # all of it reached the peer another way: not worth a word
            send_queue.completed()
            opened.reader.close()
            return False
        self._reader, self._preview = opened.reader, opened.preview
        self._host.told_by_round(opened.target)
        self._host.session.send(message)
        return True

    def _send_some(self, reader: RoundReader | TailReader) -> None:
        host, push = self._host, self._host.session.push
        read = push.next_read()
        if read is None:
            host.session.send(push.round_ended())
        else:
            try:
                most = BULK_LOAD_PREVIEW_ENTRIES if self._preview else FRAME_TARGET_ENTRIES
                records, reached = reader.read(read, most, FRAME_TARGET_BYTES)
            except DamagedEntry as error:
                _log.error("%s: run verify with repair; %s is served without the log", error, host.peer.address)
                self._give_up_round()
                return
            message = push.read(read, records, reached)
            if message is not None:
                host.session.send(message)
                host.peer.entries_out += len(records)
                if self._preview and push.under_way:
                    self._give_up_round()
                    return
        if not push.under_way:
            assert self.send_queue is not None
            self.send_queue.completed()
            reader.close()
            self._reader = None
            self._quiet_until_ms = host.now_ms() + ROUND_INTERVAL_MS

    def _give_up_round(self) -> None:
        """The peer reconciles instead."""
        assert self.send_queue is not None
        assert self._reader is not None
        self._reader.close()
        self._reader = None
        self.send_queue.must_reconcile = True
        self._host.session.push.give_up()

    # -- a reconciliation of the peer

    def _begin_reconciliation(self, opened: Reconciling, pull: int) -> None:
        self._responder = opened.responder
        self._asked_ms = self._host.now_ms()
        vector, horizon = encode_vector(opened.vector), encode_vector(opened.horizon)
        self._host.session.send(ReconcileStart(vector, horizon, opened.dropped, pull, opened.rows))

    def _answer(self, responder: Responder) -> None:
        message = responder.step()
        if message is not None:
            self._host.session.send(message)

    def _end_reconciliation(self) -> None:
        responder, self._responder = self._responder, None
        assert responder is not None
        self._host.peer.entries_out += responder.sent
        if responder.lacking:
            _log.error(
                "%d entries that %s asked for are damaged here: run verify with repair",
                responder.lacking,
                self._host.peer.address,
            )
        responder.close()
        if self._comparison_waits and not self._host.ended:
            self._comparison_waits = False
            self.compared()
