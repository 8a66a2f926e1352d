"""Whether the prototypes leave the very bytes that the package leaves: index, log, vector and database."""

from pathlib import Path
from random import Random

from bench.beyond import subjects
from bench.beyond.work import OWN, OWN_MS, ROW_HEAD_BYTES, Operations
from bench.worker import Context
from level_replicator import plyvel
from level_replicator.core.entry import encode_context, encode_entry
from level_replicator.core.hlc import stamp_at
from level_replicator.protocol.messages import Entries, encode

_KEYS = [b"key %d" % number for number in range(300)]
_STEPS = 400
_ORIGINS = [3, 1 << 63]
_META = b"m"


def contents(path: Path) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """All of db and of rs, but the meta record, which holds when and where."""
    both = []
    for name in ("db", "rs"):
        with plyvel.DB(str(path / name)) as db:
            both.append({key: value for key, value in db if key != _META})
    return both[0], both[1]


def scramble(_context: Context, *, name: str, path: str, seed: int) -> list[int]:
    """Batches and rounds at random, of few keys, so that all that can meet does. Gives keys and entries."""
    random = Random(seed)
    subject = subjects.LOCAL[name](Path(path))
    newest = {origin: stamp_at(OWN_MS) - 50_000 for origin in _ORIGINS}
    for _ in range(_STEPS):
        if random.random() < 0.4:
            subject.write(_operations(random))
        else:
            origin = random.choice(_ORIGINS)
            newest[origin] = _round(random, subject, origin, newest[origin])
    counts = list(subject.counts)
    subject.close()
    return counts


def _value(random: Random) -> bytes | None:
    return None if random.random() < 0.2 else random.randbytes(random.randrange(200))


def _operations(random: Random) -> Operations:
    return [(random.choice(_KEYS), _value(random)) for _ in range(random.randrange(1, 40))]


def _round(random: Random, subject: subjects.Subject, origin: int, low: int) -> int:
    """A round of two frames, or one, its entries up or down. Gives the newest stamp."""
    stamps = sorted(random.sample(range(low + 1, low + 2_000), random.randrange(1, 60)))
    records = [
        encode_entry(stamp, key, _value(random), _context(random, origin, stamp))[0]
        for stamp, key in zip(stamps, random.sample(_KEYS, len(stamps)), strict=True)
    ]
    cut = random.randrange(len(stamps))
    frames = [(low, stamps[cut - 1], records[:cut])] if cut else []
    frames.append((frames[0][1] if cut else low, stamps[-1], records[cut:]))
    if random.random() < 0.5:
        frames = [(below, high, part[::-1]) for below, high, part in reversed(frames)]
    subject.begin(stamps[-1], origin)
    for number, (below, high, part) in enumerate(frames, 1):
        subject.apply(encode(Entries(origin, below, high, part, number == len(frames)))[ROW_HEAD_BYTES:])
    return stamps[-1]


def _context(random: Random, origin: int, stamp: int) -> bytes:
    others = [other for other in (*_ORIGINS, OWN, 77) if other != origin and random.random() < 0.3]
    return encode_context({other: stamp - random.randrange(1, 5_000) for other in others})


def differences(name: str, mine: Path, other: Path) -> list[str]:
    """In words; nothing when they are equal."""
    found = []
    for part, one, two in zip(("db", "rs"), contents(mine), contents(other), strict=True):
        if one != two:
            keys = [key for key in one.keys() | two.keys() if one.get(key) != two.get(key)]
            found.append(f"{name}, {part}: {len(keys)} keys differ, such as {min(keys)!r}")
    return found
