"""When a pull is begun again: later each time while nothing changes, and never at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from random import Random
from unittest.mock import patch

import pytest

from level_replicator.core.entry import encode_entry
from level_replicator.core.limits import PULL_RETRY_CAP_MS, PULL_RETRY_FIRST_MS, STALL_MS
from level_replicator.core.version_vector import encode_vector
from level_replicator.protocol.messages import (
    MAGIC,
    VERSION,
    Entries,
    Hello,
    Ping,
    RangeQuery,
    RoundEnd,
    RoundStart,
    StartPull,
    VectorUpdate,
    Welcome,
)
from level_replicator.protocol.session import Session
from level_replicator.replication import peer_connection, pusher
from level_replicator.replication.peer_connection import PeerConnection
from level_replicator.replication.peers import Peer
from level_replicator.replication.pull_backoff import PullBackoff, RetryReason
from tests.conformance.protocol.stage import HEARTBEAT_MS, Actor, End, Stage


def _pair() -> tuple[Stage, Actor, Actor, PeerConnection, PeerConnection]:
    """A has dialled B. The links of A and of B."""
    stage = Stage()
    a, b = stage.pair()
    b.write(**{f"key{number}": "of B" for number in range(5)})
    left, right = stage.connect(a, b)
    stage.settle()
    assert left.link is not None
    assert right.link is not None
    stage.lines.clear()
    return stage, a, b, left.link, right.link


def _reconcile_again(stage: Stage, link: PeerConnection) -> None:
    """B says to A, whom it has served from its log, that it had better reconcile."""
    assert link.send_queue is not None
    link.send_queue.must_reconcile = True
    link.host.has_output(link)
    stage.settle()


def _said(stage: Stage, what: str) -> int:
    return sum(what in line for line in stage.lines)


def test_a_reconciliation_that_would_repeat_one_that_changed_nothing_waits() -> None:
    stage, _, _, at_a, at_b = _pair()
    _reconcile_again(stage, at_b)
    assert (_said(stage, "ReconcileDone"), _said(stage, "PausePull")) == (1, 0)
    _reconcile_again(stage, at_b)
    assert (_said(stage, "ReconcileDone"), _said(stage, "PausePull")) == (1, 1)
    waits = at_a.puller.waits_for
    assert waits is not None
    assert waits.startswith("a retry in 0.")
    assert waits.endswith(" s, after a reconciliation that changed nothing")
    stage.pass_time(PULL_RETRY_FIRST_MS // 2 - 10)
    stage.settle()
    assert _said(stage, "A → B  StartPull") == 0
    stage.pass_time(PULL_RETRY_FIRST_MS)
    stage.settle()
    assert _said(stage, "A → B  StartPull") == 1
    assert at_a.puller.waits_for is None
    _reconcile_again(stage, at_b)
    _reconcile_again(stage, at_b)
    assert _wait_ms(stage, at_a) > PULL_RETRY_FIRST_MS, "a round without anything in it is no change"


def _wait_ms(stage: Stage, link: PeerConnection) -> int:
    """How long it takes until the pull that was put off has begun again, and what comes of it is over."""
    began_ms = stage.now_ms
    while link.puller.waits_for is not None:
        stage.pass_time(10)
        stage.settle()
        assert stage.now_ms - began_ms <= PULL_RETRY_CAP_MS + 20
    return stage.now_ms - began_ms


def test_the_wait_doubles_until_something_changes() -> None:
    """B's floor names an origin that nobody has: whenever A pulls it is to reconcile."""
    stage, _, b, at_a, _ = _pair()
    b.store._state.floor = {99: 5}

    def pull() -> None:
        stage.lines.clear()
        at_a.start_pull()
        stage.settle()

    pull()
    assert _said(stage, "ReconcileDone") == 1
    for number in range(6):
        pull()
        assert (_said(stage, "ReconcileDone"), _said(stage, "PausePull")) == (0, 1)
        wait_ms = _wait_ms(stage, at_a)
        assert _said(stage, "ReconcileDone") == 1
        assert PULL_RETRY_FIRST_MS * 2**number / 2 <= wait_ms <= PULL_RETRY_FIRST_MS * 2**number + 10
    stage.lines.clear()
    b.write(key0="changed")
    stage.settle()
    assert (_said(stage, "ReconcileDone"), _said(stage, "PausePull")) == (1, 0)
    pull()
    assert (_said(stage, "ReconcileDone"), _said(stage, "PausePull")) == (1, 0), "the last one changed something"
    pull()
    assert _wait_ms(stage, at_a) <= PULL_RETRY_FIRST_MS + 10, "it begins with the first wait again"


@pytest.mark.parametrize("who", ["A", "B"])
def test_it_does_not_wait_when_either_side_has_changed_since(who: str) -> None:
    stage, a, b, _, at_b = _pair()
    _reconcile_again(stage, at_b)
    (a if who == "A" else b).write(new="1")
    stage.settle()
    stage.lines.clear()
    _reconcile_again(stage, at_b)
    assert (_said(stage, "ReconcileDone"), _said(stage, "PausePull")) == (1, 0)


def test_the_wait_is_remembered_over_connections_and_not_prolonged_by_them() -> None:
    stage, a, b, at_a, at_b = _pair()
    b.store._state.floor = {99: 5}  # which nobody has: whenever A pulls it is to reconcile
    _reconcile_again(stage, at_b)
    began_ms = stage.now_ms
    for _ in range(3):
        at_a.lost("the connection was lost")
        at_b.lost("the connection was lost")
        left, right = stage._ends("A", "B")
        left.link = at_a = a.coordinator.connect(left, at_a.peer)
        right.link = at_b = b.coordinator.connect(right, Peer("A", dialled=False))
        stage.lines.clear()
        stage.settle()
        assert (_said(stage, "ReconcileDone"), _said(stage, "PausePull")) == (0, 1)
        stage.pass_time(10)
    _wait_ms(stage, at_a)
    assert _said(stage, "ReconcileDone") == 1
    assert stage.now_ms - began_ms <= PULL_RETRY_FIRST_MS + 10


def test_pulls_that_wait_for_another_reconciliation_begin_when_it_has_ended_and_not_before() -> None:
    stage = Stage()
    a, b, c = stage.actor("A"), stage.actor("B"), stage.actor("C")
    for peer in (b, c):
        peer.write(**{f"{peer.name}{number}": "1" for number in range(40)})
        peer.truncate()
    a.write(own="1")
    a.store.adopt_vector({9: 1}, 9)  # it knows somebody, so this is no bulk load
    _, b_to_a = stage.connect(a, b)
    while not _said(stage, "B → A  ReconcileStart"):
        stage.settle(1)
    b_to_a.full = True  # B's answers wait
    at_c = stage.connect(a, c)[0].link
    stage.settle()
    assert at_c is not None
    assert _said(stage, "C → A  ReconcileStart") == 1
    assert at_c.puller.waits_for == "another reconciliation of this node to end"
    wants = _said(stage, "A → C  StartPull")
    for _ in range(STALL_MS // 1_000 + 10):
        stage.pass_time(1_000)
        stage.settle()
    assert _said(stage, "A → C  StartPull") == wants
    assert not at_c.peer.stalled, "it is the fault of B"
    assert a.coordinator.by_origin[b.store.origin].peer.stalled
    b_to_a.full = False
    assert b_to_a.link is not None
    b_to_a.link.drained()
    messages = 0
    while at_c.puller.waits_for == "another reconciliation of this node to end":
        stage.settle(1)
        messages += 1
        assert messages < 100
    stage.now_ms += STALL_MS // 20
    a.coordinator.tick()
    assert not at_c.peer.stalled, "C has just begun"
    stage.settle()
    assert not a.coordinator.by_origin[b.store.origin].peer.stalled
    assert _said(stage, "A → C  StartPull") == wants + 1
    assert a.contents() == {**b.contents(), **c.contents(), "own": "1"}
    assert all(link.puller.waits_for is None for link in a.coordinator.connections)


class _Slow:
    """A, which B cannot give one value, and C, which sends A a frame now and then.

    `stale`: A has missed deletions that B has forgotten, so it reconciles with B alone."""

    def __init__(self, *, stale: bool) -> None:
        self.stage = Stage()
        self.a, self.b, self.c = (self.stage.actor(name) for name in "ABC")
        self.a.write(deleted="1", kept="2")
        self.b.write(first="0")  # A knows it, so this is no bulk load
        ends = self.stage.connect(self.a, self.b)
        self.stage.settle()
        self.stage.cut(ends)
        self.b.write(deleted=None, damaged="3")
        if stale:
            self.b.drop_tombstones()
        self.b.truncate()
        self.b.store._state.db.put(b"damaged", b"?")
        self.c.write(**{f"c{number}": "1" for number in range(20)})

    def connect_c(self) -> None:
        """Its round is under way when this returns."""
        self._c_to_a = self.stage.connect(self.a, self.c)[1]
        while self.a.store.origin not in self.c.coordinator.by_origin or not _said(self.stage, "C → A  Entries"):
            self.stage.settle(1)
        self._c_to_a.full = True
        self.stage.settle()
        assert self.c.store.origin not in self.a.store.vector

    def connect_b(self) -> PeerConnection:
        link = self.stage.connect(self.a, self.b)[0].link
        assert link is not None
        self.stage.settle()
        return link

    def pass_seconds(self, seconds: int, *, c_sends_every_s: int = 10) -> None:
        for second in range(seconds):
            if second % c_sends_every_s == 0:
                self._c_to_a.full = False
                assert self._c_to_a.link is not None
                self._c_to_a.link.drained()
                self.stage.settle(1)
                self._c_to_a.full = True
            self.stage.pass_time(1_000)
            self.stage.settle()


@pytest.fixture
def small_frames() -> Iterator[None]:
    with patch.object(pusher, "FRAME_TARGET_ENTRIES", 1), patch.object(peer_connection, "FRAMES_PER_TURN", 1):
        yield


@pytest.mark.usefixtures("small_frames")
def test_a_reconciliation_that_fails_again_and_again_lets_a_pull_from_another_peer_end() -> None:
    slow = _Slow(stale=True)
    at_b = slow.connect_b()
    slow.connect_c()
    slow.pass_seconds(300)
    assert slow.a.contents().keys() >= {f"c{number}" for number in range(20)}
    assert slow.a.store.vector[slow.c.store.origin] == slow.c.store.vector[slow.c.store.origin]
    assert at_b.puller.waits_for is not None
    assert _said(slow.stage, "B → A  RangeEntries") >= 3


@pytest.mark.usefixtures("small_frames")
def test_the_first_attempt_does_not_wait_for_other_pulls() -> None:
    slow = _Slow(stale=True)
    slow.connect_c()
    slow.connect_b()
    assert _said(slow.stage, "B → A  RangeEntries") == 1


@pytest.mark.usefixtures("small_frames")
def test_nor_does_a_retry_that_ends_no_other_pull() -> None:
    slow = _Slow(stale=False)
    slow.connect_b()
    slow.connect_c()
    slow.b.store._state.db.put(b"damaged", b"3")
    slow.pass_seconds(70)
    assert slow.c.store.origin not in slow.a.store.vector
    assert slow.a.contents()["damaged"] == "3"


@pytest.mark.usefixtures("small_frames")
def test_nor_does_one_beside_a_pull_that_stands_still() -> None:
    slow = _Slow(stale=True)
    slow.connect_b()
    slow.connect_c()
    slow.b.store._state.db.put(b"damaged", b"3")
    slow.pass_seconds(180, c_sends_every_s=1_000)
    assert slow.c.store.origin not in slow.a.store.vector
    assert slow.a.contents()["damaged"] == "3"


def test_only_a_pull_that_was_put_off_for_doubt_begins_when_the_peer_catches_up() -> None:
    stage, a, b, at_a, at_b = _pair()
    _reconcile_again(stage, at_b)
    _reconcile_again(stage, at_b)
    assert at_a.puller.waits_for is not None
    at_b.session.send_vector_update(dict(b.store.vector))
    at_b.flush()
    stage.settle()
    a.coordinator.tick()
    stage.settle()
    assert _said(stage, "A → B  StartPull") == 0


def test_a_read_only_peer_that_has_forgotten_deletions_of_its_own_is_served() -> None:
    """We never pull from it, so there is nothing that it could wait for; and what is old it takes all the same."""
    stage = Stage()
    a, b = stage.pair()

    def connect() -> tuple[End, End]:
        ends = stage._ends("A", "B")
        ends[0].link = a.coordinator.connect(ends[0], Peer("B", dialled=True, read_only=True))
        ends[1].link = link = b.coordinator.connect(ends[1], Peer("A", dialled=False))
        for _ in range(50):
            stage.settle(1)
            assert "missed deletions" not in (link.puller.waits_for or "")
        return ends

    a.write(first="1")
    ends = connect()
    b.write(own="1")
    stage.cut(ends)
    a.write(old="2")
    b.write(own=None)
    b.drop_tombstones()
    _, right = connect()
    a.write(later="3")
    stage.settle()
    assert b.contents() == a.contents() == {"first": "1", "old": "2", "later": "3"}
    assert b.store.vector[a.store.origin] == a.store.vector[a.store.origin]
    assert right.link is not None
    assert right.link.puller.waits_for is None
    stage.cut((ends[0], right))
    a.write(another="4")
    a.truncate()
    b.write(own="5")
    b.write(own=None)
    b.drop_tombstones()
    connect()
    assert b.contents() == a.contents(), "also where it reconciles"


def test_waits_double_up_to_a_cap_and_differ() -> None:
    backoff, other = PullBackoff(Random(1)), PullBackoff(Random(2))
    waits = [(backoff.put_off(RetryReason.DOUBT, 0), other.put_off(RetryReason.DOUBT, 0)) for _ in range(12)]
    for number, both in enumerate(waits):
        step_ms = min(PULL_RETRY_FIRST_MS * 2**number, PULL_RETRY_CAP_MS)
        assert all(step_ms // 2 <= wait_ms <= step_ms for wait_ms in both)
        assert both[0] != both[1]
    backoff.changed_nothing(7)
    assert backoff.not_before(7) > backoff.not_before(8) == 0
    backoff.reset()
    assert backoff.not_before(7) == 0
    assert backoff.put_off(RetryReason.DOUBT, 0) <= PULL_RETRY_FIRST_MS


# -- paused, interrupted and partial pulls


def test_a_paused_pull_gets_nothing_until_it_is_resumed() -> None:
    stage, a, b, at_a, _ = _pair()
    at_a.pause_pull()
    at_a.pause_pull()
    stage.settle()
    assert _said(stage, "A → B  PausePull") == 1
    b.write(new="1")
    stage.settle()
    assert _said(stage, "B → A  Entries") == 0
    assert at_a.puller.waits_for == "another reconciliation of this node to end"
    a.write(own="2")
    stage.settle()
    assert b.contents()["own"] == "2", "the other direction is not paused"
    at_a.resume_pull()
    at_a.resume_pull()
    stage.settle()
    assert _said(stage, "A → B  StartPull") == 1
    assert a.contents()["new"] == "1"
    assert at_a.puller.waits_for is None


def test_a_pause_cancels_a_retry() -> None:
    stage, _, _, at_a, at_b = _pair()
    _reconcile_again(stage, at_b)
    _reconcile_again(stage, at_b)
    at_a.pause_pull()
    stage.pass_time(PULL_RETRY_CAP_MS)
    stage.settle()
    assert _said(stage, "A → B  StartPull") == 0


@pytest.mark.usefixtures("small_frames")
def test_an_interrupted_round_is_resumed_with_the_same_peer_only() -> None:
    stage = Stage()
    a, b = stage.pair()
    a.write(own="1")
    a.store.adopt_vector({9: 1}, 9)  # it knows another origin, so this is no bulk load
    b.write(**{f"key{number}": "of B" for number in range(5)})
    ends = stage.connect(a, b)
    while _said(stage, "B → A  Entries") < 2:
        stage.settle(1)
    stage.cut(ends)
    (applied,) = a.store.resumable(b.store.origin)
    assert b.store.origin not in a.store.vector, "a part of a round moves no vector"

    def start_pull(connect: Callable[[], object]) -> StartPull:
        with patch.object(Session, "send", autospec=True, side_effect=Session.send) as send:
            connect()
            stage.settle()
        sent = [call.args[1] for call in send.call_args_list if call.args[0] in _sessions(a)]
        (message,) = [message for message in sent if isinstance(message, StartPull)]
        return message

    def puppet() -> None:
        end = stage.puppet(a)
        end.say(Hello(MAGIC, VERSION, 77, b"puppet", HEARTBEAT_MS))
        end.say(Welcome(histories=a.store.histories_digest()))

    assert start_pull(puppet).have == []
    for connection in list(a.coordinator.connections):
        connection.lost("the connection was lost")
    stage.lines.clear()
    assert start_pull(lambda: stage.connect(a, b)).have == [applied]
    assert _said(stage, "B → A  Entries") == 3, "the rest of the five"
    assert a.contents() == b.contents()
    assert a.store.resumable(b.store.origin) == []


def _sessions(actor: Actor) -> list[Session]:
    return [connection.session for connection in actor.coordinator.connections]


def _doubtful_round(stage: Stage, puppet: End, pull: int) -> None:
    """A round, of a peer that does not know A, with a put that may be older than a deletion that A has forgotten."""
    puppet.say(RoundStart(encode_vector({77: 5}), pull, (1).to_bytes(8, "big")))
    puppet.say(Entries(77, 0, 5, [encode_entry(5, b"old", b"1")[0]], True))
    stage.settle()


def test_a_partial_pull_is_repeated_later_each_time_and_at_once_when_the_peer_has_caught_up() -> None:
    stage = Stage()
    a = stage.actor("A")
    a.write(key="1")
    a.write(key=None)
    puppet = _puppet(stage, a)
    (connection,) = a.coordinator.connections
    a.drop_tombstones()
    pull = 1
    for number in range(3):
        _doubtful_round(stage, puppet, pull)
        assert "old" not in a.contents()
        assert 77 not in a.store.vector, "a vector is adopted only with a whole round"
        waits = connection.puller.waits_for
        assert waits is not None
        assert "a pull that left out values" in waits
        wait_ms = _wait_for_pull(stage)
        assert PULL_RETRY_FIRST_MS * 2**number / 2 <= wait_ms <= PULL_RETRY_FIRST_MS * 2**number + 10
        pull += 2  # a pause has a number, too
    _doubtful_round(stage, puppet, pull)
    puppet.say(VectorUpdate(encode_vector(dict(a.store.vector))))
    stage.settle()
    assert _wait_for_pull(stage) <= 10, "the peer has pulled our deletions"
    puppet.say(RoundStart(encode_vector({77: 5}), pull + 2))
    puppet.say(Entries(77, 0, 5, [encode_entry(5, b"old", b"1")[0]], True))
    stage.settle()
    assert a.contents()["old"] == "1"
    assert a.store.vector[77] == 5
    assert connection.puller.waits_for is None
    assert not connection.puller._backoff.retries


def _wait_for_pull(stage: Stage) -> int:
    """Milliseconds until A begins its next pull."""
    stage.lines.clear()
    began_ms = stage.now_ms
    while not _said(stage, "A → ?  StartPull"):
        stage.pass_time(10)
        stage.settle()
        assert stage.now_ms - began_ms <= PULL_RETRY_CAP_MS
    return stage.now_ms - began_ms


# -- stalls


def _puppet(stage: Stage, a: Actor) -> End:
    """Somebody who has told A that it has more than A, and says nothing of it."""
    puppet = stage.puppet(a)
    puppet.say(Hello(MAGIC, VERSION, 77, b"puppet", HEARTBEAT_MS))
    puppet.say(Welcome())
    puppet.say(StartPull(encode_vector({77: 5}), []))
    stage.settle()
    return puppet


def _wait(stage: Stage, puppet: End, seconds: int) -> None:
    for _ in range(seconds):
        puppet.say(Ping())
        stage.pass_time(1_000)
        stage.settle()


def test_a_peer_of_which_nothing_comes_for_a_minute_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="level_replicator")
    stage = Stage()
    a = stage.actor("A")
    puppet = _puppet(stage, a)
    (link,) = a.coordinator.connections
    _wait(stage, puppet, STALL_MS // 1_000 - 10)
    assert not link.peer.stalled
    assert link.puller.waits_for == "the first round of the peer's log to end"
    assert not caplog.records
    _wait(stage, puppet, 20)
    assert link.peer.stalled
    assert STALL_MS <= link.puller.waiting_ms <= STALL_MS + 15_000
    _wait(stage, puppet, 120)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "nothing of ? (origin 000000000000004d) was applied for 60 s: this node waits for the first round of the"
        " peer's log to end"
    )
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="level_replicator"):
        puppet.say(RoundStart(encode_vector({77: 5}), 1))
        puppet.say(RoundEnd())
        stage.settle()
    assert not link.peer.stalled
    assert (link.puller.waits_for, link.puller.waiting_ms) == (None, 0)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "is over" in record.getMessage()
    puppet.say(VectorUpdate(encode_vector({77: 6})))
    _wait(stage, puppet, 5)
    assert link.puller.waits_for == "changes that the peer has"
    caplog.clear()
    _wait(stage, puppet, STALL_MS // 1_000 + 5)
    assert len(caplog.records) == 1, "once for each stall"


def test_a_peer_whose_changes_come_from_elsewhere_does_not_stand_still() -> None:
    """It is always ahead by something, though never for long by the same."""
    stage = Stage()
    a = stage.actor("A")
    puppet = _puppet(stage, a)
    (link,) = a.coordinator.connections
    puppet.say(RoundStart(encode_vector({77: 5}), 1))
    puppet.say(RoundEnd())
    for stamp in range(6, 400):
        puppet.say(VectorUpdate(encode_vector({77: stamp})))
        _wait(stage, puppet, 1)
        a.store.adopt_vector({77: stamp - 3}, 78)
        assert link.puller.waits_for == "changes that the peer has"
        assert not link.peer.stalled


def test_a_reconciliation_that_goes_on_does_not_stand_still_but_one_that_is_repeated_does() -> None:
    stage = Stage()
    a, b = stage.pair()
    b.write(**{f"key{number}": "of B" for number in range(500)})
    b.truncate()
    b.store._state.db.put(b"key3", b"damaged")
    link = stage.connect(a, b)[0].link
    assert link is not None
    stage.settle()
    assert len(a.contents()) == 499
    began_ms = stage.now_ms
    while not link.peer.stalled:
        assert stage.now_ms - began_ms <= 2 * STALL_MS
        waits = link.puller.waits_for
        assert waits is not None
        assert waits.endswith("the peer could not send damaged entries (run verify with repair on the peer)")
        stage.pass_time(1_000)
        stage.settle()
    assert _said(stage, "ReconcileStart") > 5, "each is answered, and nothing comes of it"
    assert stage.now_ms - began_ms >= STALL_MS
    b.store._state.db.put(b"key3", b"of B")
    for _ in range(PULL_RETRY_CAP_MS // 1_000):
        stage.pass_time(1_000)
        stage.settle()
    assert not link.peer.stalled
    assert a.contents() == b.contents()
    assert link.puller.waits_for is None


def test_who_waits_for_a_peer_that_reconciles_with_us_says_so() -> None:
    stage = Stage()
    a = stage.actor("A")
    a.write(key="1")
    a.write(key=None)
    puppet = stage.puppet(a)
    puppet.say(Hello(MAGIC, VERSION, 77, b"puppet", HEARTBEAT_MS))
    puppet.say(Welcome())
    puppet.say(StartPull(encode_vector({77: 5}), []))
    stage.settle()
    a.drop_tombstones()
    (link,) = a.coordinator.connections
    assert link.puller.waits_for == "the peer's reconciliation with this node to end (the peer missed deletions)"
    puppet.say(StartPull(encode_vector({77: 5}), []))
    for _ in range(10):
        puppet.say(RangeQuery([(b"", b"", b"", 1)]))
        _wait(stage, puppet, 10)
        assert not link.peer.stalled
    _wait(stage, puppet, STALL_MS // 1_000)
    assert link.peer.stalled, "it does not continue"
    link.lost("the connection was lost")
    assert not link.peer.stalled
