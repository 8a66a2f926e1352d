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
    StartPull: let me pull, this is what I know
        → RoundStart, Entries …, RoundEnd; then again, live, as changes come
        → or ReconcileStart: your log cannot bridge the gap, reconcile with my index:
            RangeQuery: ranges of keys, as I have them
                → for each, in order: RangeEqual, or RangeSplit: fingerprints of smaller ranges, or RangeRows: all rows
                  that I have there, or, where you have nothing, RangeEntries …
            Fetch: these keys                 → RangeEntries …
            ReconcileDone: from here on live
    CompareStart: let me compare, only to look → ReconcileStart
    PausePull: send me nothing until my next StartPull
    VectorUpdate: my vector moved
    VectorQuery / VectorReply: what is your vector now?
    Ping: still there
"""

from enum import IntEnum

import msgspec

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import DEFAULT_HEARTBEAT_S, LARGE_INDEX_ROWS

MAGIC = "level-replicator"
VERSION = 3
"""Version of the protocol. A node refuses a peer of another version with a Bye that names both."""


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
    """The receiver's key is not accepted."""


class Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of all messages."""


class Hello(Message, frozen=True, tag=1):
    """The first message of each side: identifies the node.

    instance      random for each run of a process; distinguishes a duplicate origin from a second connection
    heartbeat_ms  a sender that is silent for SILENCE_IN_HEARTBEATS of these intervals is considered dead
    """

    magic: str
    version: int
    origin: int
    instance: bytes
    heartbeat_ms: int = int(DEFAULT_HEARTBEAT_S * 1000)


class Welcome(Message, frozen=True, tag=2):
    """The sender accepts the peer. The session is open when both sides have sent it.

    read_only  True if the sender takes no changes from the peer
    histories  digest of the sender's histories and branches (core.epochs); if the digests of the two sides differ, both
               send Histories before any other message
    """

    read_only: bool = False
    histories: bytes = b""


class StartPull(Message, frozen=True, tag=3):
    """The sender begins a pull, which replaces any earlier one.

    vector     the sender's vector
    have       (origin, low, high) of the intervals that it has applied of an interrupted scan of the receiver
    horizon    origin → newest stamp of a tombstone that the sender has dropped
    dropped    newest stamp of all tombstones that it has dropped
    pull       number of the pull, which its rounds repeat
    rows       approximate number of its index rows
    reconcile  True if it asks for a reconciliation, since a bulk load was interrupted and its index has rows that its
               vector does not cover
    """

    vector: bytes
    have: list[tuple[int, int, int]]
    horizon: bytes = b""
    dropped: int = 0
    pull: int = 0
    rows: int = LARGE_INDEX_ROWS
    reconcile: bool = False


class RoundStart(Message, frozen=True, tag=4):
    """The sender begins a round: all entries in one snapshot of its log that the reader's vector does not cover.

    vector   the sender's vector in that snapshot. The first round of a pull has only the difference to the vector of
             StartPull: changed and new entries. Later rounds have only the entries above the reader's vector
    pull     number of the pull
    missing  origins (u64 each) of the vector of StartPull that the sender does not know
    """

    vector: bytes
    pull: int = 0
    missing: bytes = b""


class Entries(Message, frozen=True, tag=5):
    """All entries of `origin` in (low, high] in the snapshot of the round. With `last` the round is complete."""

    origin: int
    low: int
    high: int
    records: list[bytes]
    last: bool


class RoundEnd(Message, frozen=True, tag=6):
    """The round is complete: the reader adopts the vector of its RoundStart."""


class VectorUpdate(Message, frozen=True, tag=7):
    """The sender's vector has advanced to at least this vector."""

    vector: bytes


class Ping(Message, frozen=True, tag=8):
    """Sent when no other message was sent for a heartbeat interval."""


class VectorQuery(Message, frozen=True, tag=9):
    """Asks for the present vector of the receiver."""

    token: int


class VectorReply(Message, frozen=True, tag=10):
    """The present vector, in reply to the VectorQuery with the same token."""

    token: int
    vector: bytes


class Bye(Message, frozen=True, tag=11):
    """The last message of a session: the reason why the sender closes it."""

    code: int
    text: str


class ReconcileStart(Message, frozen=True, tag=12):
    """The reader may reconcile with a snapshot of the sender's index.

    vector, horizon, dropped  of the sender in that snapshot, as in StartPull
    pull  number of the pull; 0 after CompareStart
    rows  approximate number of the sender's index rows
    """

    vector: bytes
    horizon: bytes
    dropped: int
    pull: int
    rows: int = 0


class RangeQuery(Message, frozen=True, tag=13):
    """Asks whether ranges of keys are equal.

    ranges  (low, high, fingerprint, count) of the sender's index rows in [low, high). An empty `high` means the end. An
            empty fingerprint means that the range certainly differs, and asks for RangeRows instead of RangeSplit
    """

    ranges: list[tuple[bytes, bytes, bytes, int]]


class RangeEqual(Message, frozen=True, tag=14):
    """The queried range has the same fingerprint in the sender's snapshot."""


class RangeSplit(Message, frozen=True, tag=15):
    """The range differs. `bounds` are the n - 1 keys that split it, `prints` the fingerprints of its n parts."""

    bounds: list[bytes]
    prints: bytes


class RangeRows(Message, frozen=True, tag=16):
    """The range differs. These are all its keys, and their index rows without contexts."""

    keys: list[bytes]
    rows: list[bytes]


class RangeEntries(Message, frozen=True, tag=17):
    """Entries of the snapshot, in order of keys.

    origins  the origin (u64) of each record
    records  the entries
    equal    indexes of records without their value, since the reader has an equal value
    lacking  keys whose entries the sender cannot provide, since they are damaged
    last     True if the request is answered completely
    """

    origins: bytes
    records: list[bytes]
    equal: list[int]
    lacking: list[bytes]
    last: bool


class Fetch(Message, frozen=True, tag=18):
    """Asks for entries of the snapshot.

    keys     keys of the entries
    digests  for each key the digest of the sender's own value if it has the same checksum, else b""
    """

    keys: list[bytes]
    digests: list[bytes]


class ReconcileDone(Message, frozen=True, tag=19):
    """The reconciliation has ended. The snapshot is no longer needed."""


class CompareStart(Message, frozen=True, tag=20):
    """Asks to compare the sender's index with the receiver's, without applying any differences."""


class PausePull(Message, frozen=True, tag=21):
    """Asks the receiver to send nothing more of this pull until the next StartPull."""


class Histories(Message, frozen=True, tag=22):
    """Histories of origins, and all branches, that the sender knows (core.epochs). Later messages contain only changes.

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
    """Return the first `most` characters of a foreign text for logs and terminals, with control characters replaced."""
    return "".join(each if each.isprintable() else "?" for each in text[:most])


def decode(body: bytes | bytearray | memoryview) -> AnyMessage:
    """Decode the body of a frame. Raises RemoteProtocolError if it is not a valid message."""
    try:
        message: AnyMessage = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError) as error:
        raise RemoteProtocolError(f"not a message: {error}", ByeCode.PROTOCOL) from error
    return message
