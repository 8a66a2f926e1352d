"""Checks of single messages of a peer. Each returns the event of a valid message; otherwise it raises
RemoteProtocolError.

Checks that need the state of a session are in session.py, pull.py and range_queries.py.
"""

from level_replicator.core.epochs import History, decode_branches, decode_history
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import (
    HISTORIES_PER_FRAME,
    MAX_DIGEST_BYTES,
    MAX_FETCH_KEYS,
    MAX_HEARTBEAT_S,
    MAX_RANGE_QUERIES,
    MAX_RESUME_INTERVALS,
    MIN_HEARTBEAT_S,
)
from level_replicator.core.version_vector import covers, decode_vector
from level_replicator.protocol.events import (
    EntriesRequested,
    HistoriesReceived,
    PeerIdentified,
    PullRequested,
    RangesQueried,
    ReconcileStarted,
)
from level_replicator.protocol.messages import (
    MAGIC,
    VERSION,
    ByeCode,
    Fetch,
    Hello,
    Histories,
    RangeQuery,
    ReconcileStart,
    StartPull,
    Welcome,
)
from level_replicator.protocol.pull import refuse_future

_MAX_INSTANCE_BYTES = 64


def checked_hello(message: Hello) -> PeerIdentified:
    if message.magic != MAGIC:
        raise RemoteProtocolError(
            f"Hello with the protocol name {message.magic[:32]!r}; expected {MAGIC!r}", ByeCode.PROTOCOL
        )
    if message.version != VERSION:
        raise RemoteProtocolError(
            f"the peer speaks version {message.version} of the protocol, this node {VERSION}: upgrade the older one",
            ByeCode.VERSION,
        )
    if not _is_origin(message.origin) or not 0 < len(message.instance) <= _MAX_INSTANCE_BYTES:
        raise RemoteProtocolError(
            f"Hello with origin {message.origin} and an instance of {len(message.instance)} bytes; expected 64 bits,"
            f" not 0, and 1 to {_MAX_INSTANCE_BYTES} bytes"
        )
    if not MIN_HEARTBEAT_S * 1000 <= message.heartbeat_ms <= MAX_HEARTBEAT_S * 1000:
        raise RemoteProtocolError(
            f"Hello with a heartbeat of {message.heartbeat_ms} ms; expected {MIN_HEARTBEAT_S} to {MAX_HEARTBEAT_S} s"
        )
    return PeerIdentified(message.origin, message.instance)


def checked_digest(message: Welcome) -> bytes:
    """Return the digest of the peer's histories."""
    if len(message.histories) > MAX_DIGEST_BYTES:
        raise RemoteProtocolError(
            f"Welcome with a digest of histories of {len(message.histories)} bytes, at most {MAX_DIGEST_BYTES} are"
            " allowed"
        )
    return message.histories


def checked_start_pull(message: StartPull, latest: int) -> PullRequested:
    """`latest`: the newest acceptable stamp."""
    vector, horizon = decode_vector(message.vector), decode_vector(message.horizon)
    refuse_future(max([message.dropped, *vector.values(), *horizon.values()]), latest)
    if len(message.have) > MAX_RESUME_INTERVALS:
        raise RemoteProtocolError(
            f"StartPull with {len(message.have)} intervals of an interrupted round, {MAX_RESUME_INTERVALS} are allowed"
        )
    for origin, low, high in message.have:
        if not _is_origin(origin) or not 0 <= low < high < 1 << 64:
            raise RemoteProtocolError(f"StartPull with an invalid interval ({low}, {high}] of origin {origin}")
    if message.rows < 0:
        raise RemoteProtocolError(f"StartPull with {message.rows} rows in the index; expected 0 or more")
    return PullRequested(vector, message.have, horizon, message.rows, message.reconcile)


def checked_reconcile_start(message: ReconcileStart, latest: int) -> ReconcileStarted:
    """`latest`: the newest acceptable stamp."""
    vector, horizon = decode_vector(message.vector), decode_vector(message.horizon)
    refuse_future(max([message.dropped, *vector.values(), *horizon.values()]), latest)
    if not covers(vector, horizon):
        # once adopted, no node could ever cover it: all nodes would be stale for each other for ever
        raise RemoteProtocolError("ReconcileStart with a horizon above its vector")
    return ReconcileStarted(vector, horizon, message.dropped, message.pull == 0, message.rows)


def checked_histories(message: Histories) -> HistoriesReceived:
    if len(message.histories) > HISTORIES_PER_FRAME:
        raise RemoteProtocolError(f"{len(message.histories)} histories in a message, {HISTORIES_PER_FRAME} are allowed")
    for origin, _ in message.histories:
        if not _is_origin(origin):
            raise RemoteProtocolError(f"Histories with origin {origin}; expected 64 bits, not 0")
    histories: dict[int, History] = {origin: decode_history(pairs) for origin, pairs in message.histories}
    if len(histories) != len(message.histories):
        raise RemoteProtocolError("Histories with two histories of one origin")
    return HistoriesReceived(histories, decode_branches(message.branches), message.last)


def checked_range_query(message: RangeQuery) -> RangesQueried:
    if not 0 < len(message.ranges) <= MAX_RANGE_QUERIES:
        raise RemoteProtocolError(f"{len(message.ranges)} ranges in a RangeQuery, 1 to {MAX_RANGE_QUERIES} are allowed")
    if any(high and low >= high for low, high, _, _ in message.ranges):
        raise RemoteProtocolError("RangeQuery with an empty range of keys")
    return RangesQueried(message.ranges)


def checked_fetch(message: Fetch) -> EntriesRequested:
    if not 0 < len(message.keys) <= MAX_FETCH_KEYS:
        raise RemoteProtocolError(f"{len(message.keys)} keys in a Fetch, 1 to {MAX_FETCH_KEYS} are allowed")
    if len(message.keys) != len(message.digests):
        raise RemoteProtocolError(f"Fetch of {len(message.keys)} keys with {len(message.digests)} digests")
    return EntriesRequested(message.keys, message.digests)


def _is_origin(number: int) -> bool:
    return 0 < number < 1 << 64
