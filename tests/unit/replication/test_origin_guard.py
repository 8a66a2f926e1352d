"""The checks of histories and forgotten writes, before anything of a peer is applied."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from level_replicator.core.entry import decode_entry, encode_context, encode_entry
from level_replicator.core.limits import MIN_ORIGIN_CHANGE_INTERVAL_MS
from level_replicator.protocol.events import EntriesReceived, HistoriesReceived
from level_replicator.protocol.messages import ByeCode
from level_replicator.replication.origin_guard import OriginGuard
from level_replicator.replication.peers import Peer, PeerEvent
from level_replicator.storage.store import Store
from tests.harness.memory_engine import MemoryEngine
from tests.harness.virtual_disk import VirtualDisk

FORKED = 50
EPOCH = 51
START = 10
HISTORY = ((EPOCH, START),)


class _Connection:
    """A connection that records how it ends."""

    def __init__(self, *, read_only: bool = False) -> None:
        self.peer = Peer("?", dialled=False, read_only=read_only)
        self.histories: Any = SimpleNamespace(peer_known={}, peer_epochs=0, agreed=False)
        self.read_only = read_only
        self.codes: list[ByeCode] = []

    def end(self, code: ByeCode, text: str) -> None:
        self.codes.append(code)


class _Guard:
    """The guard of a node with one write, and two connections."""

    def __init__(self, *, read_only: bool = False) -> None:
        self.now_ms = 0
        self.events: list[PeerEvent] = []
        numbers = count(1)
        self.store = Store(
            MemoryEngine(VirtualDisk(), "db"),
            MemoryEngine(VirtualDisk(), "rs"),
            now_ms=lambda: 1_000,
            random_bytes=lambda length: next(numbers).to_bytes(length, "big"),
            boot=b"boot",
        )
        self.store.writer.write([(b"key", b"1")], False)
        self.origin = self.store.origin
        self.connection, self.other = _Connection(read_only=read_only), _Connection()
        self.guard = OriginGuard(
            self.store, [self.connection, self.other], now_ms=lambda: self.now_ms, report=self.events.append
        )

    @property
    def newest(self) -> int:
        return self.store.vector[self.store.origin]

    def claim(self) -> bool:
        """Check a vector with a write of this node that it does not remember."""
        return self.guard.accepts_vector(self.connection, {self.store.origin: self.store.clock.last + 1})


def test_a_vector_that_this_node_remembers_is_accepted() -> None:
    node = _Guard()
    assert node.guard.accepts_vector(node.connection, {node.origin: node.newest, 77: 5})
    assert node.guard.accepts_resume_intervals(node.connection, [(node.origin, 0, node.newest), (77, 0, 1 << 40)])
    assert node.connection.codes == []


def test_forgotten_writes_change_the_origin_and_end_all_connections() -> None:
    node = _Guard()
    assert not node.claim()
    assert node.store.origin != node.origin
    assert node.connection.codes == node.other.codes == [ByeCode.ORIGIN_CHANGED]
    assert [event.kind for event in node.events] == ["new_origin"]


def test_resume_intervals_and_frames_show_forgotten_writes_too() -> None:
    node = _Guard()
    assert not node.guard.accepts_resume_intervals(node.connection, [(node.origin, 0, node.newest + 1)])
    assert node.store.origin != node.origin
    node = _Guard()
    stamp = node.newest + 1
    frame = EntriesReceived(node.origin, 0, stamp, [], stamp, None)
    assert not node.guard.accepts_entries(node.connection, frame)
    assert node.store.origin != node.origin


def test_a_second_claim_soon_after_ends_only_its_connection() -> None:
    node = _Guard()
    node.claim()
    origin = node.store.origin
    node.now_ms = MIN_ORIGIN_CHANGE_INTERVAL_MS - 1
    assert not node.claim()
    assert node.store.origin == origin
    assert node.connection.codes[1:] == [ByeCode.DUPLICATE_ORIGIN]
    assert node.other.codes[1:] == []
    node.now_ms = MIN_ORIGIN_CHANGE_INTERVAL_MS
    assert not node.claim()
    assert node.store.origin != origin


def test_a_read_only_peer_changes_no_origin() -> None:
    node = _Guard(read_only=True)
    assert not node.claim()
    assert node.store.origin == node.origin
    assert node.connection.codes == [ByeCode.DUPLICATE_ORIGIN]
    assert node.other.codes == []


# -- forks


def _entries(stamp: int, *, adopt: dict[int, int] | None = None) -> EntriesReceived:
    entry = decode_entry(encode_entry(stamp, b"key", b"value", encode_context({}), b"")[0])
    return EntriesReceived(FORKED, 0, stamp, [entry], stamp, adopt)


def test_a_stamp_above_an_epoch_that_the_peer_does_not_know_is_a_fork() -> None:
    node = _Guard()
    node.store.learn_histories({FORKED: HISTORY}, {})
    assert node.guard.agrees_on_vector(node.connection, {FORKED: START})
    assert not node.guard.agrees_on_vector(node.connection, {FORKED: START + 1})
    assert node.store.branches == {EPOCH: START}
    assert node.connection.codes == node.other.codes == [ByeCode.ORIGIN_CHANGED]
    assert node.events == [], "the origin of this node is not forked"


def test_a_later_epoch_is_a_branch_from_its_own_start() -> None:
    node = _Guard()
    node.store.learn_histories({FORKED: (*HISTORY, (EPOCH + 1, START + 10))}, {})
    node.connection.histories.peer_known = {FORKED: HISTORY}
    assert node.guard.agrees_on_vector(node.connection, {FORKED: START + 10})
    assert not node.guard.agrees_on_vector(node.connection, {FORKED: START + 11})
    assert node.store.branches == {EPOCH + 1: START + 10}


def test_a_peer_that_knows_the_epoch_agrees() -> None:
    node = _Guard()
    node.store.learn_histories({FORKED: HISTORY}, {})
    node.guard.histories_received(node.connection, HistoriesReceived({FORKED: HISTORY}, {}, True))
    assert node.connection.histories.agreed
    assert node.guard.agrees_on_vector(node.connection, {FORKED: START + 1})
    assert node.connection.codes == []


@pytest.mark.parametrize("adopt", [None, {FORKED: START + 1}])
def test_entries_and_the_vector_that_comes_with_them_are_checked(adopt: dict[int, int] | None) -> None:
    node = _Guard()
    node.store.learn_histories({FORKED: HISTORY}, {})
    frame = _entries(START + 1) if adopt is None else _entries(START, adopt=adopt)
    assert node.guard.accepts_entries(node.connection, _entries(START))
    assert not node.guard.accepts_entries(node.connection, frame)
    assert node.store.branches == {EPOCH: START}


def test_a_read_only_peer_renames_no_origin() -> None:
    node = _Guard(read_only=True)
    node.store.learn_histories({FORKED: HISTORY}, {})
    assert node.guard.agrees_on_vector(node.connection, {FORKED: START + 1})
    node.guard.histories_received(node.connection, HistoriesReceived({}, {EPOCH: START}, True))
    assert node.connection.codes == [ByeCode.DUPLICATE_ORIGIN]
    assert node.store.branches == {}
    assert node.other.codes == []
