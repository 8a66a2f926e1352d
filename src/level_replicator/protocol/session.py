"""One connection, as a state machine without I/O: bytes and ticks in, bytes and events out.

Pass received bytes to `receive` and handle each event before advancing the iterator; take the frames to send with
`take_output`. `_handle_handshake` and `_handle_open` list which messages each phase allows. A message that breaks the
rules raises RemoteProtocolError, a wrong call of this node LocalProtocolError; in both cases the session is over.
"""

from collections.abc import Iterator
from enum import Enum
from typing import assert_never

from level_replicator.core.epochs import Branches, encode_pairs
from level_replicator.core.epochs import Histories as OfOrigins
from level_replicator.core.errors import LocalProtocolError, RemoteProtocolError
from level_replicator.core.hlc import latest_acceptable
from level_replicator.core.limits import (
    HANDSHAKE_TIMEOUT_MS,
    HISTORIES_PER_FRAME,
    LARGE_INDEX_ROWS,
    MAX_BYE_CHARACTERS,
    MAX_FRAME_BYTES,
    MAX_RESUME_INTERVALS,
    SILENCE_IN_HEARTBEATS,
)
from level_replicator.core.reconcile_rules import KeyRange
from level_replicator.core.version_vector import Vector, decode_origins, decode_vector, encode_vector, newer
from level_replicator.protocol.events import (
    CompareRequested,
    Event,
    PeerClosed,
    PeerIdentified,
    PeerReconciled,
    PeerVectorAdvanced,
    PullPaused,
    SessionOpened,
    VectorReceived,
    VectorRequested,
)
from level_replicator.protocol.framing import FrameReader
from level_replicator.protocol.messages import (
    MAGIC,
    VERSION,
    AnyMessage,
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
    RangeEntries,
    RangeEqual,
    RangeQuery,
    RangeRows,
    RangeSplit,
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
    plain,
)
from level_replicator.protocol.pull import PullReceiver, refuse_future
from level_replicator.protocol.push import PullSender
from level_replicator.protocol.range_queries import PendingQueries
from level_replicator.protocol.validation import (
    checked_digest,
    checked_fetch,
    checked_hello,
    checked_histories,
    checked_range_query,
    checked_reconcile_start,
    checked_start_pull,
)


class Phase(Enum):
    """Phases of a session."""

    HELLO = "hello"
    """The peer's Hello is awaited."""
    INTRODUCED = "introduced"
    """Dialling side only: Hello has arrived, the peer's Welcome is awaited, since the acceptor decides first."""
    JUDGING = "judging"
    """This node is to decide: `welcome` or `refuse`."""
    WELCOME = "welcome"
    """Acceptor only: this node has accepted; the peer's Welcome is awaited."""
    OPEN = "open"
    CLOSED = "closed"


class Session:
    """State of one connection. Times are milliseconds of any clock that does not jump, except `wall_ms`: since 1970."""

    def __init__(
        self,
        *,
        origin: int,
        instance: bytes,
        dialled: bool,
        now_ms: int,
        max_drift_ms: int,
        heartbeat_ms: int,
        read_only: bool = False,
    ) -> None:
        self.phase = Phase.HELLO
        self.dialled = dialled
        self.read_only = read_only
        """Whether the peer gets our changes and this node takes none from it."""
        self.peer_takes_nothing = False
        """Whether this node is read-only to the peer."""
        self.peer: PeerIdentified | None = None
        self.pull = PullReceiver()
        self.push = PullSender()
        self.queries = PendingQueries()
        self.refusal: Bye | None = None
        self.peer_digest = b""
        """Digest of the peer's histories at its Welcome."""
        self.peer_horizon: Vector = {}
        """The horizon that the peer named when its last pull began."""
        self._hello = Hello(MAGIC, VERSION, origin, instance, heartbeat_ms)
        self._max_drift_ms = max_drift_ms
        self._heartbeat_ms = heartbeat_ms
        self._ping_after_ms = heartbeat_ms
        self._began_ms = now_ms
        self._heard_ms = now_ms
        self._sent_ms = now_ms
        self._comparing = False
        self._round_vector: Vector | None = None
        self._queried_tokens: set[int] = set()
        self._frames = FrameReader()
        self._output: list[bytes] = []
        if dialled:
            self.send(self._hello)

    # -- sending

    def send(self, message: Message) -> None:
        if self.phase is not Phase.CLOSED:
            self._output.append(encode(message))

    def take_output(self, now_ms: int) -> list[bytes]:
        """Return the frames to send now, in order."""
        output = self._output
        if output:
            self._output = []
            self._sent_ms = now_ms
        return output

    def welcome(self, histories: bytes = b"") -> bool:
        """Accept the peer, with the digest of our histories. Returns True if this opens the session (dialling side
        only). Raises LocalProtocolError outside the phase JUDGING."""
        if self.phase is not Phase.JUDGING:
            raise LocalProtocolError(f"welcome in phase {self.phase.value}")
        self.send(Welcome(self.read_only, histories))
        if self.dialled:
            self._open()
        else:
            self.phase = Phase.WELCOME
        return self.dialled

    def refuse(self, code: ByeCode, text: str) -> None:
        """Send a Bye with the reason, and end the session. Nothing is received or sent after it."""
        if self.phase is Phase.CLOSED:
            return
        self.refusal = Bye(int(code), text[:MAX_BYE_CHARACTERS])
        self.send(self.refusal)
        self.phase = Phase.CLOSED

    def start_pull(
        self,
        vector: Vector,
        have: list[tuple[int, int, int]],
        horizon: Vector,
        dropped: int,
        rows: int = LARGE_INDEX_ROWS,
        *,
        reconcile: bool = False,
    ) -> None:
        """Begin our pull, in place of any earlier one. The arguments are those of StartPull."""
        self.queries.end_pull()
        number = self.pull.next_pull(vector)
        known = (encode_vector(vector), have[:MAX_RESUME_INTERVALS], encode_vector(horizon), dropped)
        self.send(StartPull(*known, number, rows, reconcile))

    def pause_pull(self) -> None:
        """Ask the peer to send nothing more of our pull until the next `start_pull`."""
        self.queries.end_pull()
        self.pull.next_pull()
        self.send(PausePull())

    def histories(self, histories: OfOrigins, branches: Branches) -> None:
        """Send histories of origins, in as many messages as they need."""
        pairs = encode_pairs(list(branches.items()))
        encoded = [(origin, encode_pairs(history)) for origin, history in histories.items()]
        for place in range(0, max(1, len(encoded)), HISTORIES_PER_FRAME):
            last = place + HISTORIES_PER_FRAME >= len(encoded)
            self.send(Histories(encoded[place : place + HISTORIES_PER_FRAME], pairs, last))

    def compare(self) -> None:
        """Ask for a comparison: a reconciliation that changes nothing."""
        self._comparing = True
        self.send(CompareStart())

    def query_ranges(self, ranges: list[KeyRange]) -> None:
        """Ask the peer to compare its rows in these ranges with ours."""
        for each in ranges:
            self.queries.add_range(each)
        self.send(RangeQuery([(each.low, each.high, each.print, each.count) for each in ranges]))

    def fetch(self, keys: list[bytes], digests: list[bytes]) -> None:
        """Ask the peer for the entries of these keys. `digests`: of each key the digest of our value, or b""."""
        self.queries.add_fetch(keys)
        self.send(Fetch(keys, digests))

    def reconcile_done(self) -> None:
        """End our reconciliation: the peer may release its snapshot."""
        self.queries.end()
        self.send(ReconcileDone())

    def send_vector_update(self, vector: Vector) -> None:
        self.send(VectorUpdate(encode_vector(vector)))

    def query_vector(self, token: int) -> None:
        self._queried_tokens.add(token)
        self.send(VectorQuery(token))

    @property
    def unanswered(self) -> int:
        """Vector queries that the peer has not answered. It ends the session above MAX_WAITING_VECTOR_QUERIES."""
        return len(self._queried_tokens)

    def reply_vector(self, token: int, vector: Vector) -> None:
        self.send(VectorReply(token, encode_vector(vector)))

    # -- receiving

    @property
    def round_vector(self) -> Vector:
        """The vector that the peer was known to cover when the round under way began: its snapshot is not newer."""
        return self.push.peer_vector if self._round_vector is None else self._round_vector

    def receive(self, data: bytes, now_ms: int, wall_ms: int) -> Iterator[Event]:
        """Yield the events of the bytes that arrived. Raises RemoteProtocolError at the first
        violation of the protocol."""
        if self._over():
            return
        self._heard_ms = now_ms
        latest = latest_acceptable(wall_ms, self._max_drift_ms)
        for body in self._frames.feed(data):
            message = decode(body)
            event = self._handle_open(message, latest) if self.phase is Phase.OPEN else self._handle_handshake(message)
            if event is not None:
                yield event
            if self._over():
                return  # later frames are ignored

    def _over(self) -> bool:
        return self.phase is Phase.CLOSED

    def _handle_handshake(self, message: AnyMessage) -> Event | None:
        """Handle a message before both sides have accepted. Raises RemoteProtocolError for one that the phase does not
        allow."""
        match self.phase, message:
            case Phase.HELLO, Hello():
                return self._on_hello(message)
            case ((Phase.INTRODUCED | Phase.WELCOME), Welcome()):
                return self._on_welcome(message)
            case _, Bye():
                return self._on_bye(message)
            case _:
                raise self._unexpected(message)

    def _handle_open(self, message: AnyMessage, latest: int) -> Event | None:
        """Handle a message after both sides have accepted. `latest`: the newest acceptable stamp."""
        match message:
            case Entries():  # the most frequent message
                self._refuse_changes()
                return self.pull.entries(message, latest)
            case Ping():
                return None
            case VectorUpdate():
                return self._peer_has(decode_vector(message.vector), latest, feeding=False)
            case RoundStart():
                return self._on_round_start(message, latest)
            case RoundEnd():
                self._refuse_changes()
                return self.pull.round_ended()
            case RangeEqual() | RangeSplit() | RangeRows() | RangeEntries():
                return self.queries.answer(message, latest)
            case RangeQuery():
                return checked_range_query(message)
            case Fetch():
                return checked_fetch(message)
            case StartPull():
                return self._on_start_pull(message, latest)
            case PausePull():
                return PullPaused()
            case Histories():
                return checked_histories(message)
            case VectorQuery():
                return VectorRequested(message.token)
            case VectorReply():
                return self._on_vector_reply(message, latest)
            case ReconcileStart():
                return self._on_reconcile_start(message, latest)
            case ReconcileDone():
                return PeerReconciled()
            case CompareStart():
                return CompareRequested()
            case Bye():
                return self._on_bye(message)
            case Hello() | Welcome():
                raise self._unexpected(message)
            case _:
                assert_never(message)

    def _unexpected(self, message: AnyMessage) -> RemoteProtocolError:
        return RemoteProtocolError(f"unexpected {type(message).__name__} in phase {self.phase.value}", ByeCode.PROTOCOL)

    def tick(self, now_ms: int) -> None:
        """Enforce time limits and send heartbeats. Call it a few times a heartbeat.

        Raises RemoteProtocolError if the peer is silent for too long."""
        if self.phase is Phase.CLOSED:
            return
        if self.phase is not Phase.OPEN:
            if now_ms - self._began_ms > HANDSHAKE_TIMEOUT_MS:
                raise RemoteProtocolError(
                    f"the handshake was not complete within {HANDSHAKE_TIMEOUT_MS} ms", ByeCode.TIMEOUT
                )
            return
        if now_ms - self._heard_ms > SILENCE_IN_HEARTBEATS * self._heartbeat_ms:
            raise RemoteProtocolError(f"the peer was silent for {now_ms - self._heard_ms} ms", ByeCode.TIMEOUT)
        if now_ms - self._sent_ms >= self._ping_after_ms:
            self.send(Ping())

    # -- handlers, one for each message

    def _open(self) -> None:
        self.phase = Phase.OPEN
        self._frames.limit = MAX_FRAME_BYTES

    def _on_hello(self, message: Hello) -> Event | None:
        self.peer = checked_hello(message)
        # each side expects its own heartbeat of the other, so the shorter interval of the two is used
        self._ping_after_ms = min(self._heartbeat_ms, message.heartbeat_ms)
        if self.dialled:
            self.phase = Phase.INTRODUCED
            return None
        self.send(self._hello)
        self.phase = Phase.JUDGING
        return self.peer

    def _on_welcome(self, message: Welcome) -> Event | None:
        self.peer_takes_nothing = message.read_only
        self.peer_digest = checked_digest(message)
        if self.dialled:
            self.phase = Phase.JUDGING
            return self.peer
        self._open()
        return SessionOpened()

    def _on_start_pull(self, message: StartPull, latest: int) -> Event:
        event = checked_start_pull(message, latest)
        self.push = PullSender(self.push.peer_vector, message.pull, event.vector)
        self._peer_covers(event.vector)
        self.peer_horizon = event.horizon
        return event

    def _peer_has(self, vector: Vector, latest: int, *, feeding: bool) -> Event:
        refuse_future(max(vector.values(), default=0), latest)
        self._peer_covers(vector)
        if feeding:
            self._round_vector = None
        return PeerVectorAdvanced(vector, feeding)

    def _peer_covers(self, vector: Vector) -> None:
        if self.pull.target is not None and self._round_vector is None and newer(vector, self.push.peer_vector):
            self._round_vector = dict(self.push.peer_vector)  # which it was when the round under way began
        self.push.peer_has(vector)

    def _refuse_changes(self) -> None:
        """Raises RemoteProtocolError if the peer is read-only: no pull from it was ever started."""
        if self.read_only:
            raise RemoteProtocolError("the peer is read-only here, and sent changes")

    def _on_round_start(self, message: RoundStart, latest: int) -> Event:
        self._refuse_changes()
        vector = decode_vector(message.vector)
        whole = self.pull.begin_round(vector, latest, message.pull, decode_origins(message.missing))
        return self._peer_has(vector if whole is None else whole, latest, feeding=whole is not None)

    def _on_reconcile_start(self, message: ReconcileStart, latest: int) -> Event | None:
        event = checked_reconcile_start(message, latest)
        compare_only = event.compare_only
        self.push.peer_has(event.vector)
        if not compare_only:
            self._refuse_changes()
        if self.queries.open or (compare_only and not self._comparing):
            raise RemoteProtocolError("ReconcileStart that was not requested")
        if compare_only:
            self._comparing = False
        elif message.pull != self.pull.number:
            return PeerVectorAdvanced(event.vector, feeding=False)
        else:
            self.pull.abandon()
        self.queries.begin(compare_only=compare_only)
        return event

    def _on_vector_reply(self, message: VectorReply, latest: int) -> Event:
        if message.token not in self._queried_tokens:
            raise RemoteProtocolError(f"VectorReply with unknown token {message.token}")
        vector = decode_vector(message.vector)
        refuse_future(max(vector.values(), default=0), latest)
        self._queried_tokens.remove(message.token)
        return VectorReceived(message.token, vector)

    def _on_bye(self, message: Bye) -> Event:
        self.phase = Phase.CLOSED
        return PeerClosed(message.code, plain(message.text, MAX_BYE_CHARACTERS))
