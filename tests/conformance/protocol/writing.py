"""Messages as people read them: origins as letters, stamps as milliseconds and counter."""

from level_replicator.core.entry import Dot, decode_context, decode_dot, decode_entry, decode_index
from level_replicator.core.version_vector import decode_vector
from level_replicator.protocol.messages import (
    Bye,
    ByeCode,
    Entries,
    Fetch,
    Hello,
    Message,
    RangeEntries,
    RangeQuery,
    RangeRows,
    RangeSplit,
    ReconcileStart,
    RoundStart,
    StartPull,
    VectorQuery,
    VectorReply,
    VectorUpdate,
)


def clock_time(stamp: int) -> str:
    """1001 for the first stamp of that millisecond, 1001.2 for its third."""
    ms, counter = stamp >> 16, stamp & 0xFFFF
    return f"{ms}.{counter}" if counter else str(ms)


def _bound(stamp: int) -> str:
    """The last stamp before a millisecond is told as that: newest-first reading stops right below an entry."""
    return f"before {(stamp >> 16) + 1}" if stamp & 0xFFFF == 0xFFFF else clock_time(stamp)


def _letter(origin: int) -> str:
    return chr(64 + origin)


def _vector(data: bytes) -> str:
    return "{" + ", ".join(f"{_letter(o)}: {clock_time(s)}" for o, s in sorted(decode_vector(data).items())) + "}"


def _record(record: bytes) -> str:
    entry = decode_entry(record)
    what = f"{entry.key.decode()}=" + ("(deleted)" if entry.value is None else entry.value.decode())
    context = "".join(f" over {_letter(o)} {clock_time(s)}" for o, s in decode_context(entry.context).items())
    return f"{what} at {clock_time(entry.stamp)}{context}{_written(entry.written)}"


def _span(low: bytes, high: bytes) -> str:
    return f"[{low.decode()}, {high.decode()})"


def _head(key: bytes, head: bytes) -> str:
    line = decode_index(head)
    deleted = " (deleted)" if line.deleted else ""
    return f"{key.decode()}{deleted} at {_letter(line.origin)} {clock_time(line.stamp)}{_written(line.written)}"


def _written(written: bytes) -> str:
    """The write that a re-stamped entry carries."""
    if not written:
        return ""
    dot: Dot = decode_dot(written)
    return f" (the write of {_letter(dot[1])} {clock_time(dot[0])})"


def _fetched(message: Fetch) -> list[tuple[bytes, bytes]]:
    return list(zip(message.keys, message.digests, strict=True))


def _item(message: RangeEntries, place: int, record: bytes) -> str:
    origin = int.from_bytes(message.origins[8 * place : 8 * place + 8], "big")
    entry = decode_entry(record, valueless=place in message.equal)
    if place in message.equal:
        return f"{_letter(origin)}: {entry.key.decode()}=(equal) at {clock_time(entry.stamp)}"
    return f"{_letter(origin)}: {_record(record)}"


def describe(message: Message) -> str:
    """A line for a message."""
    match message:
        case Hello():
            return f"Hello(version {message.version}, origin {_letter(message.origin)})"
        case StartPull():
            have = ", ".join(f"{_letter(o)} ({_bound(low)}, {_bound(high)}]" for o, low, high in message.have)
            dropped = f", dropped {_vector(message.horizon)}" if message.horizon else ""
            number = f", pull {message.pull}" if message.pull > 1 else ""
            return f"StartPull({_vector(message.vector)}" + (f", have {have}" if have else "") + dropped + number + ")"
        case ReconcileStart():
            dropped = f", dropped {_vector(message.horizon)}" if message.horizon else ""
            return f"ReconcileStart({_vector(message.vector)}{dropped})"
        case RangeQuery():
            return (
                "RangeQuery("
                + "; ".join(f"{_span(low, high)}: {count}" for low, high, _, count in message.ranges)
                + ")"
            )
        case RangeSplit():
            return "RangeSplit(" + ", ".join(bound.decode() for bound in message.bounds) + ")"
        case RangeRows():
            return "RangeRows(" + "; ".join(map(_head, message.keys, message.rows)) + ")"
        case Fetch():
            asked = [key.decode() + (" (if not equal)" if digest else "") for key, digest in _fetched(message)]
            return "Fetch(" + ", ".join(asked) + ")"
        case RangeEntries():
            items = [_item(message, place, record) for place, record in enumerate(message.records)]
            return "RangeEntries(" + "; ".join(items) + ("; last)" if message.last else ")")
        case RoundStart() | VectorUpdate():
            return f"{type(message).__name__}({_vector(message.vector)})"
        case Entries():
            records = "; ".join(map(_record, message.records))
            interval = f"{_letter(message.origin)} ({_bound(message.low)}, {_bound(message.high)}]"
            return f"Entries({interval}: {records}{'; last' if message.last else ''})"
        case VectorQuery():
            return f"VectorQuery({message.token})"
        case VectorReply():
            return f"VectorReply({message.token}, {_vector(message.vector)})"
        case Bye():
            return f"Bye({ByeCode(message.code).name}: {message.text})"
        case _:
            return type(message).__name__
