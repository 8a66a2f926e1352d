"""Compares what peers know of origins with what this node knows, before anything of theirs is applied.

Two situations end connections. A peer that knows writes of this node which the node does not remember shows that its
directory was restored from an older copy: the node continues under a new origin. A peer that has writes of an origin
which contradict our history of it shows that the origin was continued twice (a fork): the branches become origins of
their own. In both cases all connections end with ORIGIN_CHANGED and begin again under the new names.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from level_replicator.core.entry import Entry
from level_replicator.core.epochs import Branches, first_unknown_epoch, split_at_branches
from level_replicator.core.limits import MIN_ORIGIN_CHANGE_INTERVAL_MS
from level_replicator.core.version_vector import Vector, origin_name
from level_replicator.protocol.events import EntriesReceived, HistoriesReceived
from level_replicator.protocol.messages import ByeCode
from level_replicator.replication.history_exchange import HistoryExchange
from level_replicator.replication.peers import Peer, PeerEvent
from level_replicator.storage.store import Store

_log = logging.getLogger("level_replicator.replication")


class GuardedConnection(Protocol):
    """A connection with a peer, as this module sees it."""

    @property
    def peer(self) -> Peer: ...

    @property
    def histories(self) -> HistoryExchange: ...

    @property
    def read_only(self) -> bool:
        """Whether this node takes no changes from the peer."""

    def end(self, code: ByeCode, text: str) -> None: ...


class OriginGuard:
    """Checks of one node. Each returns False if it has ended the connection.

    `connections`: all connections of the node at any time; `report`: receives the event of a new origin."""

    def __init__(
        self,
        store: Store,
        connections: Iterable[GuardedConnection],
        *,
        now_ms: Callable[[], int],
        report: Callable[[PeerEvent], None],
    ) -> None:
        self._store = store
        self._connections = connections
        self._now_ms = now_ms
        self._report = report
        self._origin_changed_ms: int | None = None

    # -- checks

    def accepts_vector(self, connection: GuardedConnection, vector: Vector) -> bool:
        """Check a vector of the peer against our histories, and its stamp of our origin against our memory."""
        if not self.agrees_on_vector(connection, vector):
            return False
        if self._store.forgot(vector.get(self._store.origin, 0)):
            self._handle_forgotten_writes(connection)
            return False
        return True

    def accepts_resume_intervals(self, connection: GuardedConnection, have: list[tuple[int, int, int]]) -> bool:
        """Check the intervals (origin, low, high) that the peer has applied of an interrupted round of ours."""
        own = self._store.origin
        if any(origin == own and self._store.forgot(high) for origin, _, high in have):
            self._handle_forgotten_writes(connection)
            return False
        return True

    def accepts_entries(self, connection: GuardedConnection, frame: EntriesReceived) -> bool:
        """Check a frame of entries of a round, and the vector that is to be adopted with it."""
        if not self.agrees_on_entries(connection, ((frame.origin, entry) for entry in frame.entries)):
            return False
        if frame.adopt is not None and not self.agrees_on_vector(connection, frame.adopt):
            return False
        if frame.origin == self._store.origin and self._store.forgot(frame.high):
            self._change_origin(connection)
            return False
        return True

    def agrees_on_entries(self, connection: GuardedConnection, entries: Iterable[tuple[int, Entry]]) -> bool:
        """Check entries, each with its origin, against our histories: their dots, and the writes that they carry."""
        if self._store.histories is connection.histories.peer_known:
            return True
        newest: Vector = {}
        for origin, entry in entries:
            for stamp, of in ((entry.stamp, origin), entry.written_dot(origin)):
                newest[of] = max(stamp, newest.get(of, 0))
        return self.agrees_on_vector(connection, newest)

    def agrees_on_vector(self, connection: GuardedConnection, vector: Vector) -> bool:
        """Check that the peer's writes of some origins, up to these stamps, are those of our histories.

        A peer sends its histories before anything that depends on them. So a peer that has stamps above the start of an
        epoch which it does not know has other writes than those that we know: the origin is forked."""
        histories, theirs = self._store.histories, connection.histories.peer_known
        if histories is theirs or connection.read_only:
            return True
        branches = {}
        for origin, stamp in vector.items():
            history = histories.get(origin)
            if history is None or stamp <= history[0][1] or theirs.get(origin) is history:
                continue
            unknown = first_unknown_epoch(theirs.get(origin, ()), history)
            if unknown is not None and stamp > unknown[1]:
                branches[unknown[0]] = unknown[1]
        if branches:
            self._rename_branches(branches)
        return not branches

    def histories_received(self, connection: GuardedConnection, event: HistoriesReceived) -> None:
        """Compare the histories of a peer with ours: all of them when the session opens, later those that changed."""
        exchange, store = connection.histories, self._store
        if connection.read_only:
            # a peer that may change nothing here may not rename anything either
            if split_at_branches(event.histories, store.branches) != event.histories or event.branches.keys() - (
                store.branches.keys()
            ):
                connection.end(
                    ByeCode.DUPLICATE_ORIGIN,
                    "this read-only peer and this node give different names to an origin, since one of"
                    " them was restored or copied: let the peer connect to a node that may take changes from it",
                )
            exchange.agreed = exchange.agreed or event.last
            return
        learned = store.learn_histories(event.histories, event.branches)
        ours = store.histories
        same = {origin: ours[origin] for origin, history in event.histories.items() if ours.get(origin) == history}
        exchange.peer_epochs += sum(len(history) for origin, history in event.histories.items() if origin not in same)
        exchange.peer_known = {**exchange.peer_known, **event.histories, **same}
        if learned.branches:
            self._rename_branches(learned.branches)
        elif learned.forgot:
            self._handle_forgotten_writes(connection)
        elif event.last and learned.ready:
            exchange.agreed = True
        # else the peer renames its branches when it receives our histories, and connects again

    # -- consequences

    def end_connections(self) -> None:
        """End all connections after this node has got another origin. They begin again under the new one."""
        for each in list(self._connections):
            each.end(ByeCode.ORIGIN_CHANGED, "this node has a new origin: connect again")

    def _rename_branches(self, branches: Branches) -> None:
        """Make the branches of forked origins origins of their own, and end all connections."""
        old = self._store.origin
        self._store.branch(branches)
        if self._store.origin != old:
            self._report_new_origin(
                f"our origin {origin_name(old)} was continued by another directory, too, so one of them was restored or"
                f" copied: the writes of this directory since then belong to origin {origin_name(self._store.origin)}"
            )
        for each in list(self._connections):
            each.end(
                ByeCode.ORIGIN_CHANGED, "an origin was continued twice, and its branches have new names: connect again"
            )

    def _handle_forgotten_writes(self, connection: GuardedConnection) -> None:
        if connection.peer.read_only:
            # a peer that may change nothing here may not cause an origin change either
            connection.end(
                ByeCode.DUPLICATE_ORIGIN,
                "a read-only peer knows more of this node than it remembers: if its directory was restored, open it"
                " once with level_replicator.new_origin",
            )
            return
        self._change_origin(connection)

    def _change_origin(self, connection: GuardedConnection) -> None:
        """Continue under a new origin, since a peer shows that we forgot some of our writes.

        At most once in MIN_ORIGIN_CHANGE_INTERVAL_MS: each origin costs all nodes an entry in their vectors."""
        now_ms = self._now_ms()
        if self._origin_changed_ms is not None and now_ms - self._origin_changed_ms < MIN_ORIGIN_CHANGE_INTERVAL_MS:
            connection.end(
                ByeCode.DUPLICATE_ORIGIN,
                "the peer again knows writes of this node that the node does not remember, less than"
                f" {MIN_ORIGIN_CHANGE_INTERVAL_MS // 1000} s after an origin change",
            )
            return
        self._origin_changed_ms = now_ms
        old = self._store.origin
        self._store.change_origin()
        self._report_new_origin(
            f"a peer knows more of our origin {origin_name(old)} than this node does, so its directory was restored"
            f" from an older copy: it continues as origin {origin_name(self._store.origin)}"
        )
        self.end_connections()

    def _report_new_origin(self, text: str) -> None:
        _log.warning("%s", text)
        self._report(PeerEvent("new_origin", "", origin_name(self._store.origin), text))
