"""The callbacks of one replica: on_peer, on_conflict, on_change. Each has its thread, and harms nobody but itself."""

from collections.abc import Callable

from level_replicator.face.changes import OnChange
from level_replicator.face.events import Callback
from level_replicator.runtime.peers import PeerEvent
from level_replicator.storage.conflicts import Conflict, Version
from level_replicator.storage.store import Store

ConflictCallback = Callable[[bytes, Version, Version], None]


class Listeners:
    """`on_change` is set when the replica stands; the others listen from the start."""

    def __init__(self, on_peer: Callable[[PeerEvent], None] | None, on_conflict: ConflictCallback | None) -> None:
        self.on_change: OnChange | None = None
        self._peers = None if on_peer is None else Callback(on_peer)
        self._conflicts = None if on_conflict is None else Callback(_spread(on_conflict), _size)

    def peer_event(self, event: PeerEvent) -> None:
        if self._peers is not None:
            self._peers(event)

    def listen(self, store: Store) -> None:
        if self._conflicts is not None:
            store.listen_to_conflicts(self._conflicts)

    def close(self) -> None:
        """What waits is delivered, as far as that goes in a moment."""
        for each in (self.on_change, self._peers, self._conflicts):
            if each is not None:
                each.close()


def _spread(function: ConflictCallback) -> Callable[[Conflict], None]:
    return lambda conflict: function(conflict.key, conflict.winner, conflict.loser)


def _size(conflict: Conflict) -> int:
    return len(conflict.key) + len(conflict.winner.value or b"") + len(conflict.loser.value or b"")
