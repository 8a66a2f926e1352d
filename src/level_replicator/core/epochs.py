"""Histories of origins, which show that an origin was continued twice (a fork), and the branches of a fork.

A directory that was copied, or restored without being recognised as a copy, continues under an origin whose later
writes other nodes know. Both continuations then give the same stamps of one origin to different writes, and no version
vector shows it. Therefore each run of a node begins an *epoch* with its first write: a random number, stored in the
batch of that write together with the stamp that the origin had reached. The epochs of an origin are its *history*:

    history   ((epoch, start), …)   writes of the epoch have stamps above `start`; writes before the first epoch are
                                    those of the run that created the origin

Two nodes exchange histories before anything else of a session, and send each change before the next message that may
depend on it. So everything that a node stores of an origin belongs to the history that it stores of the origin. If the
histories of two nodes differ behind their last common epoch, or one continues at a stamp above which the other node
has other entries, the origin was continued twice: a *fork*.

    branch    epoch → start         writes of the epoch and its successors above `start` belong to an origin of their
                                    own, whose name is the epoch

The first epochs behind the common part become branches. Branches are never forgotten, and every node learns them. A
node that finds a branch in one of its histories renames its entries (storage.recovery.branches): each dot, `written`,
context and vector entry becomes as if the node had chosen a new origin at that time, on every node in the same way.
No entry travels again, and no other rule has to handle branches.

An epoch has the high bits of its origin, its *family*. Of two entries with equal stamps the one of the greater family
wins; within a family the content decides (core.merge). So renaming does not change the order of entries.
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
"""Origin → history. Empty histories are not listed."""
Branches = Mapping[int, int]
"""Epoch → start."""

EPOCH_BYTES = 5
"""Number of random bytes of an epoch. Its other bytes are those of the origin."""
_PAIR = Struct(">QQ")


def make_epoch(origin: int, history: History, random: bytes) -> int:
    """Return a new epoch of an origin, made from EPOCH_BYTES random bytes."""
    bits = 8 * EPOCH_BYTES
    taken = {origin, 0, *(epoch for epoch, _ in history)}
    low = int.from_bytes(random, "big")
    while (origin >> bits << bits) | low in taken:
        low = (low + 1) % (1 << bits)
    return (origin >> bits << bits) | low


def family_of(origin: int) -> int:
    """Return the high bits of an origin, which all its branches share."""
    return origin >> 8 * EPOCH_BYTES


def with_epoch(history: History, epoch: int, start: int) -> History:
    """Return a history with one more epoch. Keeps the newest MAX_EPOCHS epochs."""
    return (*history, (epoch, start))[-MAX_EPOCHS:]


class HistoryComparison(NamedTuple):
    """The result of comparing two histories of one origin.

    history   the history to keep: ours, or the peer's longer one
    branches  the branches of a fork; empty if the histories agree
    """

    history: History
    branches: dict[int, int]


def compare_histories(ours: History, theirs: History, reach: int) -> HistoryComparison:
    """Compare two histories of an origin. `reach` is the newest stamp of the origin that this node stores.

    A fork that depends on the peer's own reach is not found here: the peer finds it when it receives our history."""
    if ours == theirs:
        return HistoryComparison(ours, {})
    places = {epoch: place for place, (epoch, _) in enumerate(theirs)}
    ends = [(place + 1, places[epoch] + 1) for place, (epoch, _) in enumerate(ours) if epoch in places]
    our_end, their_end = ends[-1] if ends else (0, 0)
    we_continue, they_continue = ours[our_end:], theirs[their_end:]
    if not they_continue:
        return HistoryComparison(ours, {})
    if not ends and _is_before(theirs, ours):
        return HistoryComparison(ours, {})
    _, start = they_continue[0]
    if reach <= start and (not we_continue or (not ends and _is_before(ours, theirs))):
        return HistoryComparison((*ours[:our_end], *they_continue)[-MAX_EPOCHS:], {})
    return HistoryComparison(ours, dict([*we_continue[:1], they_continue[0]]))


def _is_before(older: History, newer: History) -> bool:
    """Return True if `older` may be the part of the history that `newer`, which is full, has left out."""
    return len(newer) == MAX_EPOCHS and bool(older) and older[-1][1] <= newer[0][1]


def first_unknown_epoch(theirs: History, ours: History) -> tuple[int, int] | None:
    """Return our first (epoch, start) that a peer with the history `theirs` does not know, or None."""
    known = {epoch for epoch, _ in theirs}
    for place in range(len(ours) - 1, -1, -1):
        if ours[place][0] in known:
            return ours[place + 1] if place + 1 < len(ours) else None
    return ours[0] if ours else None


def split_at_branches(histories: Histories, branches: Branches) -> dict[int, History]:
    """Split histories at the branches, so that every branch is an origin with a history of its own."""
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


def histories_digest(histories: Histories, branches: Branches) -> bytes:
    """Return a digest of all histories and branches, b"" if there are none.

    Two nodes with equal digests need not exchange histories."""
    if not histories and not branches:
        return b""
    digest = blake2b(digest_size=16)
    for origin, history in sorted(histories.items()):
        digest.update(_PAIR.pack(origin, len(history)) + encode_pairs(history))
    digest.update(encode_pairs(sorted(branches.items())))
    return digest.digest()


def encode_pairs(pairs: History | list[tuple[int, int]]) -> bytes:
    """Encode a history, or the items of branches."""
    return b"".join(_PAIR.pack(epoch, start) for epoch, start in pairs)


def decode_history(data: bytes) -> History:
    """Decode a history. Raises RemoteProtocolError if it is malformed, empty, or out of order."""
    history = _decode_pairs(data, MAX_EPOCHS)
    if not history:
        raise RemoteProtocolError("the history of an origin is empty; expected one epoch or more")
    if any(start > following for (_, start), (_, following) in pairwise(history)):
        raise RemoteProtocolError("the epochs of a history are not in the order of their stamps")
    return history


def decode_branches(data: bytes) -> dict[int, int]:
    """Decode branches. Raises RemoteProtocolError if they are malformed."""
    return dict(_decode_pairs(data, MAX_BRANCHES))


def _decode_pairs(data: bytes, most: int) -> History:
    if len(data) % _PAIR.size or len(data) > most * _PAIR.size:
        raise RemoteProtocolError(
            f"a list of epochs has {len(data)} bytes; expected a multiple of {_PAIR.size}, at most {most * _PAIR.size}"
        )
    pairs: History = tuple(_PAIR.iter_unpack(data))
    epochs = {epoch for epoch, _ in pairs}
    if 0 in epochs or len(epochs) != len(pairs):
        raise RemoteProtocolError("a list of epochs contains 0, or the same epoch twice")
    return pairs
