"""The history of an origin, by which nodes notice that it was continued twice, and the names of its branches.

A directory that is restored without a trace, or copied, goes on under an origin whose later writes others know. Both
continuations give stamps of one origin to different writes, and no version vector shows it. Therefore each run of a
node that writes anything begins an *epoch*: a random number, stored in the batch of its first write, beside the stamp
that the origin had reached. The epochs of an origin are its *history*:

    history   ((epoch, start), …)   what the epoch wrote has stamps above `start`; before the first one: the first run

Nodes learn each other's histories before anything else of a session, and tell each change of theirs before the next
message that may depend on it. So the history that a node has of an origin is that of all it has of the origin. If the
histories of two nodes part, or one goes on at a stamp above which the other one has something else, the origin was
continued twice: a *fork*.

    branch    epoch → start         what the epoch and its successors wrote above `start` is an origin of its own,
                                    whose name is the epoch

Then the epochs at which the two histories part become branches. Branches are never forgotten, and every node learns
them. A node that has a branch in a history renames what it has of it (storage.recovery.branches): each dot, `written`,
context and vector entry is afterwards as if the origin had been a new one at that time, on every node in the same way.
Nothing travels again, and no other rule knows of branches.

An epoch has the high bits of its origin, its *family*. Of two entries with equal stamps the families decide which one
wins, and within a family what they contain (core.merge). So entries keep their order when they are renamed.
"""

from collections.abc import Mapping
from hashlib import blake2b
from itertools import pairwise
from struct import Struct
from typing import NamedTuple

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_BRANCHES, MAX_EPOCHS

History = tuple[tuple[int, int], ...]
Histories = Mapping[int, History]
"""Origin → history; without those that are empty."""
Branches = Mapping[int, int]

EPOCH_BYTES = 5
"""How many random bytes an epoch has; the others are those of its origin."""
_PAIR = Struct(">QQ")


def make_epoch(origin: int, history: History, random: bytes) -> int:
    """Return an epoch of an origin from EPOCH_BYTES random bytes."""
    bits = 8 * EPOCH_BYTES
    taken = {origin, 0, *(epoch for epoch, _ in history)}
    low = int.from_bytes(random, "big")
    while (origin >> bits << bits) | low in taken:
        low = (low + 1) % (1 << bits)
    return (origin >> bits << bits) | low


def family_of(origin: int) -> int:
    """Return what an origin has in common with its branches, and theirs."""
    return origin >> 8 * EPOCH_BYTES


def extended(history: History, epoch: int, start: int) -> History:
    """Return a history with one more epoch. The oldest are left out above MAX_EPOCHS."""
    return (*history, (epoch, start))[-MAX_EPOCHS:]


class Met(NamedTuple):
    """What two histories of one origin amount to: the longer one, or the branches of a fork."""

    history: History
    branches: dict[int, int]


def meet(ours: History, theirs: History, reach: int) -> Met:
    """Compare two histories of an origin. `reach`: the newest stamp of the origin that we have.

    A fork that only the peer can see, by its own reach, is not noticed here: it hears of our history, too."""
    if ours == theirs:
        return Met(ours, {})
    places = {epoch: place for place, (epoch, _) in enumerate(theirs)}
    ends = [(place + 1, places[epoch] + 1) for place, (epoch, _) in enumerate(ours) if epoch in places]
    our_end, their_end = ends[-1] if ends else (0, 0)
    we_continue, they_continue = ours[our_end:], theirs[their_end:]
    if not they_continue:
        return Met(ours, {})
    if not ends and _is_before(theirs, ours):
        return Met(ours, {})
    _, start = they_continue[0]
    if reach <= start and (not we_continue or (not ends and _is_before(ours, theirs))):
        return Met((*ours[:our_end], *they_continue)[-MAX_EPOCHS:], {})
    return Met(ours, dict([*we_continue[:1], they_continue[0]]))


def _is_before(older: History, newer: History) -> bool:
    """Whether a history may be that of a time of which the newer one, which is full, has nothing any more."""
    return len(newer) == MAX_EPOCHS and bool(older) and older[-1][1] <= newer[0][1]


def unknown_to(theirs: History, ours: History) -> tuple[int, int] | None:
    """Return the first epoch of ours that a peer with that history does not know."""
    known = {epoch for epoch, _ in theirs}
    for place in range(len(ours) - 1, -1, -1):
        if ours[place][0] in known:
            return ours[place + 1] if place + 1 < len(ours) else None
    return ours[0] if ours else None


def divided(histories: Histories, branches: Branches) -> dict[int, History]:
    """Return histories in which every branch is an origin of its own."""
    found: dict[int, History] = {}
    left = list(histories.items())
    while left:
        origin, history = left.pop()
        cut = next((place for place, (epoch, _) in enumerate(history) if epoch in branches), len(history))
        if len(history[:cut]) > len(found.get(origin, ())):
            found[origin] = history[:cut]
        if cut < len(history):
            left.append((history[cut][0], history[cut + 1 :]))
    return found


def digest_of(histories: Histories, branches: Branches) -> bytes:
    """Return what is equal on two nodes that need not tell each other any; b"" for none at all."""
    if not histories and not branches:
        return b""
    digest = blake2b(digest_size=16)
    for origin, history in sorted(histories.items()):
        digest.update(_PAIR.pack(origin, len(history)) + encode_pairs(history))
    digest.update(encode_pairs(sorted(branches.items())))
    return digest.digest()


def encode_pairs(pairs: History | list[tuple[int, int]]) -> bytes:
    """Return the bytes of a history, or of the items of branches."""
    return b"".join(_PAIR.pack(epoch, start) for epoch, start in pairs)


def decode_history(data: bytes) -> History:
    """Raises RemoteProtocolError if these are not the bytes of a history."""
    history = _decode_pairs(data, MAX_EPOCHS)
    if not history:
        raise RemoteProtocolError("the history of an origin is empty; expected one epoch or more")
    if any(start > following for (_, start), (_, following) in pairwise(history)):
        raise RemoteProtocolError("the epochs of a history are not in the order of their stamps")
    return history


def decode_branches(data: bytes) -> dict[int, int]:
    """Raises RemoteProtocolError if these are not the bytes of branches."""
    return dict(_decode_pairs(data, MAX_BRANCHES))


def _decode_pairs(data: bytes, most: int) -> History:
    if len(data) % _PAIR.size or len(data) > most * _PAIR.size:
        raise RemoteProtocolError(f"{len(data)} bytes of epochs; expected {most} times {_PAIR.size} at most")
    pairs: History = tuple(_PAIR.iter_unpack(data))
    epochs = {epoch for epoch, _ in pairs}
    if 0 in epochs or len(epochs) != len(pairs):
        raise RemoteProtocolError("epochs include 0, or one twice")
    return pairs
