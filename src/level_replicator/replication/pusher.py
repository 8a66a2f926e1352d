"""What a peer pulls from us, over one link: rounds of the log, or, where that does not reach, a walk.

Of a walk the peer asks, and one snapshot of the index answers (storage.reconcile.responder)."""

import logging
from typing import TYPE_CHECKING

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.intervals import Interval
from level_replicator.core.limits import (
    FILL_PREVIEW_ENTRIES,
    FORWARD_DELAY_MS,
    FRAME_TARGET_BYTES,
    FRAME_TARGET_ENTRIES,
    FRAMES_PER_TURN,
    ROUND_INTERVAL_MS,
    WALK_STALL_MS,
)
from level_replicator.core.version_vector import Vector, encode_vector
from level_replicator.protocol.messages import ByeCode, Reconcile
from level_replicator.storage.feed.send_queue import Feed, RoundReader
from level_replicator.storage.reconcile.responder import Answering
from level_replicator.storage.state.log_reader import DamagedEntry
from level_replicator.storage.state.tail import TailReader
from level_replicator.storage.store import Reconciling

if TYPE_CHECKING:
    from level_replicator.replication.peer_connection import Link

_log = logging.getLogger("level_replicator.runtime")


class Serving:
    """Of one link. `feed`: None until the peer has wanted anything."""

    def __init__(self, link: "Link") -> None:
        self.feed: Feed | None = None
        self._link = link
        self._held = False
        self._comparison_waits = False
        self.peer_horizon: Vector = {}
        self._reader: RoundReader | TailReader | None = None
        self._answering: Answering | None = None
        self._asked_ms = 0
        self._quiet_until_ms = 0
        self._forward_at_ms: int | None = None
        self._preview = False

    # -- what the peer asks

    def wanted(self, feed: Feed, horizon: Vector) -> None:
        """The peer begins a pull, in place of any earlier one."""
        self.hold()
        self.feed, self.peer_horizon, self._held = feed, horizon, False

    def hold(self) -> None:
        """The peer wants nothing until it wants again."""
        self._held = True
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._answering is not None and not self._answering.looking:
            self._end_walk()

    def compared(self) -> None:
        if self._comparison_waits or (self._answering is not None and self._answering.looking):
            raise RemoteProtocolError("a second comparison")
        self._comparison_waits = self._answering is not None
        if not self._comparison_waits:
            self._begin_walk(self._link.hub.store.open_comparison(), pull=0)

    @property
    def answering(self) -> Answering:
        """For a question of the peer. Raises RemoteProtocolError outside a walk."""
        if self._answering is None:
            raise RemoteProtocolError("a question outside a walk")
        self._asked_ms = self._link.hub.now_ms()
        self._link.pulling.peer_goes_on()
        return self._answering

    def tick(self) -> None:
        """Raises RemoteProtocolError for a peer that keeps a snapshot and does not go on with its walk."""
        if self._answering is None or self._answering.busy:
            return
        if self._link.hub.now_ms() - self._asked_ms > WALK_STALL_MS:
            raise RemoteProtocolError("the peer does not go on with its walk", ByeCode.SILENT)

    def walked(self) -> None:
        if self._answering is None:
            return
        looking = self._answering.looking
        self._end_walk()
        if not looking and self.feed is not None:
            self.feed.completed()
            self._link.session.push.walked()

    def close(self) -> None:
        self.hold()
        if self._answering is not None:
            self._end_walk()

    # -- what happens here

    def applied_elsewhere(self, origin: int, news: list[Interval]) -> None:
        """Another peer's changes are in the log: forwarded in a while, unless the peer says that it has them."""
        if self.feed is not None:
            self.feed.applied(origin, news)
            self._forward_soon()

    def vector_moved(self, moved: Vector) -> None:
        if self.feed is not None:
            known = self._link.session.push.peer_vector
            news = [origin for origin, stamp in moved.items() if stamp > known.get(origin, 0)]
            if news:
                self.feed.moved(news)
                self._forward_soon()

    def _forward_soon(self) -> None:
        if self._forward_at_ms is None:
            self._forward_at_ms = self._link.hub.now_ms() + FORWARD_DELAY_MS

    # -- sending

    def pump(self) -> int | None:
        """Sends what there is, a few frames. Milliseconds until it wants to go on; None: when something happens."""
        for _ in range(FRAMES_PER_TURN):
            if self._link.transport.full:
                return None
            if self._answering is not None and self._answering.busy:
                self._answer(self._answering)
            elif self._reader is not None:
                self._send_some(self._reader)
            else:
                wait = self._wait_for_round()
                if wait != 0:
                    return wait
                if not self._begin_round():
                    return None
            self._link.flush()
        return 0

    def _wait_for_round(self) -> int | None:
        """0: begin now; None: there is nothing to send."""
        feed, hub = self.feed, self._link.hub
        if feed is None or self._held or self._answering is not None or not self._link.names_agreed:
            return None
        if not hub.store.has_work(feed):
            self._forward_at_ms = None
            return None
        begin_ms = self._quiet_until_ms
        if self._forward_at_ms is not None and not hub.store.has_own_work(feed):
            begin_ms = max(begin_ms, self._forward_at_ms)
        return max(0, begin_ms - hub.now_ms())

    def _begin_round(self) -> bool:
        feed, push = self.feed, self._link.session.push
        assert feed is not None
        # of a read-only peer we never pull, so there is no pull to wait for
        horizon = {} if self._link.session.read_only else self.peer_horizon
        opened = self._link.hub.store.open_round(feed, push.peer_vector, horizon)
        if opened is None:
            return False
        self._link.tell_histories()
        self._forward_at_ms = None
        if isinstance(opened, Reconciling):
            self._begin_walk(opened, push.number)
            return True
        first = push.completed == 0
        message = push.begin(opened.target, opened.work)
        if not first and not message.vector and push.next_read() is None:
            push.level()  # all of it reached the peer another way: not worth a word
            feed.completed()
            opened.reader.close()
            return False
        self._reader, self._preview = opened.reader, opened.preview
        self._link.told_by_round(opened.target)
        self._link.session.send(message)
        return True

    def _send_some(self, reader: RoundReader | TailReader) -> None:
        link, push = self._link, self._link.session.push
        read = push.next_read()
        if read is None:
            link.session.send(push.level())
        else:
            try:
                most = FILL_PREVIEW_ENTRIES if self._preview else FRAME_TARGET_ENTRIES
                records, reached = reader.read(read, most, FRAME_TARGET_BYTES)
            except DamagedEntry as error:
                _log.error("%s: run verify with repair; %s is served without the log", error, link.peer.address)
                self._give_up_round()
                return
            message = push.read(read, records, reached)
            if message is not None:
                link.session.send(message)
                link.peer.entries_out += len(records)
                if self._preview and push.under_way:
                    self._give_up_round()
                    return
        if not push.under_way:
            assert self.feed is not None
            self.feed.completed()
            reader.close()
            self._reader = None
            self._quiet_until_ms = link.hub.now_ms() + ROUND_INTERVAL_MS

    def _give_up_round(self) -> None:
        """The peer walks instead."""
        assert self.feed is not None
        assert self._reader is not None
        self._reader.close()
        self._reader = None
        self.feed.must_walk = True
        self._link.session.push.give_up()

    # -- a walk of the peer

    def _begin_walk(self, opened: Reconciling, pull: int) -> None:
        self._answering = opened.answering
        self._asked_ms = self._link.hub.now_ms()
        vector, horizon = encode_vector(opened.vector), encode_vector(opened.horizon)
        self._link.session.send(Reconcile(vector, horizon, opened.dropped, pull, opened.lines))

    def _answer(self, answering: Answering) -> None:
        message = answering.step()
        if message is not None:
            self._link.session.send(message)

    def _end_walk(self) -> None:
        answering, self._answering = self._answering, None
        assert answering is not None
        self._link.peer.entries_out += answering.sent
        if answering.lacking:
            _log.error(
                "%d entries that %s asked for are damaged here: run verify with repair",
                answering.lacking,
                self._link.peer.address,
            )
        answering.close()
        if self._comparison_waits and not self._link.ended:
            self._comparison_waits = False
            self.compared()
