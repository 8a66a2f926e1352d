"""One schedule, played on real stores and on the reference at once: after each step both must be in the same state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from level_replicator.core.entry import decode_context, decode_entry, decode_index
from level_replicator.core.epochs import EPOCH_BYTES
from level_replicator.protocol.events import EntriesReceived, RangeAnswered, RangeEntriesReceived, ReconcileStarted
from level_replicator.protocol.push import PullSender
from level_replicator.protocol.range_queries import PendingQueries
from level_replicator.replication.pusher import message_of
from level_replicator.storage.feed.round_planner import ReconcileOffer, Round
from level_replicator.storage.feed.send_queue import SendQueue
from level_replicator.storage.reconcile.initiator import Initiator, Merged
from level_replicator.storage.reconcile.resolver import Resolver
from level_replicator.storage.state.schema import INDEX, LOG, following, log_dot
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.store import Store
from tests.harness.memory_engine import MemoryEngine
from tests.harness.virtual_disk import VirtualDisk
from tests.simulation.model.reference import (
    FAMILY,
    History,
    Node,
    Pull,
    Truth,
    broken_promise,
    introduce,
    known_context,
)
from tests.simulation.model.schedules import Step

START_MS = 1_000
LATEST = (1 << 64) - 1


class Unlike(AssertionError):
    """The real code did something else than the reference."""


class Duet:
    """`off`: a rule that the reference does without; the real code is then to be a mutant without it."""

    def __init__(self, nodes: int, off: str | None = None) -> None:
        self.now_ms = START_MS
        self.off = off
        self.skew_ms: dict[int, int] = {}
        self.truth = Truth()
        self.minted: Counter[int] = Counter()
        self.started: set[int] = set()
        self.disks = [(VirtualDisk(), VirtualDisk()) for _ in range(nodes)]
        self.images: dict[int, tuple[VirtualDisk, VirtualDisk, Node]] = {}
        self.stores = [self._store(place) for place in range(nodes)]
        self.nodes = [Node(place, self.truth, off) for place in range(nodes)]
        self.pulls: dict[int, RealPull] = {}
        self.gone: set[int] = set()
        self.alone: dict[int, int] = {}  # node → its pull that must be alone

    def _store(self, place: int) -> Store:
        db_disk, rs_disk = self.disks[place]
        return Store(
            MemoryEngine(db_disk, f"{place}/db"),
            MemoryEngine(rs_disk, f"{place}/rs"),
            now_ms=lambda: self.now_ms + self.skew_ms.get(place, 0),
            random_bytes=lambda count: self._random_bytes(place, count),
            boot=b"boot",
        )

    def _random_bytes(self, place: int, count: int) -> bytes:
        """The numbers that the reference takes: the first origin of a place, its epochs, and later origins."""
        if count == EPOCH_BYTES:
            self.minted[place] += 1
            return self.minted[place].to_bytes(count, "big")
        origin = (place + 1) << FAMILY
        if place in self.started:
            self.minted[place] += 1
            origin |= 1 << (FAMILY - 1) | self.minted[place]
        self.started.add(place)
        return origin.to_bytes(count, "big")

    def play(self, steps: list[Step]) -> None:
        """Raises Unlike."""
        for step in steps:
            getattr(self, f"_do_{step[0]}")(*step[1:])
            self._compare(step)

    def settle(self) -> None:
        """Everybody pulls from everybody until nothing changes."""
        for pull in list(self.pulls):
            self._do_break(pull)
        self.now_ms += 1
        for _ in range(60):
            left = [place for place in range(len(self.stores)) if place not in self.gone]
            before = [_state(store) for store in self.stores]
            for reader in left:
                for source in left:
                    if reader != source:
                        self._do_pull(-1, reader, source)
                        self._do_step(-1, 1_000_000)
                        self._compare(("settle", reader, source))
            if before == [_state(store) for store in self.stores]:
                return
        raise Unlike("no end of it")

    def broken_promise(self) -> str | None:
        return broken_promise([each for place, each in enumerate(self.nodes) if place not in self.gone], self.truth)

    # -- steps

    def _do_gone(self, place: int) -> None:
        self.gone.add(place)

    def _do_image(self, place: int) -> None:
        db_disk, rs_disk = self.disks[place]
        self.images[place] = db_disk.copy(unseen=True), rs_disk.copy(unseen=True), self.nodes[place].image()

    def _do_restore(self, place: int) -> None:
        if place not in self.images:
            return
        self._break_all(place)
        db_disk, rs_disk, image = self.images[place]
        self.disks[place] = db_disk.copy(unseen=True), rs_disk.copy(unseen=True)
        self.stores[place] = self._store(place)
        self.nodes[place] = image.image()
        self.nodes[place].reopen()

    def _break_all(self, place: int) -> None:
        store = self.stores[place]
        for number, pull in list(self.pulls.items()):
            if store in (pull.reader, pull.source):
                self._do_break(number)

    def _introduce(self, one: int, other: int) -> None:
        """See reference.introduce. The real stores do it by sessions; here they are told each other's histories."""
        for place in (one, other):
            self.nodes[place].newest = dict(self.stores[place]._state.newest)
            self.nodes[place].written = dict(self.stores[place]._state.written)
        if self.off == "fork":
            return
        changed = {self.nodes.index(node) for node in introduce(self.nodes[one], self.nodes[other])}
        told = True
        while told:
            told = False
            for reader, source in ((one, other), (other, one)):
                store, peer = self.stores[reader], self.stores[source]
                learned = store.learn_histories(peer.histories, peer.branches)
                if learned.branches:
                    store.branch(learned.branches)
                elif learned.forgot:
                    store.change_origin()
                told = told or bool(learned.branches) or learned.forgot
        for reader, source in ((one, other), (other, one)):
            store, state = self.stores[reader], self.stores[source]._state
            newest = max(each.get(store.origin, 0) for each in (state.vector, state.newest, state.floor))
            if store.forgot(newest) and self.off != "reach":
                store.change_origin()
        for place in changed:
            self._break_all(place)

    def _do_time(self, ms: int) -> None:
        self.now_ms += ms

    def _do_skew(self, place: int, ms: int) -> None:
        self.skew_ms[place] = ms

    def _do_put(self, place: int, key: bytes) -> None:
        self._write(place, key, b"v%d" % len(self.truth.ops))

    def _do_del(self, place: int, key: bytes) -> None:
        self._write(place, key, None)

    def _write(self, place: int, key: bytes, value: bytes | None) -> None:
        self.stores[place].writer.write([(key, value)], False)
        self.nodes[place].now_ms = self.now_ms + self.skew_ms.get(place, 0)
        self.nodes[place].write(key, value)

    def _do_truncate(self, place: int, age_ms: int) -> None:
        before = max(0, self.now_ms - age_ms) << 16
        self.stores[place].retention.truncate(before=before)
        self.nodes[place].truncate(before)

    def _do_drop(self, place: int, age_ms: int) -> None:
        before = max(0, self.now_ms - age_ms) << 16
        self.stores[place].retention.drop_tombstones(before)
        self.nodes[place].drop_tombstones(before)

    def _do_pull(self, pull: int, reader: int, source: int) -> None:
        if pull in self.pulls or reader in self.alone:
            return
        self._introduce(reader, source)
        real = RealPull(self.stores[reader], self.stores[source])
        ref = Pull(self.nodes[reader], self.nodes[source])
        if real.mode != ref.mode:
            raise Unlike(f"{reader} from {source}: {real.mode}, not {ref.mode}")
        if ref.mode == "wait":
            return
        if ref.alone:
            for other in [other for other, each in self.pulls.items() if each.reader is self.stores[reader]]:
                self._do_break(other)
            self.alone[reader] = pull
        real.begin(ref)
        self.pulls[pull] = real

    def _do_step(self, pull: int, count: int) -> None:
        real = self.pulls.get(pull)
        if real is None:
            return
        place = self.nodes.index(real.ref.reader)
        self._introduce(place, self.nodes.index(real.ref.source))
        if pull not in self.pulls:
            return
        real.ref.reader.now_ms = self.now_ms + self.skew_ms.get(place, 0)
        for _ in range(count):
            if next(real.messages, None) is None:
                real.ref.finish()
                self._do_break(pull)
                return

    def _do_break(self, pull: int) -> None:
        real = self.pulls.pop(pull, None)
        if real is not None:
            real.close()
            real.ref.end()
            self.alone = {place: alone for place, alone in self.alone.items() if alone != pull}

    # -- comparing

    def _compare(self, step: Step) -> None:
        for place, (store, node) in enumerate(zip(self.stores, self.nodes, strict=True)):
            wanted = (
                {key: (row.dot, row.written, row.value, known_context(row)) for key, row in node.index.items()},
                {key for key, row in node.index.items() if node.logged(row)},
                node.contents(),
                node.vector,
                node.floor,
                node.horizon,
                node.dropped,
                node.origin,
                node.histories,
                node.branches,
            )
            found = _state(store)
            if self.off is not None:
                # without a rule, entries come back that had left the log
                found, wanted = (found[0], *found[2:]), (wanted[0], *wanted[2:])
            if found != wanted:
                raise Unlike(f"node {place} after {step}: {found}, the rules say {wanted}")


def _state(store: Store) -> tuple[object, ...]:
    state = store._state
    contents = dict(state.db.scan())
    index = {}
    for index_key, line in state.rs.scan(INDEX, following(INDEX)):
        row = decode_index(line)
        key = index_key[len(INDEX) :]
        value = None if row.deleted else contents.get(key)
        index[key] = (row.dot, row.written_dot, value, decode_context(row.context))
    log = set()
    for key, record in state.rs.scan(LOG, following(LOG)):
        entry = decode_entry(record)
        stamp, origin = log_dot(key)
        assert index[entry.key][0] == (stamp, origin)
        if stamp > state.floor.get(origin, 0):  # below it may stand what was overwritten while a node was filled
            log.add(entry.key)
    return index, log, contents, state.vector, state.floor, state.horizon, state.dropped, *_names(state)


def _names(state: ReplicationState) -> tuple[int, dict[int, History], dict[int, int]]:
    return state.origin, dict(state.histories), dict(state.branches)


class RealPull:
    """A pull of the real code, a message at a time, of which the reference is told what each one brought."""

    ref: Pull
    messages: Iterator[bool]

    def __init__(self, reader: Store, source: Store) -> None:
        self.reader, self.source = reader, source
        self._feed = SendQueue(reader.origin, reader.resumable(source.origin))
        self._opened = source.rounds.open_next(self._feed, dict(reader.vector), dict(reader.horizon))
        self._initiator_closes: Callable[[], None] = lambda: None
        self.mode = {Round: "log", ReconcileOffer: "reconcile"}.get(type(self._opened), "wait")

    def begin(self, ref: Pull) -> None:
        self.ref = ref
        if isinstance(self._opened, Round):
            push = PullSender()
            push.peer_has(dict(self.reader.vector))
            push.begin(self._opened.target, self._opened.work)
            self.messages = self._log(self._opened, push)
            return
        opened = self._opened
        assert isinstance(opened, ReconcileOffer)
        begin = ReconcileStarted(opened.vector, opened.horizon, opened.dropped, compare_only=False, rows=opened.rows)
        initiator, resolver = self.reader.begin_reconciliation(begin, self.source.origin)
        self._tell_reference(resolver)
        self._initiator_closes = initiator.close
        self.messages = self._initiator(opened, initiator, resolver)

    def close(self) -> None:
        self.messages.close()  # type: ignore[attr-defined]
        self._initiator_closes()
        if self.mode == "reconcile":
            self.reader.end_reconciliation()
        if isinstance(self._opened, Round):
            self._opened.reader.close()
        else:
            self._opened.responder.close()

    def _log(self, opened: Round, push: PullSender) -> Iterator[bool]:
        whole, complete = True, False
        while (read := push.next_read()) is not None:
            records, reached = opened.reader.read(read, 1, 1 << 20)
            message = push.read(read, records, reached)
            if message is None:
                continue
            entries = [decode_entry(record) for record in records]
            resumable = min(message.high, opened.target.get(message.origin, 0))
            complete = message.last
            adopt = opened.target if message.last and whole else None
            frame = EntriesReceived(message.origin, message.low, message.high, entries, resumable, adopt)
            whole = self.reader.apply(frame, self.source.origin, opened.target).whole and whole
            for entry in entries:
                self.ref.entry(entry.key)
            if not message.last:
                yield True
        if whole and not complete:
            self.reader.adopt_vector(opened.target, self.source.origin)
        if whole != self.ref.whole:
            raise Unlike(f"a scan that is {'' if whole else 'not '}whole")

    def _initiator(self, opened: ReconcileOffer, initiator: Initiator, resolver: Resolver) -> Iterator[bool]:
        asks = PendingQueries()
        asks.begin()
        while not initiator.done:
            while initiator.has_work:
                requests = initiator.step()
                if requests.queries:
                    for each in requests.queries:
                        asks.add_range(each)
                    opened.responder.query([(r.low, r.high, r.print, r.count) for r in requests.queries])
                if requests.fetch:
                    asks.add_fetch([key for key, _ in requests.fetch])
                    opened.responder.fetch([k for k, _ in requests.fetch], [d for _, d in requests.fetch])
                yield True
            found = opened.responder.step()
            if found is None:
                continue
            answer = asks.answer(message_of(found), LATEST)
            if isinstance(answer, RangeAnswered):
                initiator.answered(answer)
            elif isinstance(answer, RangeEntriesReceived):
                initiator.entries_received(answer)
        resolver.adopt_vector()
        self.reader.end_reconciliation()
        if resolver.whole != self.ref.whole:
            raise Unlike(f"a reconciliation that is {'' if resolver.whole else 'not '}whole")

    def _tell_reference(self, resolver: Resolver) -> None:
        settle, fill = resolver.resolve, resolver.take_entries

        def settled(low, high, theirs):  # type: ignore[no-untyped-def]
            every = {key[len(INDEX) :] for key in self.reader._state.rs.scan_keys(INDEX, following(INDEX))}
            resolved = settle(low, high, theirs)
            every |= {key for key, _ in theirs}
            self.ref.settle({key for key in every if key >= low and (not high or key < high)})
            assert resolved.next_key is None
            return resolved

        def filled(frame: RangeEntriesReceived) -> Merged:
            ours = {key[len(INDEX) :] for key in self.reader._state.rs.scan_keys(INDEX, following(INDEX))}
            merged = fill(frame)
            if frame.span is not None:
                low, high = frame.span
                ours -= {entry.key for _, entry in frame.entries}
                self.ref.settle({key for key in ours if key >= low and (not high or key < high)})
            self.ref.fill([entry.key for _, entry in frame.entries])
            return merged

        resolver.resolve = settled  # type: ignore[method-assign]
        resolver.take_entries = filled  # type: ignore[method-assign]


def play(nodes: int, steps: list[Step], off: str | None = None) -> str | None:
    """The promise that is broken in the end, if any. Raises Unlike."""
    duet = Duet(nodes, off)
    duet.play(steps)
    duet.settle()
    return duet.broken_promise()
