"""What the demo and its masters say to each other: one JSON object a line, bytes as base64."""

import msgspec

Operation = tuple[bytes, bytes | None]
"""A key and its value, None to delete it."""


class Apply(msgspec.Struct, tag="apply"):
    """Write these, in order; with `atomic` as one batch. Answered by Applied with the same number."""

    number: int
    operations: list[Operation]
    atomic: bool


class Stop(msgspec.Struct, tag="stop"):
    """Close the replica and end."""


class Applied(msgspec.Struct, tag="applied"):
    """Every operation of that number is acknowledged by the replica."""

    number: int


class PeerStatus(msgspec.Struct):
    """What of `status()["peers"]` the demo looks at."""

    address: str
    origin: str | None
    state: str
    last_error: str | None
    behind: int | None
    bytes_in: int
    entries_in: int


class Status(msgspec.Struct, tag="status"):
    """What of `status()` the demo looks at. The first one says that the master is ready."""

    origin: str
    keys: int
    vector: dict[str, int]
    peers: list[PeerStatus]


class Failed(msgspec.Struct, tag="failed"):
    """The master ends, because of this."""

    text: str


Command = Apply | Stop
Report = Applied | Status | Failed
