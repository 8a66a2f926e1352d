"""One connection, as a state machine without I/O: bytes and ticks in, bytes and events out.

Pass received bytes to `receive` and handle each event before advancing the iterator; what is to be sent collects in
`take_output`. Every transition is in the table _HANDLERS. A peer that
breaks the rules raises RemoteProtocolError, a wrong call of ours LocalProtocolError; in both cases the session is over.
"""

from collections.abc import Callable, Iterator
from enum import Enum

from level_replicator.core.epochs import Branches, History, decode_branches, decode_history, encode_pairs
from level_replicator.core.epochs import Histories as OfOrigins
from level_replicator.core.errors import LocalProtocolError, RemoteProtocolError
from level_replicator.core.hlc import latest_acceptable
from level_replicator.core.limits import (
    HANDSHAKE_TIMEOUT_MS,
    HISTORIES_PER_FRAME,
    MANY_ROWS,
    MAX_BYE_CHARACTERS,
    MAX_DIGEST_BYTES,
    MAX_FETCH_KEYS,
    MAX_FRAME_BYTES,
    MAX_HEARTBEAT_S,
    MAX_RANGE_QUERIES,
    MAX_RESUME_INTERVALS,
    MIN_HEARTBEAT_S,
    SILENCE_IN_HEARTBEATS,
)
from level_replicator.core.version_vector import Vector, covers, decode_origins, decode_vector, encode_vector, newer
from level_replicator.protocol.events import (
    CompareRequested,
    EntriesRequested,
    Event,
    HistoriesReceived,
    PeerClosed,
    PeerIdentified,
    PeerReconciled,
    PeerVectorAdvanced,
    PullPaused,
    PullRequested,
    RangesQueried,
    ReconcileStarted,
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
    RangeReply,
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


class Phase(Enum):
    """Where a session is."""

    HELLO = "hello"
    """Waiting for the peer's Hello."""
    INTRODUCED = "introduced"
    """Dialler only: the peer said who it is; its Welcome is awaited, since who accepts a connection judges first."""
    JUDGING = "judging"
    """Ours to accept the peer."""
    WELCOME = "welcome"
    """Acceptor only: we have accepted; the peer's Welcome is awaited."""
    OPEN = "open"
    CLOSED = "closed"


class Session:
    """Of one connection. Times are milliseconds of any clock that does not jump, except `wall_ms`: since 1970."""

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
        """Of the peer: it gets our changes, and we take none from it."""
        self.peer_takes_nothing = False
        """We are read-only to the peer."""
        self.peer: PeerIdentified | None = None
        self.pull = PullReceiver()
        self.push = PullSender()
        self.queries = PendingQueries()
        self.refusal: Bye | None = None
        self.peer_digest = b""
        """Of the peer's histories, when it accepted us."""
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
        self._asked: set[int] = set()
        self._frames = FrameReader()
        self._output: list[bytes] = []
        if dialled:
            self.send(self._hello)

    # -- what goes out

    def send(self, message: Message) -> None:
        if self.phase is not Phase.CLOSED:
            self._output.append(encode(message))

    def take_output(self, now_ms: int) -> list[bytes]:
        """The frames to send now, in order."""
        output = self._output
        if output:
            self._output = []
            self._sent_ms = now_ms
        return output

    def welcome(self, histories: bytes = b"") -> bool:
        """Accepts the peer, and tells it the digest of our histories. True when the session is open with that, which is
        so for the dialler."""
        if self.phase is not Phase.JUDGING:
            raise LocalProtocolError(f"welcome in phase {self.phase.value}")
        self.send(Welcome(self.read_only, histories))
        if self.dialled:
            self._open()
        else:
            self.phase = Phase.WELCOME
        return self.dialled

    def refuse(self, code: ByeCode, text: str) -> None:
        """Says why, and ends the session. Nothing is received or sent after it."""
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
        rows: int = MANY_ROWS,
        *,
        reconcile: bool = False,
    ) -> None:
        """Begins our pull, or begins it anew. The arguments are those of the message."""
        self.queries.end_pull()
        number = self.pull.renew(vector)
        known = (encode_vector(vector), have[:MAX_RESUME_INTERVALS], encode_vector(horizon), dropped)
        self.send(StartPull(*known, number, rows, reconcile))

    def pause_pull(self) -> None:
        """Nothing more of our pull until the next `start_pull`."""
        self.queries.end_pull()
        self.pull.renew()
        self.send(PausePull())

    def histories(self, histories: OfOrigins, branches: Branches) -> None:
        """Tell histories of origins, in as many messages as it takes."""
        pairs = encode_pairs(list(branches.items()))
        encoded = [(origin, encode_pairs(history)) for origin, history in histories.items()]
        for place in range(0, max(1, len(encoded)), HISTORIES_PER_FRAME):
            last = place + HISTORIES_PER_FRAME >= len(encoded)
            self.send(Histories(encoded[place : place + HISTORIES_PER_FRAME], pairs, last))

    def compare(self) -> None:
        """Ask for a comparison: a reconciliation that takes nothing over."""
        self._comparing = True
        self.send(CompareStart())

    def query_ranges(self, ranges: list[tuple[bytes, bytes, bytes, int]]) -> None:
        for low, high, _, count in ranges:
            self.queries.queried(low, high, count)
        self.send(RangeQuery(ranges))

    def fetch(self, keys: list[bytes], digests: list[bytes]) -> None:
        self.queries.fetched(list(keys))
        self.send(Fetch(keys, digests))

    def reconcile_done(self) -> None:
        """Our reconciliation is over."""
        self.queries.end()
        self.send(ReconcileDone())

    def send_vector_update(self, vector: Vector) -> None:
        self.send(VectorUpdate(encode_vector(vector)))

    def query_vector(self, token: int) -> None:
        self._asked.add(token)
        self.send(VectorQuery(token))

    @property
    def unanswered(self) -> int:
        """Vector queries that the peer has not answered. It hangs up above MAX_WAITING_VECTOR_QUERIES."""
        return len(self._asked)

    def reply_vector(self, token: int, vector: Vector) -> None:
        self.send(VectorReply(token, encode_vector(vector)))

    # -- what comes in

    @property
    def round_vector(self) -> Vector:
        """What the peer is known to have covered when the round under way began: its snapshot is not newer."""
        return self.push.peer_vector if self._round_vector is None else self._round_vector

    def receive(self, data: bytes, now_ms: int, wall_ms: int) -> Iterator[Event]:
        """Yield the events of the bytes that arrived. Raises RemoteProtocolError at the first thing that is against the
        rules."""
        if self._over():
            return
        self._heard_ms = now_ms
        latest = latest_acceptable(wall_ms, self._max_drift_ms)
        for body in self._frames.feed(data):
            message = decode(body)
            handler = _HANDLERS[self.phase].get(type(message))
            if handler is None:
                name = type(message).__name__
                raise RemoteProtocolError(f"{name} in phase {self.phase.value}", ByeCode.PROTOCOL)
            effect = handler(self, message, latest)
            if effect is not None:
                yield effect
            if self._over():
                return  # before the next frame is looked at

    def _over(self) -> bool:
        return self.phase is Phase.CLOSED

    def tick(self, now_ms: int) -> None:
        """To be called now and then, a few times a heartbeat. Raises RemoteProtocolError for a peer that is silent."""
        if self.phase is Phase.CLOSED:
            return
        if self.phase is not Phase.OPEN:
            if now_ms - self._began_ms > HANDSHAKE_TIMEOUT_MS:
                raise RemoteProtocolError("no handshake within the time limit", ByeCode.TIMEOUT)
            return
        if now_ms - self._heard_ms > SILENCE_IN_HEARTBEATS * self._heartbeat_ms:
            raise RemoteProtocolError(f"silent for {now_ms - self._heard_ms} ms", ByeCode.TIMEOUT)
        if now_ms - self._sent_ms >= self._ping_after_ms:
            self.send(Ping())

    # -- handlers, one a message

    def _open(self) -> None:
        self.phase = Phase.OPEN
        self._frames.limit = MAX_FRAME_BYTES

    def _on_hello(self, message: Hello, _latest: int) -> Event | None:
        if message.magic != MAGIC:
            raise RemoteProtocolError("the peer does not speak this protocol", ByeCode.PROTOCOL)
        if message.version != VERSION:
            raise RemoteProtocolError(
                f"the peer speaks version {message.version} of the protocol, this one {VERSION}: upgrade the older",
                ByeCode.VERSION,
            )
        if not 0 < message.origin < 1 << 64 or not 0 < len(message.instance) <= 64:
            raise RemoteProtocolError("a Hello without a sound origin and instance")
        if not MIN_HEARTBEAT_S * 1000 <= message.heartbeat_ms <= MAX_HEARTBEAT_S * 1000:
            raise RemoteProtocolError(f"a heartbeat of {message.heartbeat_ms} ms")
        # each listens for its own heartbeat, so the more impatient of the two sets the pace
        self._ping_after_ms = min(self._heartbeat_ms, message.heartbeat_ms)
        self.peer = PeerIdentified(message.origin, message.instance)
        if self.dialled:
            self.phase = Phase.INTRODUCED
            return None
        self.send(self._hello)
        self.phase = Phase.JUDGING
        return self.peer

    def _on_welcome(self, message: Welcome, _latest: int) -> Event | None:
        self.peer_takes_nothing = message.read_only
        if len(message.histories) > MAX_DIGEST_BYTES:
            raise RemoteProtocolError(f"a digest of histories of {len(message.histories)} bytes")
        self.peer_digest = message.histories
        if self.dialled:
            self.phase = Phase.JUDGING
            return self.peer
        self._open()
        return SessionOpened()

    def _on_start_pull(self, message: StartPull, latest: int) -> Event:
        vector, horizon = decode_vector(message.vector), decode_vector(message.horizon)
        refuse_future(max([message.dropped, *vector.values(), *horizon.values()]), latest)
        if len(message.have) > MAX_RESUME_INTERVALS:
            raise RemoteProtocolError("too many intervals of an earlier scan")
        if any(not 0 < o < 1 << 64 or not 0 <= low < high < 1 << 64 for o, low, high in message.have):
            raise RemoteProtocolError("an interval of an earlier scan that is none")
        self.push = PullSender(self.push.peer_vector, message.pull, vector)
        self._peer_covers(vector)
        if message.rows < 0:
            raise RemoteProtocolError("fewer than no rows of an index")
        self.peer_horizon = horizon
        return PullRequested(vector, message.have, horizon, message.rows, message.reconcile)

    def _on_vector_update(self, message: VectorUpdate, latest: int) -> Event:
        return self._peer_has(decode_vector(message.vector), latest, feeding=False)

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
        """Of a peer that was never asked for any."""
        if self.read_only:
            raise RemoteProtocolError("changes from a peer that is read-only here")

    def _on_round_start(self, message: RoundStart, latest: int) -> Event:
        self._refuse_changes()
        vector = decode_vector(message.vector)
        whole = self.pull.begin(vector, latest, message.pull, decode_origins(message.missing))
        return self._peer_has(vector if whole is None else whole, latest, feeding=whole is not None)

    def _on_entries(self, message: Entries, latest: int) -> Event | None:
        self._refuse_changes()
        return self.pull.entries(message, latest)

    def _on_round_end(self, _message: RoundEnd, _latest: int) -> Event | None:
        self._refuse_changes()
        return self.pull.round_ended()

    def _on_pause_pull(self, _message: PausePull, _latest: int) -> Event:
        return PullPaused()

    def _on_histories(self, message: Histories, _latest: int) -> Event:
        if len(message.histories) > HISTORIES_PER_FRAME:
            raise RemoteProtocolError(
                f"{len(message.histories)} histories in a message, {HISTORIES_PER_FRAME} are allowed"
            )
        if any(not 0 < origin < 1 << 64 for origin, _ in message.histories):
            raise RemoteProtocolError("the history of an origin that is none")
        histories: dict[int, History] = {origin: decode_history(pairs) for origin, pairs in message.histories}
        if len(histories) != len(message.histories):
            raise RemoteProtocolError("two histories of one origin")
        return HistoriesReceived(histories, decode_branches(message.branches), message.last)

    def _on_compare_start(self, _message: CompareStart, _latest: int) -> Event:
        return CompareRequested()

    def _on_reconcile_start(self, message: ReconcileStart, latest: int) -> Event | None:
        vector, horizon = decode_vector(message.vector), decode_vector(message.horizon)
        refuse_future(max([message.dropped, *vector.values(), *horizon.values()]), latest)
        if not covers(vector, horizon):
            # taken over, nobody could ever cover it: all would be stale for each other for ever
            raise RemoteProtocolError("a horizon above its vector")
        self.push.peer_has(vector)
        compare_only = message.pull == 0
        if not compare_only:
            self._refuse_changes()
        if self.queries.open or (compare_only and not self._comparing):
            raise RemoteProtocolError("a reconciliation that was not asked for")
        if compare_only:
            self._comparing = False
        elif message.pull != self.pull.number:
            return PeerVectorAdvanced(vector, feeding=False)
        else:
            self.pull.abandon()
        self.queries.begin(compare_only=compare_only)
        return ReconcileStarted(vector, horizon, message.dropped, compare_only, message.rows)

    def _on_range_reply(self, message: RangeReply, latest: int) -> Event | None:
        return self.queries.answer(message, latest)

    def _on_range_query(self, message: RangeQuery, _latest: int) -> Event:
        if not 0 < len(message.ranges) <= MAX_RANGE_QUERIES:
            raise RemoteProtocolError(f"{len(message.ranges)} ranges in a RangeQuery, {MAX_RANGE_QUERIES} are allowed")
        if any(high and low >= high for low, high, _, _ in message.ranges):
            raise RemoteProtocolError("a range of keys that is none")
        return RangesQueried(message.ranges)

    def _on_fetch(self, message: Fetch, _latest: int) -> Event:
        if not 0 < len(message.keys) <= MAX_FETCH_KEYS or len(message.keys) != len(message.digests):
            raise RemoteProtocolError(f"{len(message.keys)} keys in a Fetch, {MAX_FETCH_KEYS} are allowed")
        return EntriesRequested(message.keys, message.digests)

    def _on_reconcile_done(self, _message: ReconcileDone, _latest: int) -> Event:
        return PeerReconciled()

    def _on_vector_query(self, message: VectorQuery, _latest: int) -> Event:
        return VectorRequested(message.token)

    def _on_vector_reply(self, message: VectorReply, latest: int) -> Event:
        if message.token not in self._asked:
            raise RemoteProtocolError(f"VectorReply with unknown token {message.token}")
        vector = decode_vector(message.vector)
        refuse_future(max(vector.values(), default=0), latest)
        self._asked.remove(message.token)
        return VectorReceived(message.token, vector)

    def _on_ping(self, _message: Ping, _latest: int) -> Event | None:
        return None

    def _on_bye(self, message: Bye, _latest: int) -> Event:
        self.phase = Phase.CLOSED
        return PeerClosed(message.code, plain(message.text, MAX_BYE_CHARACTERS))


_Handler = Callable[[Session, AnyMessage, int], Event | None]

_HANDLERS: dict[Phase, dict[type, _Handler]] = {
    Phase.HELLO: {Hello: Session._on_hello, Bye: Session._on_bye},  # type: ignore[dict-item]
    Phase.INTRODUCED: {Welcome: Session._on_welcome, Bye: Session._on_bye},  # type: ignore[dict-item]
    Phase.JUDGING: {Bye: Session._on_bye},  # type: ignore[dict-item]
    Phase.WELCOME: {Welcome: Session._on_welcome, Bye: Session._on_bye},  # type: ignore[dict-item]
    Phase.OPEN: {
        StartPull: Session._on_start_pull,  # type: ignore[dict-item]
        RoundStart: Session._on_round_start,  # type: ignore[dict-item]
        Entries: Session._on_entries,  # type: ignore[dict-item]
        RoundEnd: Session._on_round_end,  # type: ignore[dict-item]
        VectorUpdate: Session._on_vector_update,  # type: ignore[dict-item]
        VectorQuery: Session._on_vector_query,  # type: ignore[dict-item]
        VectorReply: Session._on_vector_reply,  # type: ignore[dict-item]
        Ping: Session._on_ping,  # type: ignore[dict-item]
        PausePull: Session._on_pause_pull,  # type: ignore[dict-item]
        Histories: Session._on_histories,  # type: ignore[dict-item]
        CompareStart: Session._on_compare_start,  # type: ignore[dict-item]
        ReconcileStart: Session._on_reconcile_start,  # type: ignore[dict-item]
        RangeQuery: Session._on_range_query,  # type: ignore[dict-item]
        Fetch: Session._on_fetch,  # type: ignore[dict-item]
        ReconcileDone: Session._on_reconcile_done,  # type: ignore[dict-item]
        RangeEqual: Session._on_range_reply,  # type: ignore[dict-item]
        RangeSplit: Session._on_range_reply,  # type: ignore[dict-item]
        RangeRows: Session._on_range_reply,  # type: ignore[dict-item]
        RangeEntries: Session._on_range_reply,  # type: ignore[dict-item]
        Bye: Session._on_bye,  # type: ignore[dict-item]
    },
}
