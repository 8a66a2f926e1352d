"""The messages of a session and their bytes.

A frame is a length (u32, big-endian, without itself) and a MessagePack array whose first item is the
number of the message. Items that a later version appends are ignored. Vectors travel as their bytes (versions.py).

    dialler                                   acceptor
    Hello ────────────────────────────────▶
          ◀──────────────────────────────────  Hello, Welcome      (or Bye)
    Welcome ──────────────────────────────▶                        (or Bye)
    and from here both the same:
    Want: pull from me, this is what I know   → Round, Entries …, Level; then again, live, as changes come
    Have: my vector moved                     Ask / Tell: what is your vector now?     Ping: still there
"""

from enum import IntEnum

import msgspec

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import DEFAULT_HEARTBEAT_S

MAGIC = "level-replicator"
VERSION = 1
"""Of the protocol. Peers of different versions part with a Bye that names both."""


class ByeCode(IntEnum):
    """Why a session ends."""

    STOPPING = 0
    PROTOCOL = 1
    VERSION = 2
    CLOCK = 3
    TWIN = 4
    SELF = 5
    DUPLICATE = 6
    RENEWED = 7
    BUSY = 8
    STORAGE = 9
    SILENT = 10


class Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of all messages."""


class Hello(Message, frozen=True, tag=1):
    """Who speaks. `instance` is random for each start of a process: it tells a twin from a second connection.

    `heartbeat_ms`: a sender that was quiet for four of these is taken for gone."""

    magic: str
    version: int
    origin: int
    instance: bytes
    heartbeat_ms: int = int(DEFAULT_HEARTBEAT_S * 1000)


class Welcome(Message, frozen=True, tag=2):
    """The sender has accepted the peer. Data flows when both have."""


class Want(Message, frozen=True, tag=3):
    """The sender begins a pull. `have`: (origin, low, high) of what it has applied of a scan of ours that broke off."""

    vector: bytes
    have: list[tuple[int, int, int]]


class Round(Message, frozen=True, tag=4):
    """The sender begins to send all that its log holds, in one snapshot, and the reader does not cover.

    `vector`: where its vector was in that snapshot, as far as it is above the reader's."""

    vector: bytes


class Entries(Message, frozen=True, tag=5):
    """All that the round's snapshot holds of `origin` in (low, high]. With `last`, the round is complete."""

    origin: int
    low: int
    high: int
    records: list[bytes]
    last: bool


class Level(Message, frozen=True, tag=6):
    """The round is complete: the reader takes over the vector of its Round."""


class Have(Message, frozen=True, tag=7):
    """The sender's vector moved to at least this."""

    vector: bytes


class Ping(Message, frozen=True, tag=8):
    """Sent when nothing else was for a heartbeat."""


class Ask(Message, frozen=True, tag=9):
    """What is your vector now?"""

    token: int


class Tell(Message, frozen=True, tag=10):
    """The answer to Ask."""

    token: int
    vector: bytes


class Bye(Message, frozen=True, tag=11):
    """The last message: why the sender closes."""

    code: int
    text: str


AnyMessage = Hello | Welcome | Want | Round | Entries | Level | Have | Ping | Ask | Tell | Bye

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: Message) -> bytes:
    """The frame of a message."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


def decode(body: bytes | bytearray | memoryview) -> AnyMessage:
    """The message in the body of a frame. Raises RemoteProtocolError."""
    try:
        message: AnyMessage = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError) as error:
        raise RemoteProtocolError(f"not a message: {error}", ByeCode.PROTOCOL) from error
    return message
