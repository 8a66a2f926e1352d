"""A whole session, in every phase, against a peer that says anything at any moment."""

from collections.abc import Callable

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_BYE_CHARACTERS, MAX_FRAME_BYTES, MAX_HANDSHAKE_FRAME_BYTES
from level_replicator.core.reconcile_rules import KeyRange
from level_replicator.protocol.events import (
    EntriesReceived,
    EntriesRequested,
    Event,
    PeerClosed,
    PeerIdentified,
    PeerVectorAdvanced,
    PullRequested,
    RangeAnswered,
    RangeEntriesReceived,
    RangesQueried,
    ReconcileStarted,
    RoundCompleted,
    SessionOpened,
    VectorReceived,
)
from level_replicator.protocol.messages import MAGIC, VERSION, ByeCode, Hello, Welcome, decode, encode
from level_replicator.protocol.session import Phase, Session
from tests.fuzz.decoders import refused
from tests.fuzz.saying import ACCEPTABLE, MAX_DRIFT_MS, PEER, US, WALL_MS, keys, saying
from tests.fuzz.source import Source

_OPENING = [encode(Hello(MAGIC, VERSION, PEER, b"peer")), encode(Welcome())]
_KEPT_AWAY = 6
"""Of the peer's bytes this many frames' worth arrive together, at most."""


class _Played:
    """What came of it: equal, however the bytes were cut."""

    def __init__(self) -> None:
        self.effects: list[Event] = []
        self.sent: list[bytes] = []
        self.error = ""
        self.phase = Phase.HELLO


def handshake(data: bytes) -> None:
    """From the first byte, as dialler and as acceptor, who may be slow to judge, and may refuse."""
    _whole_and_in_pieces(data, opened=False)


def session(data: bytes) -> None:
    """An open one, with a pull, a reconciliation or a comparison of ours under way, or none."""
    _whole_and_in_pieces(data, opened=True)


def _whole_and_in_pieces(data: bytes, *, opened: bool) -> None:
    piece = Source(data[:1]).byte()
    whole = _play(Source(data[1:]), opened=opened, piece=1 << 30)
    if piece & 0xC0 == 0xC0:
        cut = _play(Source(data[1:]), opened=opened, piece=piece & 0x3F or 1)
        assert (cut.effects, cut.sent, cut.error, cut.phase) == (whole.effects, whole.sent, whole.error, whole.phase)


def _play(source: Source, *, opened: bool, piece: int) -> _Played:
    played = _Played()
    how = source.byte()
    talk = Session(
        origin=US,
        instance=b"us",
        dialled=bool(how & 1),
        now_ms=0,
        max_drift_ms=MAX_DRIFT_MS,
        heartbeat_ms=1_000,
        read_only=bool(how & 2),
    )
    now_ms = 0
    accept = how & 0xC
    try:
        if opened:
            for frame in _OPENING:
                _receive(talk, frame, now_ms, piece, played, accept=0)
            assert talk.phase is Phase.OPEN
        while source.left and talk.phase is not Phase.CLOSED:
            if source.byte() & 7 == 7:
                now_ms += _we_do(talk, source, now_ms)
            else:
                heap = b"".join(saying(source) for _ in range(1 + source.below(_KEPT_AWAY)))
                _receive(talk, heap, now_ms, piece, played, accept=accept)
    except RemoteProtocolError as error:
        refused(error)
        played.error = str(error)
        talk.refuse(ByeCode(error.code), str(error))
        assert talk.phase is Phase.CLOSED
        assert list(talk.receive(b"\xff" * 9, now_ms, WALL_MS)) == []
    played.phase = talk.phase
    played.sent = talk.take_output(now_ms)
    for frame in played.sent:
        assert encode(decode(frame[4:])) == frame
        assert len(frame) <= 4 + (MAX_FRAME_BYTES if opened else MAX_HANDSHAKE_FRAME_BYTES)
    return played


def _receive(talk: Session, data: bytes, now_ms: int, piece: int, played: _Played, *, accept: int) -> None:
    for at in range(0, len(data), piece):
        for effect in talk.receive(data[at : at + piece], now_ms, WALL_MS):
            assert talk.phase is not Phase.CLOSED or isinstance(effect, PeerClosed)
            _effect_is_right(effect)
            played.effects.append(effect)
            if isinstance(effect, PeerIdentified) and accept != 4:
                if accept == 8:
                    talk.refuse(ByeCode.BUSY, "busy")
                else:
                    talk.welcome()
        if talk.phase is not Phase.OPEN:
            assert talk._frames.limit == MAX_HANDSHAKE_FRAME_BYTES or talk.phase is Phase.CLOSED
            assert len(talk._frames._buffer) < 4 + MAX_HANDSHAKE_FRAME_BYTES or talk.phase is Phase.CLOSED


def _we_do(talk: Session, source: Source, now_ms: int) -> int:
    """Something of our own. Milliseconds that pass with it."""
    if talk.phase is Phase.JUDGING and source.flag():
        talk.welcome()
    elif talk.phase is Phase.OPEN:
        source.pick(_OURS)(talk, source)
    passes = source.pick([0, 10, 500, 1_000, 4_001, 10_001])
    talk.tick(now_ms + passes)
    return passes


_OURS: list[Callable[[Session, Source], None]] = [
    lambda talk, source: talk.start_pull({PEER: 3}, [(PEER, 4, 5)], {}, 0),
    lambda talk, source: talk.compare(),
    lambda talk, source: talk.query_ranges([KeyRange(b"", b"", bytes(16), source.below(3), 1)]),
    lambda talk, source: talk.query_ranges(
        [KeyRange(b"a", b"c", bytes(16), 0, 1), KeyRange(b"c", b"", bytes(16), 9, 1)]
    ),
    lambda talk, source: _fetch(talk, keys(source)),
    lambda talk, source: talk.reconcile_done(),
    lambda talk, source: talk.pause_pull(),
    lambda talk, source: talk.query_vector(1),
    lambda talk, source: talk.send_vector_update({US: 7}),
    lambda talk, source: talk.reply_vector(1, {US: 7}),
]


def _fetch(talk: Session, wanted: list[bytes]) -> None:
    talk.fetch(wanted, [b""] * len(wanted))


def _effect_is_right(effect: Event) -> None:
    """What the floors above take for granted."""
    match effect:
        case EntriesReceived():
            assert all(0 < effect.low + 1 <= entry.stamp <= effect.high <= ACCEPTABLE for entry in effect.entries)
            _vector_is_right(effect.adopt or {})
        case RangeEntriesReceived():
            assert all(0 < o < 1 << 64 and 0 < entry.stamp <= ACCEPTABLE for o, entry in effect.entries)
        case RangeAnswered():
            assert effect.same == (effect.bounds is None and effect.rows is None)
        case PullRequested():
            _vector_is_right(effect.vector)
            _vector_is_right(effect.horizon)
            assert all(0 < of < 1 << 64 and 0 <= low < high < 1 << 64 for of, low, high in effect.have)
        case ReconcileStarted():
            _vector_is_right(effect.vector)
            _vector_is_right(effect.horizon)
            assert 0 <= effect.dropped <= ACCEPTABLE
        case PeerVectorAdvanced() | RoundCompleted() | VectorReceived():
            _vector_is_right(effect.vector)
        case RangesQueried():
            assert all(not high or low < high for low, high, _, _ in effect.ranges)
        case EntriesRequested():
            assert len(effect.keys) == len(effect.digests)
        case PeerClosed():
            assert len(effect.text) <= MAX_BYE_CHARACTERS
        case PeerIdentified():
            assert 0 < effect.origin < 1 << 64
        case SessionOpened():
            pass


def _vector_is_right(vector: dict[int, int]) -> None:
    assert all(0 < of < 1 << 64 and 0 < stamp <= ACCEPTABLE for of, stamp in vector.items())
