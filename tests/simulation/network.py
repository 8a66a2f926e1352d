"""Connections between simulated nodes: delays, chunks of any size, breaks that both ends notice, and silent cuts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from level_replicator.replication.peer_connection import PeerConnection
    from tests.simulation.world import World


class End:
    """One side of a connection: the transport of its PeerConnection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.link: PeerConnection | None = None
        self.other: End = self
        self.full = False
        self.unread = bytearray()
        self.closing = False
        self.sent_frames: list[bytes] = []

    @property
    def names(self) -> tuple[str, str]:
        """Names of the node on this side and of the node on the other side."""
        here, there = self.connection.names
        return (here, there) if self is self.connection.left else (there, here)

    def send(self, frames: list[bytes]) -> None:
        if self.connection.broken or self.closing:
            return
        self.connection.world.frame_sent(self, frames)
        if not self.unread:
            self.connection.deliver_later(self)
        for frame in frames:
            self.unread += frame
        self.full = len(self.unread) >= self.connection.buffer_bytes

    def abort(self) -> None:
        self.unread.clear()
        self.close()

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if not self.unread:
                self.connection.break_soon()


class Connection:
    """A connection of two ends. Bytes arrive in order, after a delay, in pieces."""

    def __init__(self, world: World, names: tuple[str, str]) -> None:
        self.world = world
        self.names = names
        self.broken = False
        self.buffer_bytes = world.rng.choice(world.plan.buffers)
        self.most_piece = world.rng.choice(world.plan.pieces)
        self.left, self.right = End(self), End(self)
        self.left.other, self.right.other = self.right, self.left

    def deliver_later(self, sender: End) -> None:
        self.world.after(self.world.rng.choice(self.world.plan.delays_ms), lambda: self._deliver(sender))

    def _deliver(self, sender: End) -> None:
        if self.broken:
            return
        if self.world.is_cut(*self.names):
            self.world.after(50, lambda: self._deliver(sender))
            return
        piece = bytes(sender.unread[: self.world.rng.randint(1, self.most_piece)])
        del sender.unread[: len(piece)]
        if sender.unread:
            self.deliver_later(sender)
        receiver = sender.other
        if receiver.link is not None and not receiver.link.ended:
            receiver.link.received(piece)
        if self.broken:
            return
        if sender.full and len(sender.unread) < self.buffer_bytes // 2:
            sender.full = False
            if sender.link is not None and not sender.link.ended:
                sender.link.drained()
        if sender.closing and not sender.unread:
            self.break_soon()

    def break_soon(self) -> None:
        self.world.after(1, self.break_now)

    def break_now(self) -> None:
        """Break the connection, so that both ends notice."""
        if self.broken:
            return
        self._break()
        for end in (self.left, self.right):
            if end.link is not None:
                end.link.lost("the connection was lost")
        self.world.connections.pop(self, None)

    def vanish(self, dead: End | None = None) -> None:
        """Break the connection of a killed process: only the other end notices, by a reset."""
        self._break()
        self.world.connections.pop(self, None)
        for end in (self.left, self.right):
            if end is not dead and end.link is not None:
                end.link.lost("the connection was reset")

    def _break(self) -> None:
        self.broken = True
        if not (self.left.closing or self.right.closing):
            self.world.faults["connection_broken"] += 1
