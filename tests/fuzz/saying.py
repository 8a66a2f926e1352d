"""What a peer says, out of choices: messages that are nearly right, so that a fuzzer gets far, and raw bytes."""

from collections.abc import Callable
from struct import pack

from level_replicator.core.entry import CONTEXT, DELETE, ENTRY_HEAD, RESTAMPED, encode_context, encode_dot, encode_entry
from level_replicator.core.version_vector import encode_vector
from level_replicator.protocol.messages import (
    MAGIC,
    VERSION,
    Bye,
    CompareStart,
    Entries,
    Fetch,
    Hello,
    Histories,
    Message,
    PausePull,
    Ping,
    RangeEntries,
    RangeEqual,
    RangeQuery,
    RangeRows,
    RangeSplit,
    ReconcileDone,
    ReconcileStart,
    RoundEnd,
    RoundStart,
    StartPull,
    VectorQuery,
    VectorReply,
    VectorUpdate,
    Welcome,
    encode,
)
from tests.fuzz.source import Source

WALL_MS = 1_000
MAX_DRIFT_MS = 60_000
US, PEER, OTHER = 1, 2, 3
LAST = (1 << 64) - 1
NOW = WALL_MS << 16
ACCEPTABLE = ((WALL_MS + MAX_DRIFT_MS + 1) << 16) - 1
"""The greatest stamp that is taken at WALL_MS."""
ORIGINS = [PEER, OTHER, US, 4, 0, LAST]
KEYS = [b"a", b"b", b"c", b"d", b"e", b"", b"\0", b"aa", b"\xff"]
VALUES = [b"1", b"", b"other", bytes(40)]


def origin(source: Source) -> int:
    return source.pick(ORIGINS)


def stamp(source: Source) -> int:
    """Mostly near what a node writes at WALL_MS, now and then at an edge."""
    number = source.byte()
    if number < 0xC0:
        return NOW + (number << 12) + 1
    if number < 0xF0:
        return number - 0xBF
    edges = [0, NOW, NOW + (1 << 16), NOW + (2 << 16), ACCEPTABLE, ACCEPTABLE + 1, LAST, LAST - 1]
    return edges[number & 7]


def vector(source: Source) -> bytes:
    count = source.byte()
    if count == 0xFF:
        return source.piece()
    pairs = [(origin(source), stamp(source)) for _ in range(count & 3)]
    return encode_vector(dict(pairs)) if count & 4 else b"".join(pack(">QQ", *pair) for pair in pairs)


def history(source: Source) -> bytes:
    """Or branches: pairs of an epoch, which may be an origin, and a stamp."""
    count = source.byte()
    if count == 0xFF:
        return source.piece()
    return b"".join(pack(">QQ", source.pick([US, PEER, 7, 8, 9, 0]), stamp(source)) for _ in range(count & 3))


def key(source: Source) -> bytes:
    number = source.byte()
    return source.piece() if number == 0xFF else KEYS[number % len(KEYS)]


def keys(source: Source, most: int = 7) -> list[bytes]:
    """In order, if the choice is not otherwise."""
    count = source.byte()
    found = [key(source) for _ in range(min(count & 7, most))]
    return found if count & 8 else sorted(set(found))


def record(source: Source, at: int | None = None, of: bytes | None = None) -> bytes:
    """An entry; sometimes one that is not sound."""
    how = source.byte()
    if how == 0xFF:
        return source.piece()
    at = stamp(source) if at is None else at
    of = key(source) if of is None else of
    value = None if how & 1 else source.pick(VALUES)
    context = encode_context({origin(source): stamp(source) for _ in range(how >> 1 & 3)})
    written = encode_dot(stamp(source), origin(source)) if how & 0x08 else b""
    whole, flags, checksum = encode_entry(at, of, value, context, written)
    if how & 0x78 == 0x78:
        body = context if value is None else context + value
        changed = flags ^ source.pick([0, DELETE, CONTEXT, RESTAMPED])
        return ENTRY_HEAD.pack(at, changed, checksum, len(of)) + of + written + body
    return whole[: len(whole) - len(value or b"")] if how & 0x80 else whole


def row(source: Source) -> bytes:
    """A row of the index."""
    flags = source.pick([0, DELETE, RESTAMPED, RESTAMPED | DELETE, 4])
    head = pack(">QQBI", stamp(source), origin(source), flags, source.pick([0, 0x83DCEFB7, LAST >> 32]))
    return head + (encode_dot(stamp(source), origin(source)) if flags & RESTAMPED else b"")


def _interval(source: Source) -> tuple[int, int]:
    low, high = stamp(source), stamp(source)
    return (0, high) if source.flag() else (low, high)


def _hello(source: Source) -> Message:
    magic, version = source.pick([MAGIC, MAGIC, ""]), source.pick([VERSION, VERSION, 0, LAST])
    beat = source.pick([1_000, 50, 3_600_000, 0, -1])
    return Hello(magic, version, origin(source), source.pick([b"peer", b"us", b"", bytes(65)]), beat)


def _want(source: Source) -> Message:
    have = [(origin(source), *_interval(source)) for _ in range(source.below(4))]
    return StartPull(vector(source), have, vector(source), stamp(source) if source.flag() else 0, source.below(4))


def _entries(source: Source) -> Message:
    count = source.byte()
    of, (low, high) = origin(source), _interval(source)
    records = [record(source) for _ in range(count & 7)]
    if count & 8 == 0:
        records = sorted({each[:8]: each for each in records}.values(), reverse=bool(count & 0x10))
    return Entries(of, low, high, records, bool(count & 0x20))


def _parts(source: Source) -> Message:
    bounds = keys(source)
    prints = source.piece() if source.byte() == 0xFF else bytes(16 * (len(bounds) + 1))
    return RangeSplit(bounds, prints)


def _lines(source: Source) -> Message:
    told = keys(source)
    return RangeRows(told, [row(source) for _ in told] + ([source.piece()] if source.byte() == 0xFF else []))


def _items(source: Source) -> Message:
    flags = source.byte()
    told = keys(source)
    records = [record(source, of=each) for each in told]
    origins = [origin(source) for _ in told]
    equal = [source.below(8) for _ in range(flags >> 1 & 3)]
    if flags & 8 and records:
        # without its value, and said to be equal: what only a fetch may bring
        equal.append(0)
    extra = source.piece() if flags & 0x80 else b""
    return RangeEntries(
        pack(f">{len(origins)}Q", *origins) + extra, records, equal, keys(source, flags >> 4 & 3), flags & 1 == 0
    )


def _probe(source: Source) -> Message:
    count = source.byte()
    some = [(key(source), key(source), source.pick([bytes(16), b""]), source.below(80)) for _ in range(count & 3)]
    return RangeQuery(some if some or count & 4 else [(b"", b"", bytes(16), source.below(4))])


def _fetch(source: Source) -> Message:
    asked = keys(source)
    return Fetch(asked, [source.pick([b"", bytes(16)]) for _ in asked][: len(asked) - (source.byte() == 0xFF)])


def _reconcile(source: Source) -> Message:
    return ReconcileStart(vector(source), vector(source), stamp(source) if source.flag() else 0, source.below(4))


_SAYING: list[Callable[[Source], Message]] = [
    lambda source: RoundStart(vector(source), source.below(4)),
    _entries,
    lambda source: RoundEnd(),
    _want,
    lambda source: VectorUpdate(vector(source)),
    _reconcile,
    _items,
    _lines,
    _parts,
    lambda source: RangeEqual(),
    _probe,
    _fetch,
    lambda source: CompareStart(),
    lambda source: ReconcileDone(),
    lambda source: PausePull(),
    lambda source: VectorQuery(source.pick([1, 0, -1, LAST])),
    lambda source: VectorReply(source.pick([1, 0, LAST]), vector(source)),
    lambda source: Ping(),
    lambda source: Bye(source.pick([0, 1, 11, 12, -1, LAST]), source.pick(["why", "", "x" * 600])),
    _hello,
    lambda source: Welcome(source.flag()),
    lambda source: Histories(
        [(origin(source), history(source)) for _ in range(source.below(3))], history(source), source.flag()
    ),
]
RAW_FRAME, RAW_BYTES = len(_SAYING), len(_SAYING) + 1
KINDS = len(_SAYING) + 2


def message(source: Source) -> Message:
    """Of any kind."""
    return source.pick(_SAYING)(source)


def saying(source: Source) -> bytes:
    """A frame, mostly; or bytes that need not be one."""
    kind = source.byte() % KINDS
    if kind == RAW_FRAME:
        body = source.block()
        return len(body).to_bytes(4, "big") + body
    if kind == RAW_BYTES:
        return source.piece()
    return encode(_SAYING[kind](source))


def raw(body: bytes) -> bytes:
    """The choices that make `saying` say this frame."""
    return bytes([RAW_FRAME]) + len(body).to_bytes(2, "big") + body
