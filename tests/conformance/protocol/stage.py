"""Nodes that talk over links which carry one message at a time and write down each, for people to read.

The nodes are the product's own: coordinator, peer connections, sessions and store; only time, disks and network are
made.
"""

from collections import deque
from random import Random

from level_replicator.core.version_vector import Vector
from level_replicator.protocol.messages import Message, decode, encode
from level_replicator.replication.coordinator import Coordinator, CoordinatorObserver
from level_replicator.replication.peer_connection import PeerConnection
from level_replicator.replication.peers import Peer, PeerEvent
from level_replicator.storage.store import Store
from tests.conformance.protocol.writing import clock_time, describe
from tests.harness.memory_engine import MemoryEngine
from tests.harness.virtual_disk import VirtualDisk

START_MS = 1_000
HEARTBEAT_MS = 1_000
MAX_DRIFT_MS = 60_000


class Actor(CoordinatorObserver):
    """One node. Its origin is the place of its letter in the alphabet, so that a transcript can name it."""

    def __init__(self, stage: "Stage", name: str, origin: int) -> None:
        self.name = name
        self.skew_ms = 0
        self._stage = stage
        instance = b"run of " + name.encode()
        self.store = Store(
            MemoryEngine(VirtualDisk(), name + "/db"),
            MemoryEngine(VirtualDisk(), name + "/rs"),
            now_ms=self.wall_ms,
            random_bytes=lambda count: origin.to_bytes(count, "big"),
            boot=b"boot",
        )
        self.coordinator = Coordinator(
            self.store,
            instance=instance,
            now_ms=lambda: stage.now_ms,
            wall_ms=self.wall_ms,
            wake=lambda: None,
            max_drift_ms=MAX_DRIFT_MS,
            heartbeat_ms=HEARTBEAT_MS,
            random=Random(name),
            on_event=self._event,
            observer=self,
        )

    def wall_ms(self) -> int:
        return self._stage.now_ms + self.skew_ms

    def write(self, **changes: str | None) -> None:
        """Puts, or deletes where None is given."""
        for key, value in changes.items():
            self._stage.now_ms += 1
            self._stage.say(f"  {self.name}: " + (f"delete {key}" if value is None else f"put {key}={value}"))
            self.store.writer.write([(key.encode(), None if value is None else value.encode())], False)
            self.coordinator.local_change()

    def truncate(self) -> None:
        self._stage.say(f"  {self.name}: truncates its log")
        self.store.retention.truncate()

    def drop_tombstones(self) -> None:
        self._stage.say(f"  {self.name}: drops its tombstones")
        self.store.retention.drop_tombstones(self.store.clock.last)

    def ask(self) -> None:
        """What wait_synced does of each peer."""
        for link in self.coordinator.by_origin.values():
            link.session.query_vector(7)
            self.coordinator.has_output(link)

    def contents(self) -> dict[str, str]:
        return {key.decode(): value.decode() for key, value in self.store._state.db.scan()}

    def _event(self, event: PeerEvent) -> None:
        self._stage.say(f"  {self.name}: event {event.kind}: {event.text}")

    def vector_received(self, token: int, vector: Vector) -> None:
        self._stage.say(f"  {self.name}: received vector {token}: {self._stage.vector(vector)}")


class End:
    """One side of a connection: the transport of a link, or of a puppet that only says what it is told to."""

    def __init__(self, stage: "Stage", name: str) -> None:
        self.full = False
        self.name = name
        self.other: End = self
        self.link: PeerConnection | None = None
        self._stage = stage

    def send(self, frames: list[bytes]) -> None:
        self._stage.moving.extend((self, frame) for frame in frames)

    def say(self, message: Message) -> None:
        self.send([encode(message)])

    def close(self) -> None:
        self._stage.moving.append((self, None))

    def abort(self) -> None:
        self._stage.moving = deque(moved for moved in self._stage.moving if moved[0] is not self)
        self.close()


class Stage:
    """The clock, the connections and the transcript."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.lines: list[str] = []
        self.moving: deque[tuple[End, bytes | None]] = deque()
        self.actors: list[Actor] = []

    def actor(self, name: str, origin: int | None = None) -> Actor:
        actor = Actor(self, name, origin or ord(name) - ord("A") + 1)
        self.actors.append(actor)
        return actor

    def pair(self) -> tuple[Actor, Actor]:
        return self.actor("A"), self.actor("B")

    # -- what happens

    def connect(self, dialler: Actor, acceptor: Actor) -> tuple[End, End]:
        self.say(f"  {dialler.name} dials {acceptor.name}")
        left, right = self._ends(dialler.name, acceptor.name)
        left.link = dialler.coordinator.connect(left, Peer(acceptor.name, dialled=True))
        right.link = acceptor.coordinator.connect(right, Peer(dialler.name, dialled=False))
        return left, right

    def puppet(self, acceptor: Actor) -> End:
        """Somebody who dials and says what the script says."""
        puppet, end = self._ends("?", acceptor.name)
        end.link = acceptor.coordinator.connect(end, Peer("?", dialled=False))
        return puppet

    def settle(self, messages: int | None = None) -> None:
        """Until nobody has anything more to say, or that many messages have arrived."""
        while messages is None or messages > 0:
            waits = [wait for wait in [actor.coordinator.run() for actor in self.actors] if wait is not None]
            if self.moving:
                messages = None if messages is None else messages - 1
                self._arrive(*self.moving.popleft())
            elif waits:
                self.now_ms += max(min(waits), 0)
            else:
                return

    def cut(self, ends: tuple[End, End]) -> None:
        """What is under way is lost."""
        lost = [frame for end, frame in self.moving if end in ends and frame is not None]
        self.moving = deque(item for item in self.moving if item[0] not in ends)
        self.say(f"  the connection breaks, {len(lost)} messages are lost")
        for end in ends:
            if end.link is not None:
                end.link.lost("the connection was lost")

    def pass_time(self, milliseconds: int) -> None:
        self.now_ms += milliseconds
        self.say(f"  {milliseconds} ms later")
        for actor in self.actors:
            actor.coordinator.tick()

    # -- the transcript

    def say(self, line: str) -> None:
        self.lines.append(line)

    def show(self) -> None:
        """The state of everybody."""
        for actor in self.actors:
            contents = " ".join(f"{key}={value}" for key, value in actor.contents().items())
            self.say(f"  {actor.name} holds {contents or 'nothing'}; vector {self.vector(actor.store.vector)}")

    def vector(self, vector: Vector) -> str:
        return "{" + ", ".join(f"{chr(64 + o)}: {clock_time(s)}" for o, s in sorted(vector.items())) + "}"

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines) + "\n"

    # -- inside

    def _ends(self, one: str, other: str) -> tuple[End, End]:
        left, right = End(self, one), End(self, other)
        left.other, right.other = right, left
        return left, right

    def _arrive(self, sender: End, frame: bytes | None) -> None:
        receiver = sender.other
        alive = receiver.link is not None and not receiver.link.ended
        if frame is None:
            if receiver.link is not None:
                receiver.link.lost("the connection was lost")
            if sender.link is not None:
                sender.link.lost("closed")
            return
        unread = "" if alive or receiver.link is None else "      (not read any more)"
        self.say(f"{sender.name} → {receiver.name}  {describe(decode(frame[4:]))}{unread}")
        if alive:
            assert receiver.link is not None
            receiver.link.received(frame)
