"""The exchange of the histories of origins over one connection (see core.epochs).

Welcome carries a digest of them. If the digests of the two nodes differ, each sends all its histories before anything
else; later each sends what has changed before any message that may depend on it.
"""

from level_replicator.core.epochs import Histories
from level_replicator.protocol.session import Session
from level_replicator.storage.store import Store


class HistoryExchange:
    """State of one connection.

    agreed       both nodes give the same names to all branches of origins, so that rounds may begin
    peer_known   the histories that the peer knows: those it has sent, or ours where they are equal
    peer_epochs  epochs in them that are not shared with our own histories, for the limit on memory
    """

    def __init__(self, session: Session, store: Store) -> None:
        self.agreed = False
        self.peer_known: Histories = {}
        self.peer_epochs = 0
        self._session = session
        self._store = store
        self._sent: Histories = {}
        self._digest = b""

    def accept_peer(self) -> bool:
        """Accept the peer, with the digest of our histories. Returns True if the session is open with that."""
        self._sent, self._digest = self._store.histories, self._store.histories_digest()
        return self._session.welcome(self._digest)

    def begin(self) -> None:
        """Send all our histories when the session has opened, unless the two digests are equal."""
        if self._digest == self._session.peer_digest:
            self.agreed = True
            self.peer_known = self._sent
            self.send_changes()
        else:
            self._sent = self._store.histories
            self._session.histories(self._store.histories, self._store.branches)

    def send_changes(self) -> None:
        """Send the histories that have changed since they were sent last. Call it before a message that may depend on
        them."""
        sent, histories = self._sent, self._store.histories
        if sent is histories:
            return
        self._sent = histories
        changed = {origin: history for origin, history in histories.items() if sent.get(origin) != history}
        if changed:
            self._session.histories(changed, self._store.branches)
