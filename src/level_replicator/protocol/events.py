"""What a session reports to its connection. Handle each event before asking for the next."""

from dataclasses import dataclass

from level_replicator.core.entry import Entry
from level_replicator.core.epochs import History
from level_replicator.core.reconcile_rules import KeyRange
from level_replicator.core.version_vector import Vector


@dataclass(frozen=True, slots=True)
class PeerIdentified:
    """The peer said who it is: call `Session.welcome` or `Session.refuse`, now or later."""

    origin: int
    instance: bytes


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """Both sides have accepted: ask for a pull with `Session.start_pull`."""


@dataclass(frozen=True, slots=True)
class PullRequested:
    """The peer begins a pull: feed it, from its vector, without what it has of an earlier scan."""

    vector: Vector
    have: list[tuple[int, int, int]]
    horizon: Vector
    rows: int
    reconcile: bool


@dataclass(frozen=True, slots=True)
class PeerVectorAdvanced:
    """The peer covers at least this. `feeding`: it is what it had when its round began, and it may send it to us."""

    vector: Vector
    feeding: bool


@dataclass(frozen=True, slots=True)
class EntriesReceived:
    """Merge these entries, which are all that the peer's snapshot holds of `origin` in (low, high].

    `resumable`: up to which stamp the peer's vector covered the interval, so that it need not be sent again.
    `take`: the vector to take over in the same batch, when the round is complete with them."""

    origin: int
    low: int
    high: int
    entries: list[Entry]
    resumable: int
    take: Vector | None


@dataclass(frozen=True, slots=True)
class RoundCompleted:
    """A round is complete: take over the vector that it began with."""

    vector: Vector


@dataclass(frozen=True, slots=True)
class VectorRequested:
    """Answer with `Session.reply_vector` and the vector as it is now."""

    token: int


@dataclass(frozen=True, slots=True)
class VectorReceived:
    """The answer to `Session.query_vector`."""

    token: int
    vector: Vector


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The peer closes, and says why."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class PullPaused:
    """The peer wants nothing until its next StartPull."""


@dataclass(frozen=True, slots=True)
class HistoriesReceived:
    """What the peer knows of the histories of origins. `last`: that was all of it for now."""

    histories: dict[int, History]
    branches: dict[int, int]
    last: bool


@dataclass(frozen=True, slots=True)
class CompareRequested:
    """The peer wants to compare its index with ours."""


@dataclass(frozen=True, slots=True)
class RangesQueried:
    """The peer reconciles: answer each range (low, high, fingerprint, count)."""

    ranges: list[tuple[bytes, bytes, bytes, int]]


@dataclass(frozen=True, slots=True)
class EntriesRequested:
    """The peer reconciles: send these entries."""

    keys: list[bytes]
    digests: list[bytes]


@dataclass(frozen=True, slots=True)
class PeerReconciled:
    """The peer's reconciliation is over."""


@dataclass(frozen=True, slots=True)
class ReconcileStarted:
    """Reconcile with the peer's index, which has about so many rows. `compare_only`: after Session.compare."""

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
