"""The asking side of a reconciliation beside peers that do not play by the rules, and beside large ones that do."""

from __future__ import annotations

import pytest

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_RANGE_QUERIES, MAX_RECONCILE_DEPTH
from level_replicator.core.reconcile_rules import Fingerprint, KeyRange
from level_replicator.protocol.events import RangeAnswered, ReconcileStarted
from level_replicator.storage.reconcile.initiator import Initiator
from level_replicator.storage.store import Store
from tests.unit.storage.rig import Rig


def _initiator(count: int) -> tuple[Store, Initiator]:
    store = Rig().open()
    for number in range(count):
        store.writer.put(b"%06d" % number, b"", False)
    store.rounds.bulk_load_own_rows = -1
    initiator, _ = store.begin_reconciliation(ReconcileStarted({7: 1}, {}, 0, False), 7)
    return store, initiator


def _queries(initiator: Initiator) -> list[KeyRange]:
    queries: list[KeyRange] = []
    while initiator.has_work:
        queries += initiator.step().queries
    return queries


EMPTY = Fingerprint().digest()


def _part_for_ever(initiator: Initiator) -> None:
    """Our one key is always in the lower part, which is never equal."""
    for depth in range(MAX_RECONCILE_DEPTH + 3):
        (query,) = _queries(initiator)
        assert query.depth == depth + 1
        bound = b"000000" + bytes(MAX_RECONCILE_DEPTH + 4 - depth)
        initiator.answered(RangeAnswered(query, bounds=[bound], prints=[bytes(16), EMPTY]))


def test_a_peer_that_parts_for_ever_is_found_out() -> None:
    _, initiator = _initiator(1)
    with pytest.raises(RemoteProtocolError, match="splits a range more than"):
        _part_for_ever(initiator)


def _part_in_breadth(initiator: Initiator) -> None:
    for _ in range(50):
        for query in _queries(initiator):
            bounds = [query.low + b"%05d" % number + bytes(100) for number in range(1_023)]
            initiator.answered(RangeAnswered(query, bounds=bounds, prints=[bytes(16)] * 1_024))


def test_a_peer_that_parts_into_too_much_is_found_out() -> None:
    """What waits to be probed is bounded in number and bytes."""
    _, initiator = _initiator(1)
    with pytest.raises(RemoteProtocolError, match="splits a reconciliation into"):
        _part_in_breadth(initiator)


def test_no_more_questions_are_open_than_the_peer_allows() -> None:
    _, initiator = _initiator(3_000)
    (query,) = _queries(initiator)
    assert query.count == 3_000
    bounds = [b"%06d" % number for number in range(3, 3_000, 3)]
    initiator.answered(RangeAnswered(query, bounds=bounds, prints=[bytes(16)] * (len(bounds) + 1)))
    assert len(_queries(initiator)) == MAX_RANGE_QUERIES
    assert not initiator.has_work
    initiator.answered(RangeAnswered(query, same=True))
    assert len(_queries(initiator)) == 1


def test_equal_ranges_end_a_walk() -> None:
    store, initiator = _initiator(100)
    (query,) = _queries(initiator)
    initiator.answered(RangeAnswered(query, same=True))
    assert initiator.done
    assert store.keys == 100
