"""A session that receives arbitrary bytes gives events or a RemoteProtocolError, and no other exception."""

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.entry import encode_entry
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.version_vector import encode_vector
from level_replicator.protocol.events import Event, PeerIdentified, PullRequested, SessionOpened
from level_replicator.protocol.messages import (
    MAGIC,
    VERSION,
    Bye,
    Entries,
    Hello,
    Histories,
    Message,
    Ping,
    RoundEnd,
    RoundStart,
    StartPull,
    VectorQuery,
    VectorReply,
    VectorUpdate,
    Welcome,
    encode,
)
from level_replicator.protocol.session import Phase, Session

WALL_MS = 1_000_000
U64 = st.integers(0, (1 << 64) - 1)
STAMPS = st.integers(0, 40) | U64
VECTORS = st.dictionaries(STAMPS, STAMPS, max_size=3).map(encode_vector) | st.binary(max_size=40)
RECORDS = st.builds(
    lambda stamp, key, value: encode_entry(stamp, key, value)[0],
    STAMPS,
    st.binary(max_size=3),
    st.none() | st.binary(max_size=3),
) | st.binary(max_size=30)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, st.sampled_from([MAGIC, ""]), st.sampled_from([VERSION, 0]), U64, st.binary(max_size=80)),
    st.just(Welcome()),
    st.builds(StartPull, VECTORS, st.lists(st.tuples(STAMPS, STAMPS, STAMPS), max_size=3)),
    st.builds(RoundStart, VECTORS),
    st.builds(Entries, STAMPS, STAMPS, STAMPS, st.lists(RECORDS, max_size=3), st.booleans()),
    st.just(RoundEnd()),
    st.builds(VectorUpdate, VECTORS),
    st.just(Ping()),
    st.builds(VectorQuery, st.integers(-(1 << 63), (1 << 64) - 1)),
    st.builds(VectorReply, U64, VECTORS),
    st.builds(Bye, st.integers(-5, 20), st.text(max_size=5)),
    st.builds(Histories, st.lists(st.tuples(STAMPS, VECTORS), max_size=3), VECTORS, st.booleans()),
)
RECORD = encode_entry(7, b"key", b"value")[0]
VECTOR = encode_vector({2: 7})
OPENING = [encode(Hello(MAGIC, VERSION, 2, b"instance")), encode(Welcome())]
CONVERSATION = [
    *OPENING,
    *map(
        encode,
        [
            StartPull(VECTOR, [(2, 1, 3)]),
            RoundStart(VECTOR),
            Entries(2, 3, 7, [RECORD], False),
            RoundEnd(),
            RoundStart(b""),
            Entries(2, 3, 7, [RECORD], True),
            VectorUpdate(VECTOR),
            VectorQuery(1),
            VectorReply(1, VECTOR),
            Ping(),
            Bye(0, "the end"),
        ],
    ),
]


def new_session(*, dialled: bool) -> Session:
    session = Session(origin=1, instance=b"me", dialled=dialled, now_ms=0, max_drift_ms=60_000, heartbeat_ms=1_000)
    session.query_vector(1)
    return session


def effects(session: Session, data: bytes) -> Iterator[Event]:
    for effect in session.receive(data, 0, WALL_MS):
        if isinstance(effect, PeerIdentified):
            session.welcome()
        yield effect


def feed(data: bytes, *, dialled: bool, piece: int = 1 << 20) -> Session:
    """Pass the bytes to a session in pieces. It must give events or a RemoteProtocolError."""
    session = new_session(dialled=dialled)
    with contextlib.suppress(RemoteProtocolError):
        for at in range(0, len(data), piece):
            list(effects(session, data[at : at + piece]))
    session.take_output(0)
    return session


@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_bytes(data: bytes, dialled: bool) -> None:
    feed(data, dialled=dialled)


@given(st.lists(MESSAGES, max_size=12), st.booleans(), st.booleans())
def test_any_messages_in_any_order(messages: list[Message], dialled: bool, opened: bool) -> None:
    feed(b"".join([*(OPENING if opened else []), *map(encode, messages)]), dialled=dialled)


@given(st.data(), st.booleans())
def test_a_valid_conversation_with_bytes_changed(data: st.DataObject, dialled: bool) -> None:
    stream = bytearray(b"".join(CONVERSATION))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(stream) - 1))
        stream[at] ^= data.draw(st.integers(1, 255))
    feed(bytes(stream), dialled=dialled, piece=data.draw(st.integers(1, 300)))


@given(st.permutations(CONVERSATION), st.booleans())
def test_a_valid_conversation_out_of_order(frames: list[bytes], dialled: bool) -> None:
    feed(b"".join([*OPENING, *frames]), dialled=dialled)


@given(st.lists(st.sampled_from(CONVERSATION), max_size=30), st.booleans())
def test_frames_of_a_valid_conversation_left_out_and_repeated(frames: list[bytes], dialled: bool) -> None:
    feed(b"".join(frames), dialled=dialled)


@pytest.mark.parametrize("dialled", [False, True])
@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_the_valid_conversation_is_valid(dialled: bool, piece: int) -> None:
    session, stream = new_session(dialled=dialled), b"".join(CONVERSATION)
    seen: list[Event] = []
    for at in range(0, len(stream), piece):
        seen += effects(session, stream[at : at + piece])
    assert any(isinstance(effect, PullRequested) for effect in seen)
    assert dialled or any(isinstance(effect, SessionOpened) for effect in seen)
    assert session.phase is Phase.CLOSED
    assert session.pull.completed == 2
