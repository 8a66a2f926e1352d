"""The run of one seed, from the first write to the last check."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from random import Random

from level_replicator.core.entry import DELETE, INDEX_HEAD
from level_replicator.core.version_vector import newer
from level_replicator.protocol.messages import Message, Ping, decode
from level_replicator.replication.peer_connection import PeerConnection
from level_replicator.storage.maintenance.floors import floors_above
from level_replicator.storage.state.conflict_queue import Conflict
from level_replicator.storage.state.schema import INDEX
from tests.simulation.budget import AFTER_FAULTS, Budget
from tests.simulation.checks import Broken, check_conflicts, check_converged, check_node, check_vector
from tests.simulation.meetings import Meetings
from tests.simulation.network import Connection, End
from tests.simulation.node import HEARTBEAT_MS, Killed, SimNode
from tests.simulation.plan import Plan, make_plan
from tests.simulation.reader import Reader
from tests.simulation.truth import Op, Past, Truth

_HEAL_LIMIT_MS = 400_000
_START_MS = 1_800_000_000_000


class World:
    """A world: the virtual clock, all nodes, all connections."""

    def __init__(self, seed: int, plan: Plan | None = None) -> None:
        self.seed = seed
        self.plan = plan or make_plan(seed)
        self.rng = Random(seed * 2 + 1)
        self.now_ms = 0
        self.truth = Truth()
        self.connections: dict[Connection, None] = {}
        self.cuts: set[frozenset[str]] = set()
        self.received: Counter[tuple[str, str, int, int]] = Counter()
        self.echoes = 0
        self.chatter = 0
        self.faults: Counter[str] = Counter()
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0
        self.budget = Budget(self)
        self.conflicts: list[tuple[str, Conflict]] = []
        self.meetings = Meetings()
        self.readers = [
            Reader(Random(seed * 3 + 1)),
            Reader(Random(f"wandering {seed}"), steady=0.3),
            Reader(Random(f"returning {seed}"), steady=0.5, returns=0.05),
            Reader(Random(f"repeating {seed}"), repeats=0.1),
        ]
        self.nodes = {
            name: SimNode(self, name, [b for a, b in self.plan.dials if a == name]) for name in self.plan.nodes
        }

    # -- time and network

    def wall_ms(self) -> int:
        """Return the time of an exact clock. If it is frozen, only the counters in the stamps grow."""
        return _START_MS + (0 if self.plan.clock == "frozen" else self.now_ms)

    def after(self, delay_ms: int, do: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._agenda, (self.now_ms + delay_ms, self._serial, do))

    def is_cut(self, a: str, b: str) -> bool:
        return frozenset((a, b)) in self.cuts

    def run_for(self, duration_ms: int) -> None:
        end = self.now_ms + duration_ms
        while self._agenda and self._agenda[0][0] <= end:
            at, _, do = heapq.heappop(self._agenda)
            self.now_ms = max(self.now_ms, at)
            self.budget.event()
            self.guarded(do)
        self.now_ms = max(self.now_ms, end)

    @property
    def forked(self) -> bool:
        """Whether an origin may have been continued twice, since a restore or a copy left no trace."""
        return bool(self.faults["unseen_restore"] + self.faults["unseen_copy"])

    def guarded(self, do: Callable[[], None]) -> None:
        """Call `do`. If the process of a node is killed in it, only that process ends."""
        try:
            do()
        except Killed as death:
            self.faults["kill_in_step"] += 1
            death.node.kill()

    def frame_sent(self, end: End, frames: list[bytes]) -> None:
        sender, receiver = end.names
        for frame in frames:
            message = decode(frame[4:])
            if not isinstance(message, Ping):
                self.chatter += 1
                self.budget.frame(sender, receiver, type(message).__name__)

    def said(self, sender: str, receiver: str, kind: type[Message]) -> int:
        """Return the number of messages of a kind since the budget began."""
        return self.budget.said[(sender, receiver, kind.__name__)]

    def name_of(self, link: PeerConnection) -> str:
        """Return the name of the node at the other end."""
        assert isinstance(link.transport, End)
        return link.transport.names[1]

    def _forget(self, node: SimNode, gone: Callable[[int, Op], bool]) -> None:
        """Account for writes that a node lost: its own for which `gone` returns True, and writes that their own nodes
        lost before. A write that no other node has is no longer certain."""
        self.truth.lost(node.name)
        others = [each.store for each in self.nodes.values() if each is not node and each.store is not None]
        for place, op in enumerate(self.truth.ops):
            if op.certain and (op.homeless or (op.node == node.name and gone(place, op))):
                op.homeless = True
                op.certain = any(op.is_covered(store) for store in others)

    # -- the run

    def run(self) -> None:
        """Run the world. Raise Broken if a promise is broken."""
        for node in self.nodes.values():
            self._begin(node)
        for _ in range(self.plan.steps):
            self.run_for(self.rng.choice([0, 0, 0, 1, 10, 300]))
            self.guarded(self._write_something)
            self._maybe_fault()
            self._retain()
            for reader in self.readers:
                reader.live(self._running())
            if self.rng.random() < 0.1:
                self._check_safety()
        self._heal()
        self._settle()
        check_converged(self)
        check_conflicts(self)
        if not self.forked:
            # excused: a cursor has no epochs, and one of a continuation that a node does not know may cover too much
            for reader in self.readers:
                for node in self.nodes.values():
                    reader.finish(node)
        self._check_quiet()
        if self.plan.faultless:
            self.check_sent_once()

    def _begin(self, node: SimNode) -> None:
        """Start a node for the first time, empty or with data that it adopts, in as many attempts as needed."""
        data = {key: self.truth.value(3) for key in self.plan.adopted.get(node.name, [])}
        if self.plan.equal_data:
            data = {key: b"equal " + key for key in data}
        if not data:
            node.start()
            return
        node.fill(data)
        while node.coordinator is None:
            try:
                node.start(adopt=True, kill_at=self.rng.randint(0, 3) if self.rng.random() < 0.6 else None)
            except Killed:
                self.faults["kill_in_step"] += 1
                node.lose_power() if self.rng.random() < 0.3 else node.kill()
        node.kill_at_step = None
        assert node.store is not None
        for key, value in data.items():
            line = node.store._state.rs.get(INDEX + key)
            if line is None:
                raise Broken(f"{node.name}: {key!r} was not adopted")
            dot = INDEX_HEAD.unpack_from(line)[:2]
            self.truth.acknowledge(node.name, [(key, value)], dot, True, {key: frozenset()})

    def check_sent_once(self) -> None:
        """Check that, without faults, no entry arrives twice from a peer, and none returns to its sender."""
        if self.echoes:
            raise Broken("a node was sent its own writes, though it forgot none")
        twice = [what for what, times in self.received.items() if times > 1]
        if twice:
            raise Broken(f"received twice from one peer without any fault: {twice[:3]}")
        if self.plan.tree:
            back = [what for what in self.received if (what[1], what[0], *what[2:]) in self.received]
            if back:
                raise Broken(f"sent back to the peer that sent it: {back[:3]}")

    def _write_something(self) -> None:
        node = self.rng.choice(list(self.nodes.values()))
        if node.store is None or node.coordinator is None:
            return
        count = 1 if self.rng.random() < 0.8 else self.rng.randint(1, 8)
        keys = self.rng.sample(self.plan.keys, min(count, len(self.plan.keys)))
        operations = [
            (
                key,
                None if self.rng.random() < 0.3 else self.truth.value(self.rng.randint(0, self.plan.most_value_bytes)),
            )
            for key in keys
        ]
        synced = self.rng.random() < self.plan.sync_rate
        if self.rng.random() < self.plan.faults.get("kill_in_step", 0):
            node.kill_at_step = self.rng.randint(0, 2)
        newest = node.store.clock.last
        past = {key: self.truth.reflected(node, key) for key, _ in operations}
        try:
            node.store.writer.write(operations, synced)
        except Killed:
            self._note_unacknowledged(node, operations, newest, past)
            raise
        origin = node.store.origin
        history = node.store.histories.get(origin, ())
        self.truth.acknowledge(node.name, operations, (node.store.vector[origin], origin), synced, past, history)
        node.coordinator.local_change()

    def _note_unacknowledged(
        self, node: SimNode, operations: list[tuple[bytes, bytes | None]], newest: int, past: Past
    ) -> None:
        """Check that a killed batch is there as a whole or not at all. If it is there, it counts as acknowledged."""
        node.kill()
        node.start()
        assert node.store is not None
        state = node.store._state
        there = []
        for key, value in operations:
            line = state.rs.get(INDEX + key)
            dot = (0, 0) if line is None else INDEX_HEAD.unpack_from(line)[:2]
            deleted = line is not None and INDEX_HEAD.unpack_from(line)[2] & DELETE
            same = dot[0] > newest and (deleted if value is None else state.db.get(key) == value)
            there.append(dot if same else None)
        if any(there) and not all(there):
            raise Broken(f"{node.name}: half of a batch survived a kill")
        if there[-1] is not None:
            history = state.histories.get(there[-1][1], ())
            self.truth.acknowledge(node.name, operations, there[-1], False, past, history)
        node.kill()

    def _maybe_fault(self) -> None:
        for fault, rate in self.plan.faults.items():
            if self.rng.random() < rate:
                self.guarded(getattr(self, f"_fault_{fault}", lambda: None))
        for node in self.nodes.values():
            if node.coordinator is None and self.rng.random() < 0.2:
                self.guarded(node.start)
            if self.plan.clock == "jumping" and self.rng.random() < 0.05:
                node.skew_ms = self.rng.randint(-20_000, 20_000)
                self.faults["clock_jump"] += 1

    def _fault_cut(self) -> None:
        a, b = self.rng.sample(list(self.nodes), 2)
        self.cuts ^= {frozenset((a, b))}
        self.faults["cut"] += self.is_cut(a, b)

    def _fault_drop(self) -> None:
        if self.connections:
            self.faults["drop"] += 1
            self.rng.choice(list(self.connections)).break_now()

    def _running(self) -> list[SimNode]:
        return [node for node in self.nodes.values() if node.coordinator is not None]

    def _fault_kill(self) -> None:
        if self._running():
            self.faults["kill"] += 1
            self.rng.choice(self._running()).kill()

    def _fault_stop(self) -> None:
        """Stop a node in order. A power loss after that loses nothing."""
        if self._running():
            node = self.rng.choice(self._running())
            node.stop()
            self.faults["stop"] += 1
            if self.rng.random() < 0.3:
                node.lose_power()

    def _fault_kill_in_step(self) -> None:
        if self._running():
            self.rng.choice(self._running()).kill_at_step = self.rng.randint(0, 5)

    def _fault_power_loss(self) -> None:
        if self._running():
            node = self.rng.choice(self._running())
            self.faults["power_loss"] += 1
            self._forget(node, lambda _, op: not op.synced)
            self.meetings.lossy.add(node.name)
            node.lose_power()

    def _fault_restore(self) -> None:
        """Stop a node, and continue with an older copy of its directory."""
        node = self.rng.choice(list(self.nodes.values()))
        if node.coordinator is not None:
            node.stop()
        elif node.backup is None:
            return
        if node.backup is None or self.rng.random() < 0.5:
            node.backup = (node.db_disk.copy(), node.rs_disk.copy(), len(self.truth.ops))
            return
        self.faults["restore"] += 1
        node.db_disk, node.rs_disk, count = node.backup
        node.backup = None
        self._forget(node, lambda place, _: place >= count)
        self.meetings.lossy.add(node.name)

    def _fault_unseen_restore(self) -> None:
        """Restore a node from an older image of itself. Nothing in its directory shows that."""
        node = self.rng.choice(list(self.nodes.values()))
        if node.coordinator is not None:
            node.stop() if self.rng.random() < 0.5 else node.kill()
        if node.image is None or self.rng.random() < 0.4:
            node.image = (node.db_disk.copy(unseen=True), node.rs_disk.copy(unseen=True), len(self.truth.ops))
            return
        self.faults["unseen_restore"] += 1
        node.db_disk, node.rs_disk, count = node.image
        node.image = (node.db_disk.copy(unseen=True), node.rs_disk.copy(unseen=True), count)
        self._forget(node, lambda place, _: place >= count)

    def _fault_unseen_copy(self) -> None:
        """Continue a node with a copy of the directory of another one, with the same origin. Neither notices it."""
        node, source = self.rng.sample(list(self.nodes.values()), 2)
        for each in (node, source):
            if each.coordinator is not None:
                each.stop()
        self.faults["unseen_copy"] += 1
        node.db_disk, node.rs_disk = source.db_disk.copy(unseen=True), source.rs_disk.copy(unseen=True)
        node.image = None
        node.duplicate = True
        self._forget(node, lambda *_: True)

    def _fault_copy(self) -> None:
        """Continue a node with a copy of the directory of another one."""
        node, source = self.rng.sample(list(self.nodes.values()), 2)
        for each in (node, source):
            if each.coordinator is not None:
                each.stop()
        self.faults["copy"] += 1
        node.db_disk, node.rs_disk = source.db_disk.copy(), source.rs_disk.copy()
        self._forget(node, lambda *_: True)
        self.truth.copied(node.name, source.name)
        self.meetings.lossy.add(node.name)

    def _fault_truncate(self) -> None:
        if self._running():
            node = self.rng.choice(self._running())
            assert node.store is not None
            newest = node.store.clock.last
            before = self.rng.choice([newest, newest - (self.rng.randint(0, 5_000) << 16)])
            self.faults["truncate"] += 1
            node.store.retention.truncate(before=before, most_bytes=self.rng.choice([1 << 64, 1 << 64, 200]))

    def _fault_drop_tombstones(self) -> None:
        if self._running():
            node = self.rng.choice(self._running())
            assert node.store is not None
            age_ms = self.rng.choice([0, 0, 100, 3_000])
            self.faults["drop_tombstones"] += 1
            node.store.retention.drop_tombstones(node.store.clock.last - (age_ms << 16))

    def _retain(self) -> None:
        """Drop old tombstones and log entries, as the retention of each node does automatically."""
        if self.plan.retention_ms is None:
            return
        tombstones_ms, log_ms = self.plan.retention_ms
        for node in self._running():
            if node.kill_at_step is None and node.rng.random() < 0.3:
                assert node.store is not None
                now = node.store.clock.last
                node.store.retention.drop_tombstones(max(0, now - (tombstones_ms << 16)))
                node.store.retention.truncate(before=max(0, now - (log_ms << 16)))

    def _check_safety(self) -> None:
        for node in self._running():
            if node.kill_at_step is None:
                check_node(node)
                check_vector(self, node)

    # -- after the faults

    def _heal(self) -> None:
        self.budget.begin(AFTER_FAULTS)
        if self.plan.gone is not None:
            self.nodes.pop(self.plan.gone).kill()
            self.plan.dials = [pair for pair in self.plan.dials if self.plan.gone not in pair]
        self.cuts.clear()
        self.plan.delays_ms = [0, 1, 2]
        for connection in self.connections:
            connection.most_piece = 100_000
        for node in self.nodes.values():
            node.kill_at_step = None
            if self.plan.clock == "far":
                node.skew_ms = 9 * 3_600_000
            if node.duplicate:
                # as the error says with which two live duplicates refuse each other
                if node.coordinator is not None:
                    node.stop()
                node.ask_for_new_origin()
            if node.coordinator is None:
                node.start()
            node.kill_at_step = None
        if self.plan.gone is not None:
            self._forget_what_is_gone(self.plan.gone)

    def _forget_what_is_gone(self, name: str) -> None:
        """Stop expecting writes that only the node knew that has disappeared for good."""
        stores = [node.store for node in self.nodes.values() if node.store is not None]
        states = [store._state for store in stores]
        for op in self.truth.ops:
            if (op.node == name or op.homeless) and not any(op.is_covered(store) for store in stores):
                op.certain = any(op.is_row_of(state) for state in states)

    def _settle(self) -> None:
        end = self.now_ms + _HEAL_LIMIT_MS
        while self.now_ms < end:
            said = self.chatter
            self.run_for(3_000)
            if self._in_sync() and self.chatter == said and not self._busy():
                return
        check_converged(self)
        raise Broken(self.budget.reason("contents and vectors are equal, but it goes on:"))

    def _busy(self) -> bool:
        """Return whether more than a few heartbeats are in transit."""
        ends = [end for connection in self.connections for end in (connection.left, connection.right)]
        return any(len(end.unread) > 20 for end in ends)

    def _in_sync(self) -> bool:
        stores = [node.store for node in self.nodes.values()]
        if any(store is None for store in stores):
            return False
        vectors = [store.vector for store in stores if store is not None]
        links = [
            link for node in self.nodes.values() if node.coordinator for link in node.coordinator.by_origin.values()
        ]
        pairs = {frozenset(dial) for dial in self.plan.dials}
        return (
            all(vector == vectors[0] for vector in vectors)
            and len(links) == 2 * len(pairs)
            and all(_live(link) for link in links)
            and not any(
                store.bulk_load_incomplete or floors_above(store._state) for store in stores if store is not None
            )
            and not any(newer(store._state.newest, store.vector) for store in stores if store is not None)
        )

    def _check_quiet(self) -> None:
        """Check that nodes that are in sync send nothing but heartbeats."""
        before = self.chatter
        self.run_for(5 * HEARTBEAT_MS)
        if self.chatter != before:
            count = self.chatter - before
            raise Broken(self.budget.reason(f"{count} messages besides heartbeats between nodes in sync"))


def _live(link: PeerConnection) -> bool:
    return link.session.pull.completed > 0 and link.puller.waits_for is None
