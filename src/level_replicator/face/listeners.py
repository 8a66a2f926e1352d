"""The callbacks of one replica: on_peer, on_conflict, on_change. Each has its thread, and harms nobody but itself."""

from collections.abc import Callable

from level_replicator.face.changes import OnChange
from level_replicator.face.conflict_reporter import ConflictCallback, ConflictReporter
from level_replicator.face.events import Callback
from level_replicator.runtime.peers import PeerEvent
from level_replicator.storage.store import Store


class Listeners:
    """`on_peer` is called at once, `on_conflict` after `start`; `on_change` is set when the replica stands."""

    def __init__(
        self, store: Store, on_peer: Callable[[PeerEvent], None] | None, on_conflict: ConflictCallback | None
    ) -> None:
        self.on_change: OnChange | None = None
        self._peers = None if on_peer is None else Callback(on_peer)
        self._conflicts = None if on_conflict is None else ConflictReporter(store, on_conflict)

    def peer_event(self, event: PeerEvent) -> None:
        if self._peers is not None:
            self._peers(event)

    def start(self, refuses: Callable[[], bool]) -> None:
        """To be called when the replica stands, which `on_conflict` may use. `refuses`: whether it is being closed."""
        if self._conflicts is not None:
            self._conflicts.start(refuses)

    def stop_reading(self) -> None:
        """Ends what reads the store, which is to be closed next. What waits is delivered as far as that goes in a
        moment."""
        if self._conflicts is not None:
            self._conflicts.close()

    def close(self) -> None:
        """Ends the others in the same way."""
        for each in (self.on_change, self._peers):
            if each is not None:
                each.close()
