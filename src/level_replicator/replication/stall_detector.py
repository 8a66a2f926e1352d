"""Measures how long this node has waited for changes of one peer, and reports a wait of more than STALL_MS."""

import logging
from collections.abc import Callable
from enum import Enum

from level_replicator.core.limits import STALL_MS
from level_replicator.core.version_vector import Vector, covers, newer, origin_name
from level_replicator.protocol.session import Session
from level_replicator.replication.peers import Peer
from level_replicator.storage.store import Store

_log = logging.getLogger("level_replicator.replication")
_CHECKS_PER_STALL = 20
"""Checks in STALL_MS."""


class WaitReason(Enum):
    """Why this node does not have all changes of a peer yet."""

    ANOTHER = "another reconciliation of this node to end"
    OWN = "this node's reconciliation with the peer to end"
    PEER = "the peer's reconciliation with this node to end (the peer missed deletions)"
    ROUND = "the first round of the peer's log to end"
    CHANGES = "changes that the peer has"
    AGAIN = "a retry"


class StallDetector:
    """Detects stalls of one connection. `now_ms`: a clock that does not jump."""

    def __init__(self, session: Session, store: Store, peer: Callable[[], Peer], now_ms: Callable[[], int]) -> None:
        self._session = session
        self._store = store
        self._peer = peer
        self._now_ms = now_ms
        self._waiting_since_ms: int | None = None
        self._last_reason: WaitReason | None = None
        self._missing: Vector = {}
        self._next_check_ms = 0

    @property
    def waiting_ms(self) -> int:
        """Milliseconds since the wait began, or since changes of the peer were applied during it."""
        since_ms = self._waiting_since_ms
        return 0 if since_ms is None else max(0, self._now_ms() - since_ms)

    def progressed(self) -> None:
        """End the current wait, since changes of the peer were applied, or since there is nothing to wait for."""
        self._waiting_since_ms = None
        if self._peer().stalled:
            self._peer().stalled = False
            _log.info("the wait for %s is over: something of it was applied, or it has nothing more", self._name())

    def check(self, wait_reason: Callable[[], WaitReason | None], describe: Callable[[], str | None]) -> None:
        """Log a warning, once, if the wait has lasted for STALL_MS.

        `wait_reason`: returns the reason of the wait at this moment, None if there is none; `describe`: the same for
        people."""
        now_ms = self._now_ms()
        if now_ms < self._next_check_ms:
            return
        self._next_check_ms = now_ms + STALL_MS // _CHECKS_PER_STALL
        reason = wait_reason()
        before, self._last_reason = self._last_reason, reason
        vector = self._store.vector
        if reason is None or (reason is WaitReason.CHANGES and covers(vector, self._missing)):
            # during steady writes the peer is always ahead; the changes missing at first may have come from other peers
            self.progressed()
        if reason is None:
            return
        if self._waiting_since_ms is None or (before is WaitReason.ANOTHER and reason is not before):
            self._waiting_since_ms = now_ms
            self._missing = newer(self._session.push.peer_vector, vector)
        # a reconciliation of ours that does not end is reported for its own peer
        stalled = now_ms - self._waiting_since_ms >= STALL_MS and reason is not WaitReason.ANOTHER
        if stalled and not self._peer().stalled:
            self._peer().stalled = True
            text = "nothing of %s was applied for %d s: this node waits for %s"
            _log.warning(text, self._name(), STALL_MS // 1000, describe())

    def _name(self) -> str:
        peer = self._peer()
        return f"{peer.label} (origin {origin_name(peer.origin)})"
