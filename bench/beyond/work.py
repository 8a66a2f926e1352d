"""The work, the same for all: batches of local writes, and a round of frames as a peer sends it."""

from collections.abc import Iterator

from bench.data import pairs
from level_replicator.core.entry import encode_context, encode_entry
from level_replicator.core.hlc import stamp_at
from level_replicator.protocol.messages import Entries, encode

BATCH = 1_000
FRAME = 1_024
ROW_HEAD_BYTES = 4  # of a frame: its length

OWN, PEER = 0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210
OWN_MS = 1_800_000_000_000
PEER_MS = OWN_MS + 3_600_000
LATEST = stamp_at(PEER_MS + 3_600_000)

Operations = list[tuple[bytes, bytes | None]]


def batches(ready: list[tuple[bytes, bytes]], size: int = BATCH) -> Iterator[Operations]:
    for start in range(0, len(ready), size):
        yield list(ready[start : start + size])


def changed(count: int) -> list[tuple[bytes, bytes]]:
    """The keys of `pairs`, in their order, each with the value of another one."""
    ready = list(pairs(count))
    return [(key, ready[number - 1][1]) for number, (key, _) in enumerate(ready)]


def frames(ready: list[tuple[bytes, bytes]], *, seen: bool) -> tuple[list[bytes], int]:
    """Bodies of the frames of a first round, the newest entries first, and the stamp that its vector has of the peer.

    `seen`: the peer overwrote what `OWN` had written, key by key and in this order, beginning at OWN_MS."""
    first, own = stamp_at(PEER_MS), stamp_at(OWN_MS)
    records = [
        encode_entry(first + number, key, value, encode_context({OWN: own + number}) if seen else b"")[0]
        for number, (key, value) in enumerate(ready)
    ]
    bodies = []
    for end in range(len(records), 0, -FRAME):
        start = max(end - FRAME, 0)
        message = Entries(PEER, first + start - 1, first + end - 1, records[start:end][::-1], start == 0)
        bodies.append(encode(message)[ROW_HEAD_BYTES:])
    return bodies, first + len(records) - 1
