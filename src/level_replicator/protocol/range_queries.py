"""The asking side of a walk: what a peer answers is checked here before anything is done with it.

Answers come in the order of the questions. What comes when nothing is open belongs to a walk that was given
up, and is not looked at.
"""

from collections import deque
from dataclasses import dataclass
from itertools import islice
from operator import lt
from struct import unpack

from level_replicator.core.entry import (
    CONTEXT,
    DOT_BYTES,
    INDEX_HEAD,
    RESTAMPED,
    ROW_FLAGS,
    decode_entry,
    index_written,
    require_written,
)
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MANY_PARTS, MAX_FRAME_ENTRIES, MAX_KEY_BYTES, MAX_PARTS_BYTES
from level_replicator.core.reconcile_rules import HEAD_BYTES, PRINT_BYTES
from level_replicator.protocol.events import Answered, Fill
from level_replicator.protocol.messages import Items, Lines, Parts, Same, WalkReply
from level_replicator.protocol.pull import refuse_future


@dataclass(slots=True)
class _Ask:
    """One open question. `after`: the last key of what was sent for it."""

    low: bytes
    high: bytes
    fetch: list[bytes] | None
    may_fill: bool
    after: bytes | None = None


class Asks:
    """Of one session. `open`: whether a walk is under way; `looking`: one that takes nothing over."""

    def __init__(self) -> None:
        self.open = False
        self.looking = False
        self._asks: deque[_Ask] = deque()

    def begin(self, *, looking: bool = False) -> None:
        self.open, self.looking = True, looking
        self._asks.clear()

    def end(self) -> None:
        self.open = self.looking = False
        self._asks.clear()

    def end_pull(self) -> None:
        """The pull that the walk belongs to is over; one that only looks goes on."""
        if not self.looking:
            self.end()

    def probed(self, low: bytes, high: bytes, count: int) -> None:
        self._asks.append(_Ask(low, high, None, count == 0))

    def fetched(self, keys: list[bytes]) -> None:
        self._asks.append(_Ask(b"", b"", keys, True))

    def answer(self, message: WalkReply, latest: int) -> Answered | Fill | None:
        """Raises RemoteProtocolError; None: of a walk that is over."""
        if not self.open:
            return None
        if not self._asks:
            raise RemoteProtocolError("an answer to what was not asked")
        ask = self._asks[0]
        if isinstance(message, Items):
            return self._items(ask, message, latest)
        if ask.fetch is not None or ask.may_fill:
            raise RemoteProtocolError("not the answer that was asked for")
        self._asks.popleft()
        match message:
            case Same():
                return Answered(same=True)
            case Parts():
                return _parts(ask, message)
            case Lines():
                return _lines(ask, message, latest)

    def _items(self, ask: _Ask, message: Items, latest: int) -> Fill:
        if not ask.may_fill:
            raise RemoteProtocolError("entries that were not asked for")
        count = len(message.records)
        if count > MAX_FRAME_ENTRIES or len(message.origins) != 8 * count:
            raise RemoteProtocolError(f"{count} entries of a walk with {len(message.origins)} bytes of origins")
        equal = set(message.equal)
        if equal and not 0 <= min(equal) <= max(equal) < count:
            raise RemoteProtocolError("the place of an entry that is not there")
        origins = unpack(f">{count}Q", message.origins)
        if equal:
            entries = [decode_entry(each, valueless=at in equal) for at, each in enumerate(message.records)]
        else:
            entries = list(map(decode_entry, message.records))
        stamps, keys = [entry[0] for entry in entries], [entry[3] for entry in entries]
        if 0 in origins or 0 in stamps:
            raise RemoteProtocolError("an entry of origin or stamp 0")
        refuse_future(max(stamps, default=0), latest)
        span: tuple[bytes, bytes] | None = None
        if ask.fetch is None:
            _require_order(([] if ask.after is None else [ask.after]) + keys, ask.low, ask.high)
            if equal:
                raise RemoteProtocolError("an entry without its value that was not asked for so")
            low = ask.low if ask.after is None else ask.after + b"\0"
            ask.after = keys[-1] if keys else ask.after
            if message.last:
                span = (low, ask.high)
            elif keys:
                span = (low, keys[-1] + b"\0")
        else:
            _require_fetched(ask.fetch, keys, message)
        if message.last:
            self._asks.popleft()
        return Fill(list(zip(origins, entries, strict=True)), equal, message.lacking, message.last, span)


def _require_order(keys: list[bytes], low: bytes, high: bytes) -> None:
    in_order = all(map(lt, keys, islice(keys, 1, None)))
    if not in_order or (keys and (keys[0] < low or (high and keys[-1] >= high))):
        raise RemoteProtocolError("keys of a walk out of order, or outside the range")


def _require_fetched(asked: list[bytes], keys: list[bytes], message: Items) -> None:
    left = set(asked)
    for key in [*keys, *message.lacking]:
        if key not in left:
            raise RemoteProtocolError("an entry that was not fetched")
        left.remove(key)
    asked[:] = [key for key in asked if key in left]
    if message.last and left:
        raise RemoteProtocolError("fewer entries than were fetched")


def _parts(ask: _Ask, message: Parts) -> Answered:
    count = len(message.bounds) + 1
    if count > MANY_PARTS or sum(map(len, message.bounds)) > MAX_PARTS_BYTES + MAX_KEY_BYTES:
        raise RemoteProtocolError(f"{count} parts are too many, or their bounds too long")
    if count < 2 or len(message.prints) != count * PRINT_BYTES:
        raise RemoteProtocolError(f"{count} parts with {len(message.prints)} bytes of fingerprints")
    _require_order([ask.low, *message.bounds], ask.low, ask.high)
    prints = [message.prints[at : at + PRINT_BYTES] for at in range(0, len(message.prints), PRINT_BYTES)]
    return Answered(bounds=message.bounds, prints=prints)


def _lines(ask: _Ask, message: Lines, latest: int) -> Answered:
    count = len(message.keys)
    if count > MAX_FRAME_ENTRIES or len(message.rows) != count:
        raise RemoteProtocolError(f"{count} keys of an index with {len(message.rows)} rows")
    _require_order(message.keys, ask.low, ask.high)
    for row in message.rows:
        _require_row(row, latest)
    return Answered(lines=list(zip(message.keys, message.rows, strict=True)))


def _require_row(row: bytes, latest: int) -> None:
    if len(row) < HEAD_BYTES:
        raise RemoteProtocolError(f"an index row of {len(row)} bytes, at least {HEAD_BYTES} are needed")
    stamp, origin, flags, _ = INDEX_HEAD.unpack_from(row)
    if not stamp or not origin:
        raise RemoteProtocolError("an index row with origin or stamp 0")
    refuse_future(stamp, latest)
    if flags & ~(ROW_FLAGS | CONTEXT):
        raise RemoteProtocolError(f"an index row has unknown flags {flags:#x}")
    if len(row) != HEAD_BYTES + (DOT_BYTES if flags & RESTAMPED else 0):
        raise RemoteProtocolError(f"an index row with flags {flags:#x} has {len(row)} bytes")
    if flags & RESTAMPED:
        require_written(index_written(row), stamp)
