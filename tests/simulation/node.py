"""A simulated node: two disks, which outlive its process, and the process."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from level_replicator.core.entry import decode_index
from level_replicator.core.epochs import EPOCH_BYTES
from level_replicator.core.limits import BULK_LOAD_MIN_ENTRIES, FILTER_WORTH_LOOKUPS
from level_replicator.net.backoff import Backoff
from level_replicator.protocol.events import EntriesReceived, RangeEntriesReceived
from level_replicator.replication.coordinator import Coordinator
from level_replicator.replication.origin_guard import GuardedConnection
from level_replicator.replication.peers import Peer, PeerEvent
from level_replicator.storage.reconcile.initiator import Initiator, Merged, Resolved
from level_replicator.storage.reconcile.resolver import Resolver
from level_replicator.storage.state.meta import NEW_ORIGIN_REQUESTED, load_meta, store_meta
from level_replicator.storage.store import Store
from level_replicator.storage.write.remote_applier import Applied
from tests.harness.memory_engine import MemoryEngine
from tests.harness.virtual_disk import VirtualDisk
from tests.simulation.network import Connection

if TYPE_CHECKING:
    from tests.simulation.world import World

HEARTBEAT_MS = 1_000
MAX_DRIFT_MS = 60_000
LEFTOVER_PATIENCE_MS = 30_000
"""Shorter than the ten minutes of real nodes."""


class Killed(BaseException):
    """Ends the process of a node at this instruction."""

    def __init__(self, node: SimNode) -> None:
        self.node = node


class SimNode:
    """A simulated node. `coordinator` and `store` are None while its process is down."""

    def __init__(self, world: World, name: str, servers: list[str]) -> None:
        self.world = world
        self.name = name
        self.rng = Random(world.rng.random())
        self._reports = Random(f"conflicts of {name} in {world.seed}")
        self.epochs = Random(f"{world.seed} {name} epochs")
        self.servers = {server: Peer(server, dialled=True) for server in servers}
        self.skew_ms = world.plan.skews_ms[name]
        self.db_disk, self.rs_disk = VirtualDisk(), VirtualDisk()
        self.coordinator: Coordinator | None = None
        self.store: Store | None = None
        self.boot = 1
        self.life = 0
        self.kill_at_step: int | None = None
        self.events: list[PeerEvent] = []
        self.backup: tuple[VirtualDisk, VirtualDisk, int] | None = None
        self.image: tuple[VirtualDisk, VirtualDisk, int] | None = None
        """Like `backup`, but the node does not notice that a directory restored from it is a copy."""
        self.duplicate = False
        """Whether its directory is an unseen copy of another node's, which may be running under the same origin."""
        self._running = False

    # -- its process

    def _random_bytes(self, count: int) -> bytes:
        """Return random bytes. Epochs have a generator of their own, so that the rest of a seed does not change."""
        return (self.epochs if count == EPOCH_BYTES else self.rng).randbytes(count)

    def wall_ms(self) -> int:
        return self.world.wall_ms() + self.skew_ms

    def fill(self, data: dict[bytes, bytes]) -> None:
        """Write data to the database, as another program does before the directory becomes a replica."""
        engine = MemoryEngine(self.db_disk, self.name + "/db")
        batch = engine.batch(sync=True)
        for key, value in data.items():
            batch.put(key, value)
        batch.write()
        engine.close()

    def start(self, *, adopt: bool = False, kill_at: int | None = None) -> None:
        self.life += 1
        self.kill_at_step = kill_at
        store = Store(
            MemoryEngine(self.db_disk, self.name + "/db"),
            MemoryEngine(self.rs_disk, self.name + "/rs"),
            now_ms=self.wall_ms,
            random_bytes=self._random_bytes,
            boot=b"boot %d of %s" % (self.boot, self.name.encode()),
            on_step=self._on_step,
            adopt=(lambda keys: None) if adopt else None,
        )
        self.store = store
        store.leftover_watch.patience_ms = store.leftover_watch.long_patience_ms = LEFTOVER_PATIENCE_MS
        self.world.meetings.opened(self)
        # in half of the worlds a node that is empty is filled, not sent the log
        store.rounds.bulk_load_min_entries = (BULK_LOAD_MIN_ENTRIES, 1, BULK_LOAD_MIN_ENTRIES, 4)[self.world.seed % 4]
        if self.world.seed % 3 == 0:
            store._state.key_filter.lookups = FILTER_WORTH_LOOKUPS
            store.learn_keys(lambda: True)
        self._listen_to_conflicts(store)
        self.coordinator = Coordinator(
            store,
            instance=self.rng.randbytes(16),
            now_ms=lambda: self.world.now_ms,
            wall_ms=self.wall_ms,
            wake=self._wake,
            max_drift_ms=MAX_DRIFT_MS,
            heartbeat_ms=HEARTBEAT_MS,
            random=Random(f"{self.world.seed} {self.name} {self.life}"),
            on_event=self._event,
        )
        self._count_received(self.coordinator)
        self._running = False
        for server, peer in self.servers.items():
            peer.state = peer.state.WAITING
            self._dial_later(server, Backoff(self.rng), self.rng.randint(0, 100))
        self._tick(self.life)

    def _listen_to_conflicts(self, store: Store) -> None:
        """Report conflicts like api.conflict_reporter: after a delay, so that the node may be killed before."""
        life, rng, last = self.life, self._reports, 0

        def report() -> None:
            nonlocal last
            if life != self.life or self.store is not store or self.coordinator is None:
                return
            for number, conflict in store.unreported_conflicts(last):
                assert conflict is not None
                self.world.conflicts.append((self.name, conflict))
                last = number
            store.conflicts_reported(last)

        store.listen_to_conflicts(lambda: self.world.after(rng.choice([0, 0, 1, 10, 500]), report))

    def kill(self) -> None:
        """Kill the process, as by SIGKILL: written data stay, and no connection is closed in order."""
        self.coordinator = self.store = None
        self.life += 1
        self.db_disk.kill()
        self.rs_disk.kill()
        for connection in list(self.world.connections):
            for end in (connection.left, connection.right):
                if self.name == connection.names[0 if end is connection.left else 1]:
                    connection.vanish(end)

    def lose_power(self) -> None:
        """Stop the machine: any of the unsynced records may be lost."""
        self.kill()
        self.db_disk.power_loss(self.rng)
        self.rs_disk.power_loss(self.rng)
        self.boot += 1

    def stop(self) -> None:
        assert self.coordinator is not None
        assert self.store is not None
        self.coordinator.stop()
        self.store.close()
        self.coordinator = self.store = None
        self.life += 1

    def ask_for_new_origin(self) -> None:
        """Request a new origin of a node that is down, like `level_replicator.new_origin`."""
        rs = MemoryEngine(self.rs_disk, self.name + "/rs")
        meta = load_meta(rs)
        assert meta is not None
        meta.identity = NEW_ORIGIN_REQUESTED
        store_meta(rs, meta)
        rs.close()
        self.duplicate = False

    def _on_step(self, _name: str) -> None:
        if self.kill_at_step is not None:
            self.kill_at_step -= 1
            if self.kill_at_step < 0:
                self.db_disk.kill()  # a dead process can finish nothing
                self.rs_disk.kill()
                raise Killed(self)

    def _event(self, event: PeerEvent) -> None:
        self.events.append(event)

    def _count_received(self, coordinator: Coordinator) -> None:
        accepts_entries, apply = coordinator.guard.accepts_entries, coordinator.store.apply

        def counting(link: GuardedConnection, frame: EntriesReceived) -> bool:
            for entry in frame.entries:
                self.world.received[(self.name, link.peer.address, entry.stamp, frame.origin)] += 1
            if frame.origin == coordinator.store.origin and frame.entries:
                self.world.echoes += 1
            return accepts_entries(link, frame)

        def watched(frame: EntriesReceived, *args: Any, **options: Any) -> Applied:
            with self.world.meetings.watching(self, ((frame.origin, entry) for entry in frame.entries)):
                return apply(frame, *args, **options)

        coordinator.guard.accepts_entries = counting  # type: ignore[method-assign]
        coordinator.store.apply = watched
        begin_reconciliation = coordinator.store.begin_reconciliation

        def reconciling(*args: Any, **options: Any) -> tuple[Initiator, Resolver]:
            initiator, resolver = begin_reconciliation(*args, **options)
            take_entries = resolver.take_entries

            def entries(answer: RangeEntriesReceived) -> Merged:
                with self.world.meetings.watching(self, answer.entries):
                    return take_entries(answer)

            settle = resolver.resolve

            def settled(low: bytes, high: bytes, theirs: list[tuple[bytes, bytes]]) -> Resolved:
                outcome = settle(low, high, theirs)
                for key, row in theirs:
                    self.world.meetings.compared(self, key, decode_index(row).written_dot)
                return outcome

            resolver.take_entries = entries  # type: ignore[method-assign]
            resolver.resolve = settled  # type: ignore[method-assign]
            return initiator, resolver

        coordinator.store.begin_reconciliation = reconciling  # type: ignore[method-assign]

    # -- its event loop

    def _wake(self) -> None:
        self._run_after(0)

    def _run_after(self, delay_ms: int) -> None:
        life = self.life
        self.world.after(delay_ms, lambda: self._run(life))

    def _run(self, life: int) -> None:
        if life == self.life and self.coordinator is not None:
            wait = self.coordinator.run()
            if wait is not None:
                self._run_after(max(wait, 1))

    def _tick(self, life: int) -> None:
        if life == self.life and self.coordinator is not None:
            self.coordinator.tick()
            assert self.store is not None
            if self.store.floor_watch.due(self.world.now_ms):
                self.store.retention.lower_floors()
            for origin in self.store.leftover_watch.due(self.world.now_ms):
                if self.store.retention.restamp_leftovers(origin):
                    self.coordinator.local_change()
            self.world.after(HEARTBEAT_MS // 4, lambda: self._tick(life))

    # -- dialling

    def _dial_later(self, server: str, backoff: Backoff, delay_ms: int) -> None:
        life = self.life
        self.world.after(delay_ms, lambda: self._dial(server, backoff, life))

    def _dial(self, server: str, backoff: Backoff, life: int) -> None:
        if life != self.life or self.coordinator is None or server not in self.world.nodes:
            return
        peer, other = self.servers[server], self.world.nodes[server]
        link = self.coordinator.by_origin.get(peer.origin)
        connected = link is not None and link.peer.instance == peer.instance
        busy = connected or any(link.peer is peer for link in self.coordinator.connections)
        if not busy and other.coordinator is not None and not self.world.is_cut(self.name, server):
            connection = Connection(self.world, (self.name, server))
            self.world.connections[connection] = None
            connection.left.link = self.coordinator.connect(connection.left, peer)
            connection.right.link = other.coordinator.connect(connection.right, Peer(self.name, dialled=False))
            backoff.reset()
        self._dial_later(server, backoff, min(2_000, int(backoff.next_delay_s() * 1000)) + 1)
