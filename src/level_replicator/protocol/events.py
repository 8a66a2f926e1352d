"""Events that a session yields for received bytes. Handle each event before advancing the iterator."""

from dataclasses import dataclass

from level_replicator.core.entry import Entry
from level_replicator.core.epochs import History
from level_replicator.core.reconcile_rules import KeyRange
from level_replicator.core.version_vector import Vector


@dataclass(frozen=True, slots=True)
class PeerIdentified:
    """The Hello of the peer has arrived: call `Session.welcome` or `Session.refuse`, now or later."""

    origin: int
    instance: bytes


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """Both sides have accepted: request a pull with `Session.start_pull`."""


@dataclass(frozen=True, slots=True)
class PullRequested:
    """The peer requests a pull: send it all that is above its vector, except the intervals `have`, which it has applied
    in an earlier scan."""

    vector: Vector
    have: list[tuple[int, int, int]]
    horizon: Vector
    rows: int
    reconcile: bool


@dataclass(frozen=True, slots=True)
class PeerVectorAdvanced:
    """The peer covers at least this vector. `feeding`: it is the vector at the beginning of a round of the peer."""

    vector: Vector
    feeding: bool


@dataclass(frozen=True, slots=True)
class EntriesReceived:
    """Merge these entries: all entries of `origin` in (low, high] in the peer's snapshot.

    `resumable`: stamp up to which the peer's vector covered the interval, so that it need not be sent again.
    `adopt`: the vector to adopt in the same batch, if they complete the round; else None."""

    origin: int
    low: int
    high: int
    entries: list[Entry]
    resumable: int
    adopt: Vector | None


@dataclass(frozen=True, slots=True)
class RoundCompleted:
    """A round is complete: adopt the vector of its RoundStart."""

    vector: Vector


@dataclass(frozen=True, slots=True)
class VectorRequested:
    """Reply with `Session.reply_vector` and the current vector."""

    token: int


@dataclass(frozen=True, slots=True)
class VectorReceived:
    """The reply to `Session.query_vector`."""

    token: int
    vector: Vector


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The peer has sent a Bye, with the reason."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class PullPaused:
    """Send the peer nothing until its next StartPull."""


@dataclass(frozen=True, slots=True)
class HistoriesReceived:
    """Histories of origins, and branches, that the peer knows. `last`: they are complete for now."""

    histories: dict[int, History]
    branches: dict[int, int]
    last: bool


@dataclass(frozen=True, slots=True)
class CompareRequested:
    """The peer requests a comparison of its index with ours."""


@dataclass(frozen=True, slots=True)
class RangesQueried:
    """The peer reconciles: reply to each range (low, high, fingerprint, count)."""

    ranges: list[tuple[bytes, bytes, bytes, int]]


@dataclass(frozen=True, slots=True)
class EntriesRequested:
    """The peer reconciles: send these entries."""

    keys: list[bytes]
    digests: list[bytes]


@dataclass(frozen=True, slots=True)
class PeerReconciled:
    """The peer has ended its reconciliation."""


@dataclass(frozen=True, slots=True)
class ReconcileStarted:
    """Reconcile with the peer's index. `rows`: its approximate number of rows; `compare_only`: after
    Session.compare."""

    vector: Vector
    horizon: Vector
    dropped: int
    compare_only: bool
    rows: int = 0


@dataclass(frozen=True, slots=True)
class RangeEntriesReceived:
    """Entries that the peer sent for the oldest open query, and keys that it cannot provide.

    entries  each entry with its origin
    equal    indexes of the entries without their value, since this node has the same value
    lacking  keys whose entries are damaged at the peer
    last     whether the query is answered
    range    the range that was queried; None: the entries were fetched by key
    span     of a range query: the peer has no other entries in span[0] <= key < span[1] (b"": up to the last key)
    """

    entries: list[tuple[int, Entry]]
    equal: set[int]
    lacking: list[bytes]
    last: bool
    range: KeyRange | None
    span: tuple[bytes, bytes] | None


@dataclass(frozen=True, slots=True)
class RangeAnswered:
    """The answer to the oldest open range query: the range is equal, or it is split, or these are its rows.

    range   the range that was queried
    same    whether the fingerprints are equal
    bounds  the keys between the parts of a split; `prints` has the fingerprint of each part, so one more
    rows    each key with its index row, in order of keys
    """

    range: KeyRange
    same: bool = False
    bounds: list[bytes] | None = None
    prints: list[bytes] | None = None
    rows: list[tuple[bytes, bytes]] | None = None


Event = (
    PeerIdentified
    | SessionOpened
    | PullRequested
    | PeerVectorAdvanced
    | EntriesReceived
    | RoundCompleted
    | VectorRequested
    | VectorReceived
    | PeerClosed
    | PullPaused
    | HistoriesReceived
    | CompareRequested
    | RangesQueried
    | EntriesRequested
    | PeerReconciled
    | ReconcileStarted
    | RangeEntriesReceived
    | RangeAnswered
)
