"""The messages of a session and their bytes.

A frame is a length (u32, big-endian, without itself) and a MessagePack array whose first item is the
number of the message. Items that a later version appends are ignored. Vectors travel as their bytes
(core.version_vector).

    dialler                                   acceptor
    Hello ────────────────────────────────▶
          ◀──────────────────────────────────  Hello, Welcome      (or Bye)
    Welcome ──────────────────────────────▶                        (or Bye)
    and from here both the same:
    Histories: of origins, if the two sides do not know the same
    StartPull: begin a pull, with the vector of the sender
        → RoundStart, Entries …, RoundEnd; then another round whenever there are changes
        → or ReconcileStart: the log does not reach back far enough, so reconcile with a snapshot of the index:
            RangeQuery: fingerprints of ranges of keys
                → for each, in order: RangeEqual, or RangeSplit: fingerprints of smaller ranges, or RangeRows: all rows
                  of the range, or, for a range that is empty on the reader, RangeEntries …
            Fetch: request entries by key     → RangeEntries …
            ReconcileDone: the reader goes back to rounds
    CompareStart: begin a comparison, which changes nothing → ReconcileStart
    PausePull: send nothing until the next StartPull
    VectorUpdate: the vector of the sender has moved
    VectorQuery / VectorReply: request the current vector
    Ping: heartbeat
"""

from enum import IntEnum

import msgspec

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import DEFAULT_HEARTBEAT_S, LARGE_INDEX_ROWS

MAGIC = "level-replicator"
VERSION = 3
"""Version of the protocol. Peers of different versions end the session with a Bye that names both."""


class ByeCode(IntEnum):
    """Why a session ends."""

    STOPPING = 0
    PROTOCOL = 1
    VERSION = 2
    CLOCK = 3
    DUPLICATE_ORIGIN = 4
    SELF = 5
    DUPLICATE_CONNECTION = 6
    ORIGIN_CHANGED = 7
    BUSY = 8
    STORAGE = 9
    TIMEOUT = 10
    REJECTED = 11
    """The key of the receiver is not accepted."""


class Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of all messages."""


class Hello(Message, frozen=True, tag=1):
    """Introduces the sender. `instance` is random for each start of a process: it distinguishes a duplicate origin from
    a second connection of the same node.

    `heartbeat_ms`: the receiver considers the sender dead after four of these intervals without a message."""

    magic: str
    version: int
    origin: int
    instance: bytes
    heartbeat_ms: int = int(DEFAULT_HEARTBEAT_S * 1000)


class Welcome(Message, frozen=True, tag=2):
    """The sender has accepted the peer. Data flows when both have. `read_only`: the sender accepts no changes
    from the peer.

    read_only  True if the sender takes no changes from the peer
    histories  digest of the sender's histories and branches (core.epochs); if the digests of the two sides differ, both
               send Histories before any other message
    """

    read_only: bool = False
    histories: bytes = b""


class StartPull(Message, frozen=True, tag=3):
    """The sender begins a pull, which replaces any earlier one.

    `have`: intervals (origin, low, high) that it has applied of an interrupted round of the receiver. `horizon`,
    `dropped`: the newest stamps of tombstones that it has dropped, of each origin and of all. `rows`: approximate
    number of rows in its index. `reconcile`: it has many entries above its vector, from an interrupted reconciliation,
    and requests to continue with a reconciliation.
    """

    vector: bytes
    have: list[tuple[int, int, int]]
    horizon: bytes = b""
    dropped: int = 0
    pull: int = 0
    rows: int = LARGE_INDEX_ROWS
    reconcile: bool = False


class RoundStart(Message, frozen=True, tag=4):
    """Begins a round: the sender sends all entries of one snapshot of its log that the reader does not cover.

    `vector`: the sender's vector in that snapshot, as the difference from the vector of StartPull: the vector entries
    that differ, and in `missing` the origins (u64 each) that the sender does not know. In later rounds of a pull: the
    vector entries above the reader's."""

    vector: bytes
    pull: int = 0
    missing: bytes = b""


class Entries(Message, frozen=True, tag=5):
    """All entries of `origin` in (low, high] of the round's snapshot. `last`: the round is complete with them."""

    origin: int
    low: int
    high: int
    records: list[bytes]
    last: bool


class RoundEnd(Message, frozen=True, tag=6):
    """The round is complete: the reader adopts the vector of its RoundStart."""


class VectorUpdate(Message, frozen=True, tag=7):
    """The sender covers at least this vector now."""

    vector: bytes


class Ping(Message, frozen=True, tag=8):
    """Heartbeat: sent after a heartbeat interval without another message."""


class VectorQuery(Message, frozen=True, tag=9):
    """Requests the receiver's current vector. `token`: returned in the reply."""

    token: int


class VectorReply(Message, frozen=True, tag=10):
    """The reply to VectorQuery."""

    token: int
    vector: bytes


class Bye(Message, frozen=True, tag=11):
    """The last message: the reason for which the sender closes."""

    code: int
    text: str


class ReconcileStart(Message, frozen=True, tag=12):
    """Offers a reconciliation with a snapshot of the sender's index, which has this vector, horizon and newest dropped
    tombstone. `pull`: 0 after CompareStart, else as in RoundStart. `rows`: approximate number of rows in the index."""

    vector: bytes
    horizon: bytes
    dropped: int
    pull: int
    rows: int = 0


class RangeQuery(Message, frozen=True, tag=13):
    """Ranges of keys, each (low, high, fingerprint, count) of the sender's rows in [low, high); high b"": no upper
    bound. Fingerprint b"": the range is known to differ, so the sender prefers RangeRows to RangeSplit."""

    ranges: list[tuple[bytes, bytes, bytes, int]]


class RangeEqual(Message, frozen=True, tag=14):
    """The sender has the same rows in the queried range."""


class RangeSplit(Message, frozen=True, tag=15):
    """The range differs. `bounds`: the n - 1 keys that split it; `prints`: the fingerprints of its n parts."""

    bounds: list[bytes]
    prints: bytes


class RangeRows(Message, frozen=True, tag=16):
    """The range differs: all keys that the sender has in it, and their index rows without contexts."""

    keys: list[bytes]
    rows: list[bytes]


class RangeEntries(Message, frozen=True, tag=17):
    """Entries of the snapshot in key order, with their origins (u64 each). `last`: the query, or the Fetch, is answered
    completely.

    `equal`: positions of records without a value, since the reader has the same one. `lacking`: keys whose entries are
    damaged on the sender."""

    origins: bytes
    records: list[bytes]
    equal: list[int]
    lacking: list[bytes]
    last: bool


class Fetch(Message, frozen=True, tag=18):
    """Requests entries of the snapshot. `digests`: of the sender's value, if it has the same checksum, else b""."""

    keys: list[bytes]
    digests: list[bytes]


class ReconcileDone(Message, frozen=True, tag=19):
    """The reconciliation has ended, so the receiver may release the snapshot."""


class CompareStart(Message, frozen=True, tag=20):
    """Requests a comparison of the two indexes, which changes nothing."""


class PausePull(Message, frozen=True, tag=21):
    """Requests that no more of this pull is sent until the next StartPull."""


class Histories(Message, frozen=True, tag=22):
    """Histories of origins that the sender knows, each (origin, epochs and the stamps they begin at, u64 each), and all
    branches in the same form; see core.epochs. `last`: the list is complete with this message. Later messages contain
    the changes.

    Sent before any vector or entry that may depend on it.

    histories  (origin, encoded history): the epochs and the stamps at which they begin, u64 each
    branches   the epochs and stamps of all branches, in the same form
    last       True if this completes the histories that the sender knows at present
    """

    histories: list[tuple[int, bytes]]
    branches: bytes = b""
    last: bool = True


RangeReply = RangeEqual | RangeSplit | RangeRows | RangeEntries

AnyMessage = (
    Hello
    | Welcome
    | StartPull
    | RoundStart
    | Entries
    | RoundEnd
    | VectorUpdate
    | Ping
    | VectorQuery
    | VectorReply
    | Bye
    | ReconcileStart
    | RangeQuery
    | RangeReply
    | Fetch
    | ReconcileDone
    | CompareStart
    | PausePull
    | Histories
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: Message) -> bytes:
    """Return the frame of a message."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


def plain(text: str, most: int) -> str:
    """Return foreign text in a form that is safe in logs and terminals: at most `most` characters, without line
    breaks and other control characters."""
    return "".join(each if each.isprintable() else "?" for each in text[:most])


def decode(body: bytes | bytearray | memoryview) -> AnyMessage:
    """Return the message in the body of a frame. Raises RemoteProtocolError."""
    try:
        message: AnyMessage = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError) as error:
        raise RemoteProtocolError(f"the body of a frame is not a message: {error}", ByeCode.PROTOCOL) from error
    return message
