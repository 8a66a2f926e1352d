"""Phases of a session: which message each allows, and the limits of each message."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from level_replicator.core.epochs import encode_pairs
from level_replicator.core.errors import LocalProtocolError, RemoteProtocolError
from level_replicator.core.limits import (
    HANDSHAKE_TIMEOUT_MS,
    MAX_BYE_CHARACTERS,
    MAX_FETCH_KEYS,
    MAX_RANGE_QUERIES,
    SILENCE_IN_HEARTBEATS,
)
from level_replicator.core.version_vector import encode_vector
from level_replicator.protocol.events import (
    Event,
    PeerClosed,
    PeerIdentified,
    PeerVectorAdvanced,
    PullRequested,
    ReconcileStarted,
    SessionOpened,
    VectorReceived,
)
from level_replicator.protocol.messages import (
    MAGIC,
    VERSION,
    Bye,
    ByeCode,
    CompareStart,
    Entries,
    Fetch,
    Hello,
    Histories,
    Message,
    PausePull,
    Ping,
    RangeEqual,
    RangeQuery,
    ReconcileDone,
    ReconcileStart,
    RoundEnd,
    RoundStart,
    StartPull,
    VectorQuery,
    VectorReply,
    VectorUpdate,
    Welcome,
    decode,
    encode,
)
from level_replicator.protocol.session import Phase, Session

WALL_MS = 1_700_000_000_000
HEARTBEAT_MS = 1_000
HELLO = Hello(MAGIC, VERSION, 2, b"peer", HEARTBEAT_MS)


def make(*, dialled: bool, read_only: bool = False) -> Session:
    return Session(
        origin=1,
        instance=b"us",
        dialled=dialled,
        now_ms=0,
        max_drift_ms=60_000,
        heartbeat_ms=HEARTBEAT_MS,
        read_only=read_only,
    )


def receive(session: Session, *messages: Message, now_ms: int = 0) -> list[Event]:
    return list(session.receive(b"".join(map(encode, messages)), now_ms, WALL_MS))


def sent(session: Session, now_ms: int = 0) -> list[Message]:
    return [decode(frame[4:]) for frame in session.take_output(now_ms)]


def opened(*, read_only: bool = False) -> Session:
    session = make(dialled=False, read_only=read_only)
    receive(session, HELLO)
    session.welcome()
    receive(session, Welcome())
    sent(session)
    return session


def names(messages: Iterable[Message]) -> list[str]:
    return [type(message).__name__ for message in messages]


def test_the_acceptor_decides_first_and_is_open_after_the_diallers_welcome() -> None:
    session = make(dialled=False)
    assert sent(session) == []
    assert receive(session, HELLO) == [PeerIdentified(2, b"peer")]
    assert session.phase is Phase.JUDGING
    assert session.welcome() is False
    assert names(sent(session)) == ["Hello", "Welcome"]
    assert receive(session, Welcome(read_only=True)) == [SessionOpened()]
    assert session.phase is Phase.OPEN
    assert session.peer_takes_nothing


def test_the_dialler_decides_after_the_acceptors_welcome_and_is_open_with_its_own() -> None:
    session = make(dialled=True)
    assert names(sent(session)) == ["Hello"]
    assert receive(session, HELLO) == []
    assert receive(session, Welcome()) == [PeerIdentified(2, b"peer")]
    assert session.welcome() is True
    assert session.phase is Phase.OPEN


def test_welcome_is_a_wrong_call_outside_judging() -> None:
    with pytest.raises(LocalProtocolError, match="phase hello"):
        make(dialled=False).welcome()


ANY: list[Message] = [
    HELLO,
    Welcome(),
    StartPull(b"", []),
    RoundStart(b""),
    Entries(2, 0, 1, [], False),
    RoundEnd(),
    VectorUpdate(b""),
    Ping(),
    VectorQuery(1),
    VectorReply(1, b""),
    ReconcileStart(b"", b"", 0, 0),
    RangeQuery([]),
    RangeEqual(),
    Fetch([], []),
    ReconcileDone(),
    CompareStart(),
    PausePull(),
    Histories([]),
]


@pytest.mark.parametrize("message", ANY, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in (Phase.OPEN, Phase.CLOSED)])
def test_before_it_is_open_only_the_handshake_is_allowed(phase: Phase, message: Message) -> None:
    allowed = {Phase.HELLO: Hello, Phase.INTRODUCED: Welcome, Phase.WELCOME: Welcome}
    if isinstance(message, allowed.get(phase, Bye)):
        return
    session = make(dialled=phase is Phase.INTRODUCED)
    if phase is not Phase.HELLO:
        receive(session, HELLO)
    if phase is Phase.WELCOME:
        session.welcome()
    assert session.phase is phase
    with pytest.raises(RemoteProtocolError, match=f"{type(message).__name__} in phase {phase.value}"):
        receive(session, message)


@pytest.mark.parametrize("message", [HELLO, Welcome()], ids=["Hello", "Welcome"])
def test_a_second_handshake_is_refused(message: Message) -> None:
    with pytest.raises(RemoteProtocolError, match="in phase open"):
        receive(opened(), message)


@pytest.mark.parametrize("phase", [Phase.HELLO, Phase.OPEN])
def test_a_bye_ends_the_session_in_each_phase(phase: Phase) -> None:
    session = make(dialled=False) if phase is Phase.HELLO else opened()
    events = receive(session, Bye(9, "disk\x1b[0m full"), VectorUpdate(b""))
    assert events == [PeerClosed(9, "disk?[0m full")]
    assert session.phase is Phase.CLOSED
    session.send_vector_update({})
    assert sent(session) == []


def test_a_refusal_is_cut_to_its_limit_and_nothing_is_received_after_it() -> None:
    session = opened()
    session.refuse(ByeCode.BUSY, "x" * 10_000)
    (bye,) = sent(session)
    assert isinstance(bye, Bye)
    assert len(bye.text) == MAX_BYE_CHARACTERS
    assert receive(session, Ping()) == []


REFUSED_HELLOS = {
    "protocol name": Hello("other", VERSION, 2, b"peer"),
    "version 99": Hello(MAGIC, 99, 2, b"peer"),
    "origin 0": Hello(MAGIC, VERSION, 0, b"peer"),
    "instance of 0 bytes": Hello(MAGIC, VERSION, 2, b""),
    "heartbeat of 1 ms": Hello(MAGIC, VERSION, 2, b"peer", 1),
}


@pytest.mark.parametrize("text", REFUSED_HELLOS)
def test_a_hello_that_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        receive(make(dialled=False), REFUSED_HELLOS[text])


FUTURE = (WALL_MS + 60_001) << 16
REFUSED: dict[str, Message] = {
    "0 ranges": RangeQuery([]),
    f"{MAX_RANGE_QUERIES + 1} ranges": RangeQuery([(b"", b"", b"", 1)] * (MAX_RANGE_QUERIES + 1)),
    "empty range": RangeQuery([(b"b", b"b", b"", 1)]),
    "0 keys": Fetch([], []),
    f"{MAX_FETCH_KEYS + 1} keys": Fetch([b"k"] * (MAX_FETCH_KEYS + 1), [b""] * (MAX_FETCH_KEYS + 1)),
    "with 0 digests": Fetch([b"k"], []),
    "invalid interval": StartPull(b"", [(2, 5, 5)]),
    "-1 rows": StartPull(b"", [], rows=-1),
    "with origin 0": Histories([(0, b"")]),
    "two histories": Histories([(2, encode_pairs([(1, 1)]))] * 2),
    "unknown token 7": VectorReply(7, b""),
    "horizon above its vector": ReconcileStart(b"", encode_vector({5: 1}), 0, 1),
    "was not requested": ReconcileStart(b"", b"", 0, 0),
    "further ahead": VectorUpdate(encode_vector({2: FUTURE})),
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_message_that_is_refused_when_open(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        receive(opened(), REFUSED[text])


@pytest.mark.parametrize(
    "message", [RoundStart(b"", 1), Entries(2, 0, 1, [b""], False), RoundEnd(), ReconcileStart(b"", b"", 0, 1)]
)
def test_a_read_only_peer_may_send_no_changes(message: Message) -> None:
    with pytest.raises(RemoteProtocolError, match="read-only"):
        receive(opened(read_only=True), message)


def test_a_stamp_of_the_future_is_a_matter_of_clocks() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        receive(opened(), StartPull(encode_vector({2: FUTURE}), []))
    assert caught.value.code == ByeCode.CLOCK


def test_a_pull_request_carries_what_the_peer_knows() -> None:
    session = opened()
    (event,) = receive(session, StartPull(encode_vector({3: 7}), [(3, 8, 9)], encode_vector({3: 2}), 2, 1, 5))
    assert event == PullRequested({3: 7}, [(3, 8, 9)], {3: 2}, 5, False)
    assert session.push.peer_vector == {3: 7}
    assert session.peer_horizon == {3: 2}


def test_the_reply_to_a_vector_query_is_accepted_once() -> None:
    session = opened()
    session.query_vector(7)
    assert session.unanswered == 1
    assert receive(session, VectorReply(7, encode_vector({2: 3}))) == [VectorReceived(7, {2: 3})]
    with pytest.raises(RemoteProtocolError, match="unknown token"):
        receive(session, VectorReply(7, b""))


def test_a_comparison_is_accepted_only_after_it_was_requested() -> None:
    session = opened()
    session.compare()
    (event,) = receive(session, ReconcileStart(encode_vector({2: 3}), b"", 0, 0))
    assert event == ReconcileStarted({2: 3}, {}, 0, compare_only=True)


def test_a_reconciliation_of_an_earlier_pull_only_tells_the_vector() -> None:
    session = opened()
    session.start_pull({}, [], {}, 0)
    session.start_pull({}, [], {}, 0)
    (event,) = receive(session, ReconcileStart(encode_vector({2: 3}), b"", 0, 1))
    assert event == PeerVectorAdvanced({2: 3}, feeding=False)


def test_a_handshake_has_a_time_limit() -> None:
    session = make(dialled=False)
    session.tick(HANDSHAKE_TIMEOUT_MS)
    with pytest.raises(RemoteProtocolError, match="handshake was not complete"):
        session.tick(HANDSHAKE_TIMEOUT_MS + 1)


def test_a_ping_is_sent_when_nothing_else_was_for_a_heartbeat() -> None:
    session = opened()
    session.tick(HEARTBEAT_MS - 1)
    assert sent(session) == []
    session.tick(HEARTBEAT_MS)
    assert names(sent(session, HEARTBEAT_MS)) == ["Ping"]


def test_a_silent_peer_is_dead_after_four_heartbeats() -> None:
    session = opened()
    receive(session, Ping(), now_ms=500)
    session.tick(500 + SILENCE_IN_HEARTBEATS * HEARTBEAT_MS)
    with pytest.raises(RemoteProtocolError) as caught:
        session.tick(501 + SILENCE_IN_HEARTBEATS * HEARTBEAT_MS)
    assert caught.value.code == ByeCode.TIMEOUT


def test_the_shorter_heartbeat_of_the_two_is_used() -> None:
    session = make(dialled=False)
    receive(session, Hello(MAGIC, VERSION, 2, b"peer", 200))
    session.welcome()
    receive(session, Welcome())
    sent(session)
    session.tick(200)
    assert names(sent(session)) == ["Ping"]
