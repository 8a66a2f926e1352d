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
"""Of the protocol. Peers of different versions part with a Bye that names both."""


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
    """Its key is not accepted."""


class Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of all messages."""


class Hello(Message, frozen=True, tag=1):
    """Who speaks. `instance` is random for each start of a process: it tells a
    duplicate origin from a second connection.

    `heartbeat_ms`: a sender that was quiet for four of these is taken for gone."""

    magic: str
    version: int
    origin: int
    instance: bytes
    heartbeat_ms: int = int(DEFAULT_HEARTBEAT_S * 1000)


class Welcome(Message, frozen=True, tag=2):
    """The sender has accepted the peer. Data flows when both have. `read_only`: it will take no changes from it.

    `histories`: a digest of its histories and branches (core.epochs). If the digests of the two sides differ, both send
    Histories before anything else."""

    read_only: bool = False
    histories: bytes = b""


class StartPull(Message, frozen=True, tag=3):
    """The sender begins a pull, in place of any earlier one. `pull`: its number, which rounds carry.

    `have`: (origin, low, high) of what it has applied of a scan of ours that broke off. `horizon`, `dropped`:
    the newest stamps of tombstones that it has dropped, of each origin and of all. `rows`: about how many it has in
    its index; `reconcile`: it has much that its vector does not claim, and wants to go on with the reconciliation that
    broke off.
    """

    vector: bytes
    have: list[tuple[int, int, int]]
    horizon: bytes = b""
    dropped: int = 0
    pull: int = 0
    rows: int = LARGE_INDEX_ROWS
    reconcile: bool = False


class RoundStart(Message, frozen=True, tag=4):
    """The sender begins to send all that its log holds, in one snapshot, and the reader does not cover.

    `vector`: where its vector was in that snapshot, told by what is not as in the reader's StartPull: entries that are
    others, and `missing`, origins (u64 each) that it does not know. After the first round of a pull only what is above
    the reader's."""

    vector: bytes
    pull: int = 0
    missing: bytes = b""


class Entries(Message, frozen=True, tag=5):
    """All that the round's snapshot holds of `origin` in (low, high]. With `last`, the round is complete."""

    origin: int
    low: int
    high: int
    records: list[bytes]
    last: bool


class RoundEnd(Message, frozen=True, tag=6):
    """The round is complete: the reader takes over the vector of its RoundStart."""


class VectorUpdate(Message, frozen=True, tag=7):
    """The sender's vector moved to at least this."""

    vector: bytes


class Ping(Message, frozen=True, tag=8):
    """Sent when nothing else was for a heartbeat."""


class VectorQuery(Message, frozen=True, tag=9):
    """What is your vector now?"""

    token: int


class VectorReply(Message, frozen=True, tag=10):
    """The answer to VectorQuery."""

    token: int
    vector: bytes


class Bye(Message, frozen=True, tag=11):
    """The last message: why the sender closes."""

    code: int
    text: str


class ReconcileStart(Message, frozen=True, tag=12):
    """The reader may reconcile with a snapshot of the sender's index, which had this vector, horizon and newest dropped
    tombstone. `pull`: 0 after CompareStart, else as in RoundStart. `rows`: about how many there are."""

    vector: bytes
    horizon: bytes
    dropped: int
    pull: int
    rows: int = 0


class RangeQuery(Message, frozen=True, tag=13):
    """Ranges of keys, each (low, high, fingerprint, count) of what the sender has in [low, high); high b"": no end.
    Fingerprint b"": it is surely not equal, so RangeRows is wanted rather than RangeSplit."""

    ranges: list[tuple[bytes, bytes, bytes, int]]


class RangeEqual(Message, frozen=True, tag=14):
    """The queried range is the same here."""


class RangeSplit(Message, frozen=True, tag=15):
    """The range is not the same. `bounds`: the n - 1 keys that part it; `prints`: the fingerprints of its n parts."""

    bounds: list[bytes]
    prints: bytes


class RangeRows(Message, frozen=True, tag=16):
    """The range is not the same; this is all there is in it: keys, and their index rows without contexts."""

    keys: list[bytes]
    rows: list[bytes]


class RangeEntries(Message, frozen=True, tag=17):
    """Entries of the snapshot, in order of keys, of the origins (u64 each). `last`: that was all of what was asked for.

    `equal`: places of records without their value, since the reader's is equal. `lacking`: keys that the sender
    cannot give, since they are damaged there."""

    origins: bytes
    records: list[bytes]
    equal: list[int]
    lacking: list[bytes]
    last: bool


class Fetch(Message, frozen=True, tag=18):
    """Give these entries of the snapshot. `digests`: of the sender's value, if it has the same checksum, else b""."""

    keys: list[bytes]
    digests: list[bytes]


class ReconcileDone(Message, frozen=True, tag=19):
    """The reconciliation has ended: the snapshot is not needed any more."""


class CompareStart(Message, frozen=True, tag=20):
    """The sender wants to compare its index with the receiver's, without taking anything over."""


class PausePull(Message, frozen=True, tag=21):
    """Nothing more of this pull, please, until the next StartPull."""


class Histories(Message, frozen=True, tag=22):
    """Histories of origins that the sender knows, each (origin, epochs and the stamps they begin at, u64 each), and all
    branches in the same form; see core.epochs. `last`: all that it has to tell now. Later ones contain what changed.

    Always sent before a vector or an entry that may depend on it."""

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
    """The frame of a message."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


def plain(text: str, most: int) -> str:
    """What somebody else wrote, fit for a log and a terminal: one line without control characters, `most` of it."""
    return "".join(each if each.isprintable() else "?" for each in text[:most])


def decode(body: bytes | bytearray | memoryview) -> AnyMessage:
    """The message in the body of a frame. Raises RemoteProtocolError."""
    try:
        message: AnyMessage = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError) as error:
        raise RemoteProtocolError(f"not a message: {error}", ByeCode.PROTOCOL) from error
    return message
