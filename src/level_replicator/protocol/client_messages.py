"""Requests of clients, the answers of the node, and their bytes.

A client uses the database of a node from another process. It is not a peer: it has no log and no vector. Its connection
begins with PREAMBLE, which distinguishes it from a peer: as the length of a frame it would be above every limit. Frames
follow as in every session (framing.py). Over TLS the ALPN announces a client before the node checks its key.

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
"""Version of this protocol. A node refuses clients of another version with an error that names both."""

Operation = tuple[bytes, bytes | None]
Gap = tuple[bytes, bool]
"""A position between keys: before the key, or, with True, behind it."""


class Request(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of all requests. `id`: returned with the answer; at least 1, and different for all open requests."""

    id: int


class Attach(Request, frozen=True, tag=1):
    """The first request of a connection; its `id` is 0. Answer: Attached."""

    version: int = VERSION


class Get(Request, frozen=True, tag=2):
    """Reads a key. `snapshot`: number of a snapshot; 0: the current state. Answer: Value."""

    key: bytes
    snapshot: int = 0
    verify_checksums: bool = False
    fill_cache: bool = True


class Write(Request, frozen=True, tag=3):
    """Writes a batch atomically, in order; a value of None deletes. `sync` None: as the node is configured.
    Answer: Done."""

    operations: list[Operation]
    sync: bool | None = None


class Scan(Request, frozen=True, tag=4):
    """Reads keys and values between two gaps, in key order or reversed, as many as fit into one answer. Answer: Page.

    `snapshot`: number of a snapshot; 0: the current state. If there are more pages, the answer has the number of the
    snapshot with which to continue."""

    low: Gap | None
    high: Gap | None
    snapshot: int = 0
    reverse: bool = False
    keys: bool = True
    values: bool = True
    verify_checksums: bool = False
    fill_cache: bool = True


class TakeSnapshot(Request, frozen=True, tag=5):
    """Takes a snapshot. Answer: Number."""


class Release(Request, frozen=True, tag=6):
    """Releases a snapshot; an unknown number is not an error. Answer: Done."""

    snapshot: int


class Follow(Request, frozen=True, tag=7):
    """Begins a changes feed. `cursor`: text of an earlier cursor; None: from the beginning; `now`: only later changes.
    Answer: Number."""

    cursor: str | None
    prefix: bytes
    now: bool = False


class Read(Request, frozen=True, tag=8):
    """Reads the next changes of a feed. `wait_ms`: milliseconds to wait if there are none. Answer: Items."""

    feed: int
    wait_ms: int = 0


class Unfollow(Request, frozen=True, tag=9):
    """Ends a changes feed. Answer: Done."""

    feed: int


class Do(Request, frozen=True, tag=10):
    """Calls any other operation by its name. Answer: Data."""

    verb: str
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)


class Answer(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of all answers. `id`: that of the request."""

    id: int


class Attached(Answer, frozen=True, tag=64):
    """The client is accepted. `origin`: origin of the node; `read_only`: it accepts no writes of this client."""

    version: int
    origin: int
    read_only: bool


class Failed(Answer, frozen=True, tag=65):
    """The request has failed. `kind`: name of the exception, of core.errors or of Python."""

    kind: str
    text: str


class Done(Answer, frozen=True, tag=66):
    """The request has succeeded, and has no result."""


class Value(Answer, frozen=True, tag=67):
    value: bytes | None


class Number(Answer, frozen=True, tag=68):
    number: int


class Page(Answer, frozen=True, tag=69):
    """`keys`, `values`: empty if they were not requested, else of the same length. `end`: the gap where the next
    page begins; None: this is the last page."""

    keys: list[bytes]
    values: list[bytes]
    end: Gap | None
    snapshot: int = 0


class Items(Answer, frozen=True, tag=70):
    """Changes of a feed: (key, value or None, origin, stamp). `rescan`: 1 if a Rescan precedes them, 2 for a
    complete one. `cursor`: vector of the cursor behind them; `node`, `ahead`: its other parts (core.version_vector).
    `news`: there are more changes already. `dots`: (stamp, origin) of the entry of each change, if `ordered`; empty if
    they equal those of the changes themselves."""

    changes: list[tuple[bytes, bytes | None, int, int]]
    ordered: bool
    rescan: int
    cursor: bytes
    news: bool
    node: int = 0
    ahead: bytes = b""
    dots: list[tuple[int, int]] = []


class Data(Answer, frozen=True, tag=71):
    """The result of `Do`: data of MessagePack types."""

    data: Any


class Progress(Answer, frozen=True, tag=72):
    """Progress of a long request, whose answer follows later. `done`: number of items that are done."""

    done: int


AnyRequest = Attach | Get | Write | Scan | TakeSnapshot | Release | Follow | Read | Unfollow | Do
AnyAnswer = Attached | Failed | Done | Value | Number | Page | Items | Data | Progress

_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(AnyRequest)
_answers = msgspec.msgpack.Decoder(AnyAnswer)
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError)


def encode(message: Request | Answer) -> bytes:
    """Return the frame of a request or an answer. Raises TypeError for values that MessagePack cannot encode."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


def decode_request(body: bytes) -> AnyRequest:
    """Return the request in the body of a frame. Raises RemoteProtocolError."""
    try:
        request: AnyRequest = _requests.decode(body)
    except _BROKEN as error:
        raise RemoteProtocolError(f"not a request: {error}") from error
    return request


def decode_answer(body: bytes) -> AnyAnswer:
    """Return the answer in the body of a frame. Raises RemoteProtocolError."""
    try:
        answer: AnyAnswer = _answers.decode(body)
    except _BROKEN as error:
        raise RemoteProtocolError(f"not an answer: {error}") from error
    return answer
