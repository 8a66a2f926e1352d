"""The messages between a client and a node, and their encoding.

A client is not a peer: it has no log and no vector, and uses the database of a node from another process. Its
connection begins with PREAMBLE, which a node cannot mistake for a peer's frame, since its length would exceed every
limit. Frames follow as in a peer's session (framing.py). Over TLS the ALPN protocol identifies a client before the node
checks its key.

    client                                     node
    PREAMBLE Attach ──────────────────────▶
             ◀──────────────────────────────  Attached              (or Failed, and the end)
    Get, Write, Scan, … each with a number ─▶
             ◀──────────────────────────────  (Progress …) the answer with this number; answers may overtake each other
"""

from typing import Any

import msgspec

from level_replicator.core.errors import RemoteProtocolError

PREAMBLE = b"LRC1"
ALPN = b"level-replicator-client"
VERSION = 1
"""Version of the protocol of clients. A node refuses a client of another version, and names both versions."""

Operation = tuple[bytes, bytes | None]
Gap = tuple[bytes, bool]
"""A place between keys: before the key, or, with True, behind it."""


class Request(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of all requests. `id`: given back with the answer; 1 or more, different for all that are open."""

    id: int


class Attach(Request, frozen=True, tag=1):
    """The first one. `id` is 0."""

    version: int = VERSION


class Get(Request, frozen=True, tag=2):
    """The value of a key, now or in a snapshot (its number; 0: now). Value is the answer."""

    key: bytes
    snapshot: int = 0
    verify_checksums: bool = False
    fill_cache: bool = True


class Write(Request, frozen=True, tag=3):
    """All of them, in order, together or not at all; None deletes. `sync` None: as the node does. Done."""

    operations: list[Operation]
    sync: bool | None = None


class Scan(Request, frozen=True, tag=4):
    """Keys and values between two gaps, in order or reversed, as many as go into one answer: Page.

    `snapshot`: its number; 0: of now, and if there is more than one page, the page names the snapshot to go on with."""

    low: Gap | None
    high: Gap | None
    snapshot: int = 0
    reverse: bool = False
    keys: bool = True
    values: bool = True
    verify_checksums: bool = False
    fill_cache: bool = True


class TakeSnapshot(Request, frozen=True, tag=5):
    """Number."""


class Release(Request, frozen=True, tag=6):
    """Release a snapshot. An unknown number is not an error. The answer is Done."""

    snapshot: int


class Follow(Request, frozen=True, tag=7):
    """Begins a changes feed. `cursor`: the text of an earlier one, None: all there is; `now`: from here on. Number."""

    cursor: str | None
    prefix: bytes
    now: bool = False


class Read(Request, frozen=True, tag=8):
    """The next of a feed, waiting so long for it, ms. Items."""

    feed: int
    wait_ms: int = 0


class Unfollow(Request, frozen=True, tag=9):
    """Done."""

    feed: int


class Do(Request, frozen=True, tag=10):
    """Everything else, by its name. Data."""

    verb: str
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)


class Answer(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of all answers. `id`: of the request."""

    id: int


class Attached(Answer, frozen=True, tag=64):
    """Welcome. `origin`: of the node; `read_only`: it takes no writes of this client."""

    version: int
    origin: int
    read_only: bool


class Failed(Answer, frozen=True, tag=65):
    """`kind`: the name of the error, of core.errors or of Python."""

    kind: str
    text: str


class Done(Answer, frozen=True, tag=66):
    """Nothing more to say."""


class Value(Answer, frozen=True, tag=67):
    value: bytes | None


class Number(Answer, frozen=True, tag=68):
    number: int


class Page(Answer, frozen=True, tag=69):
    """`keys`, `values`: empty where they were not wanted, else of one length. `end`: what lies behind the last of them,
    None when there is nothing more."""

    keys: list[bytes]
    values: list[bytes]
    end: Gap | None
    snapshot: int = 0


class Items(Answer, frozen=True, tag=70):
    """Items of a changes feed.

    changes  (key, value or None, origin, stamp) of each change
    ordered  True if the changes are of one origin, in their order
    rescan   1 if a Rescan precedes the changes, 2 if a complete one does, else 0
    cursor   vector of the cursor behind the changes
    news     True if more items are available already
    node, ahead  the other parts of the cursor (core.version_vector)
    dots     if `ordered`, (stamp, origin) of the entry of each change; empty if they are those of the changes
    """

    changes: list[tuple[bytes, bytes | None, int, int]]
    ordered: bool
    rescan: int
    cursor: bytes
    news: bool
    node: int = 0
    ahead: bytes = b""
    dots: list[tuple[int, int]] = []


class Data(Answer, frozen=True, tag=71):
    """Plain data."""

    data: Any


class Progress(Answer, frozen=True, tag=72):
    """Progress of a long request, as the number `done`. The answer follows later."""

    done: int


AnyRequest = Attach | Get | Write | Scan | TakeSnapshot | Release | Follow | Read | Unfollow | Do
AnyAnswer = Attached | Failed | Done | Value | Number | Page | Items | Data | Progress

_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(AnyRequest)
_answers = msgspec.msgpack.Decoder(AnyAnswer)
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError)


def encode(message: Request | Answer) -> bytes:
    """The frame of a request or an answer. Raises TypeError for what MessagePack cannot hold."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


def decode_request(body: bytes) -> AnyRequest:
    """The request in the body of a frame. Raises RemoteProtocolError."""
    try:
        request: AnyRequest = _requests.decode(body)
    except _BROKEN as error:
        raise RemoteProtocolError(f"not a request: {error}") from error
    return request


def decode_answer(body: bytes) -> AnyAnswer:
    """The answer in the body of a frame. Raises RemoteProtocolError."""
    try:
        answer: AnyAnswer = _answers.decode(body)
    except _BROKEN as error:
        raise RemoteProtocolError(f"not an answer: {error}") from error
    return answer
