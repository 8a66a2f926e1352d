"""Messages as people read them: origins as letters, stamps as milliseconds and counter."""

from level_replicator.core.entry import decode_context, decode_entry
from level_replicator.core.messages import (
    Ask,
    Bye,
    ByeCode,
    Entries,
    Have,
    Hello,
    Message,
    Round,
    Tell,
    Want,
)
from level_replicator.core.versions import decode_vector


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
    return f"{what} at {clock_time(entry.stamp)}{context}"


def describe(message: Message) -> str:
    """A line for a message."""
    match message:
        case Hello():
            return f"Hello(version {message.version}, origin {_letter(message.origin)})"
        case Want():
            have = ", ".join(f"{_letter(o)} ({_bound(low)}, {_bound(high)}]" for o, low, high in message.have)
            return f"Want({_vector(message.vector)}" + (f", have {have})" if have else ")")
        case Round() | Have():
            return f"{type(message).__name__}({_vector(message.vector)})"
        case Entries():
            records = "; ".join(map(_record, message.records))
            interval = f"{_letter(message.origin)} ({_bound(message.low)}, {_bound(message.high)}]"
            return f"Entries({interval}: {records}{'; last' if message.last else ''})"
        case Ask():
            return f"Ask({message.token})"
        case Tell():
            return f"Tell({message.token}, {_vector(message.vector)})"
        case Bye():
            return f"Bye({ByeCode(message.code).name}: {message.text})"
        case _:
            return type(message).__name__
