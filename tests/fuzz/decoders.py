"""The decoders that take bytes and give a value: what may come out of them, and what must hold of that."""

import struct
from itertools import pairwise

from level_replicator.core.entry import (
    Entry,
    decode_context,
    decode_entry,
    decode_index,
    encode_context,
    encode_entry,
    encode_index,
    is_sound,
)
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.intervals import Intervals
from level_replicator.core.limits import MAX_FRAME_BYTES, MAX_HANDSHAKE_FRAME_BYTES
from level_replicator.core.reconcile_rules import FINGERPRINT_BYTES, KeyRange
from level_replicator.core.version_vector import decode_vector, encode_vector
from level_replicator.protocol.events import EntriesReceived, RangeAnswered, RangeEntriesReceived, RoundCompleted
from level_replicator.protocol.framing import FrameReader
from level_replicator.protocol.messages import (
    ByeCode,
    Entries,
    RangeEntries,
    RangeEqual,
    RangeRows,
    RangeSplit,
    RoundEnd,
    RoundStart,
    decode,
    encode,
)
from level_replicator.protocol.pull import PullReceiver
from level_replicator.protocol.range_queries import PendingQueries
from level_replicator.storage.state.schema import (
    decode_applied,
    decode_intervals,
    decode_stamp,
    decode_vector_entry,
    encode_applied,
    encode_intervals,
    encode_stamp,
    encode_vector_entry,
)
from tests.fuzz.saying import ACCEPTABLE, key, keys, message
from tests.fuzz.source import Source


def refused(error: RemoteProtocolError) -> None:
    """What a link does with it: it becomes a Bye that the peer can read."""
    assert ByeCode(error.code) in ByeCode
    assert str(error)


# -- frames


def frames(data: bytes) -> None:
    """Any cut of the bytes gives the same frames, then the same complaint; no more is kept than one frame may have."""
    source = Source(data)
    limit = source.pick([MAX_HANDSHAKE_FRAME_BYTES, 8, 0, 300, MAX_FRAME_BYTES])
    cuts = [source.byte() for _ in range(source.below(8))]
    stream = source.rest()
    wanted = _frames_by_hand(stream, limit)
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(stream[at : at + cut])
        at += cut
    for dealt in ([stream], [*pieces, stream[at:]], [stream[at : at + 1] for at in range(len(stream))]):
        assert _frames(dealt, limit) == wanted


def _frames(pieces: list[bytes], limit: int) -> tuple[list[bytes], bool]:
    """The frames, and whether there was a complaint."""
    reader, found = FrameReader(), list[bytes]()
    reader.limit = limit
    try:
        for piece in pieces:
            for body in reader.feed(piece):
                found.append(body)
            assert len(reader._buffer) < 4 + limit or len(reader._buffer) < 4
    except RemoteProtocolError as error:
        refused(error)
        return found, True
    return found, False


def _frames_by_hand(stream: bytes, limit: int) -> tuple[list[bytes], bool]:
    found = []
    while len(stream) >= 4:
        length = int.from_bytes(stream[:4], "big")
        if length > limit:
            return found, True
        if len(stream) < 4 + length:
            break
        found.append(stream[4 : 4 + length])
        stream = stream[4 + length :]
    return found, False


# -- messages, vectors, entries


def messages(data: bytes) -> None:
    """A message, or refused; what is taken is encoded to something that is taken the same.

    So are the bytes of a message with some of them changed, since nothing guides a fuzzer through a decoder in C."""
    _message(data)
    source = Source(data)
    body = bytearray(encode(message(source))[4:])
    assert _message(bytes(body))
    for _ in range(min(source.left // 2, 8)):
        at, other = source.byte() % (len(body) + 1), source.byte()
        body[at : at + (other & 1)] = bytes([other >> 1 | other << 7 & 0x80])
        _message(bytes(body))


def _message(data: bytes) -> bool:
    try:
        taken = decode(data)
    except RemoteProtocolError as error:
        refused(error)
        return False
    assert decode(encode(taken)[4:]) == taken
    assert decode(memoryview(data)) == decode(bytearray(data)) == taken
    return True


def vectors(data: bytes) -> None:
    """A vector has one form only."""
    try:
        taken = decode_vector(data)
    except RemoteProtocolError as error:
        refused(error)
        return
    assert encode_vector(taken) == data
    assert all(0 < number < 1 << 64 for pair in taken.items() for number in pair)


def entries(data: bytes) -> None:
    """An entry has one form only, so what is forwarded is what was checked; and both ways to check agree."""
    taken = _entry(data, valueless=False)
    assert is_sound(data) == (taken is not None)
    if taken is not None:
        again = encode_entry(taken.stamp, taken.key, taken.value, taken.context, taken.written)
        assert again == (data, taken.flags, taken.checksum)
    bare = _entry(data, valueless=True)
    if bare is not None:
        assert not bare.value
        count = (len(bare.context) // 16).to_bytes(2, "big") * bool(bare.context)
        assert data.endswith(bare.key + bare.written + count + bare.context)


def _entry(data: bytes, *, valueless: bool) -> Entry | None:
    try:
        taken = decode_entry(data, valueless=valueless)
    except RemoteProtocolError as error:
        refused(error)
        return None
    context = decode_context(taken.context)
    assert decode_context(encode_context(context)) == context
    newest, _ = taken.written_dot(1)
    assert 0 <= newest <= taken.stamp
    assert all(0 < stamp <= newest for stamp in context.values())
    return taken


# -- what the replication set holds: only ours, so only struct.error, which its boundary turns into a StorageError


def lines(data: bytes) -> None:
    """Each small line of the replication set, and a line of the index, has one form only."""
    source = Source(data)
    kind, line = source.below(5), source.rest()
    try:
        match kind:
            case 0:
                before, stamp = decode_vector_entry(line)
                assert encode_vector_entry(stamp, before) == line
            case 1:
                assert encode_stamp(decode_stamp(line)) == line
            case 2:
                assert encode_applied(*decode_applied(line)) == line
            case 3:
                _intervals(decode_intervals(line))
            case _:
                _index(line)
    except struct.error:
        pass


def _intervals(taken: Intervals) -> None:
    spans = list(taken)
    assert all(low < high for low, high in spans)
    assert all(one[1] < other[0] for one, other in pairwise(spans))
    assert list(decode_intervals(encode_intervals(taken))) == spans


def _index(line: bytes) -> None:
    taken = decode_index(line)
    own, union = decode_context(taken.own), decode_context(taken.context)
    again = encode_index(
        taken.stamp, taken.origin, taken.flags, taken.checksum, taken.context, taken.own, taken.written
    )
    assert decode_index(again) == taken
    assert (decode_context(taken.own), decode_context(taken.context)) == (own, union)


# -- what is asked for, and what comes


def answers(data: bytes) -> None:
    """Answers of a reconciliation: accepted entries were requested, are in their range and in order, and have no
    future timestamp."""
    source = Source(data)
    asks = PendingQueries()
    asks.begin(compare_only=source.flag())
    asked: list[tuple[bytes, bytes, list[bytes]]] = []
    while source.left and asks.open:
        what = source.byte()
        if what & 3 == 0:
            wanted = keys(source)
            asks.add_fetch(list(wanted))
            asked.append((b"", b"", wanted))
        elif what & 3 == 1:
            low, high = sorted([key(source), key(source)])
            asks.add_range(KeyRange(low, high, b"", source.below(3), 0))
            asked.append((low, high, []))
        elif what == 0xFE:
            asks.end()
        else:
            said = _said(source)
            if isinstance(said, RangeEqual | RangeSplit | RangeRows | RangeEntries):
                try:
                    found = asks.answer(said, ACCEPTABLE)
                except RemoteProtocolError as error:
                    refused(error)
                    return
                assert found is not None
                _answer_is_right(found, *asked[0])
                if isinstance(found, RangeAnswered) or found.last:
                    asked.pop(0)
    assert len(asks) == len(asked) or not asks.open
    assert asks.open or asks.answer(RangeEqual(), ACCEPTABLE) is None


def _said(source: Source) -> object:
    """A message out of choices, or of the bytes of a frame."""
    if source.byte() != 0xFF:
        return message(source)
    try:
        return decode(source.block())
    except RemoteProtocolError:
        return None


def _answer_is_right(
    found: RangeAnswered | RangeEntriesReceived, low: bytes, high: bytes, fetched: list[bytes]
) -> None:
    if isinstance(found, RangeEntriesReceived):
        told = [entry.key for _, entry in found.entries]
        assert all(origin and 0 < entry.stamp <= ACCEPTABLE for origin, entry in found.entries)
        if fetched:
            assert {*told, *found.lacking} <= set(fetched)
        assert all(found.entries[at][1].value == b"" for at in found.equal)
    elif found.rows is not None:
        told = [each for each, _ in found.rows]
        rows = [decode_index(row) for _, row in found.rows]
        assert all(row.origin and 0 < row.written_dot[0] <= row.stamp <= ACCEPTABLE for row in rows)
        assert not any(row.context for row in rows)
    elif found.bounds is not None:
        told = found.bounds
        assert found.prints is not None
        assert {len(each) for each in found.prints} == {FINGERPRINT_BYTES}
        assert len(found.prints) == len(told) + 1
        assert all(low < each for each in told)
    else:
        told = []
    if not fetched:
        assert told == sorted(set(told))
        assert all(low <= each and (not high or each < high) for each in told)


def pulls(data: bytes) -> None:
    """Rounds: what is applied lies where it was said to be, nothing twice in a round, nothing of the future."""
    source = Source(data)
    pull = PullReceiver()
    covered: dict[int, set[tuple[int, int]]] = {}
    while source.left:
        what = source.byte()
        try:
            if what == 0xFD:
                pull.next_pull()
                continue
            if what == 0xFE:
                pull.abandon()
                continue
            said = _said(source)
            if isinstance(said, RoundStart):
                number = pull.number if what & 1 else said.pull
                if pull.begin_round(decode_vector(said.vector), ACCEPTABLE, number) is not None:
                    covered = {}
            elif isinstance(said, Entries):
                apply = pull.entries(said, ACCEPTABLE)
                if apply is not None:
                    _frame_is_right(apply, covered.setdefault(apply.origin, set()))
            elif isinstance(said, RoundEnd):
                took = pull.round_ended()
                assert took is None or isinstance(took, RoundCompleted)
        except RemoteProtocolError as error:
            refused(error)
            return
        assert pull.target is None or max(pull.target.values(), default=0) <= ACCEPTABLE


def _frame_is_right(apply: EntriesReceived, covered: set[tuple[int, int]]) -> None:
    assert 0 < apply.origin < 1 << 64
    assert 0 <= apply.low < apply.high <= ACCEPTABLE
    assert apply.resumable <= apply.high
    assert all(apply.low < entry.stamp <= apply.high for entry in apply.entries)
    assert len({entry.key for entry in apply.entries}) == len({entry.stamp for entry in apply.entries})
    assert all(high <= apply.low or low >= apply.high for low, high in covered)
    covered.add((apply.low, apply.high))
