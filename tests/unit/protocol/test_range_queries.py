"""Valid answers of a peer in a reconciliation are accepted, and all others are refused."""

from __future__ import annotations

import pytest

from level_replicator.core.entry import encode_dot, encode_entry, encode_index
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.reconcile_rules import KeyRange
from level_replicator.protocol.events import RangeAnswered, RangeEntriesReceived
from level_replicator.protocol.messages import ByeCode, RangeEntries, RangeEqual, RangeReply, RangeRows, RangeSplit
from level_replicator.protocol.range_queries import PendingQueries

LATEST = 1_000
ONE = (1).to_bytes(8, "big")
HEAD = encode_index(5, 1, 0, 0)


def record(key: bytes, stamp: int = 5) -> bytes:
    return encode_entry(stamp, key, b"value")[0]


def asking(count: int = 3, low: bytes = b"b", high: bytes = b"m") -> PendingQueries:
    asks = PendingQueries()
    asks.begin()
    asks.add_range(KeyRange(low, high, b"", count, 1))
    return asks


def fetching(*keys: bytes) -> PendingQueries:
    asks = PendingQueries()
    asks.begin()
    asks.add_fetch(list(keys))
    return asks


def test_answers_come_in_the_order_of_the_questions() -> None:
    asks = asking()
    asks.add_range(KeyRange(b"m", b"", b"", 1, 1))
    assert asks.answer(RangeSplit([b"c"], bytes(32)), LATEST) == RangeAnswered(
        KeyRange(b"b", b"m", b"", 3, 1), bounds=[b"c"], prints=[bytes(16), bytes(16)]
    )
    assert asks.answer(RangeRows([b"x"], [HEAD]), LATEST) == RangeAnswered(
        KeyRange(b"m", b"", b"", 1, 1), rows=[(b"x", HEAD)]
    )
    with pytest.raises(RemoteProtocolError, match="without an open query"):
        asks.answer(RangeEqual(), LATEST)


def test_answers_of_a_walk_that_is_over_are_not_looked_at() -> None:
    asks = asking()
    asks.end()
    assert asks.answer(RangeSplit([], b"nonsense"), LATEST) is None


def test_an_empty_range_is_filled_in_any_number_of_frames() -> None:
    asks = asking(count=0)
    first = asks.answer(RangeEntries(ONE, [record(b"b")], [], [], False), LATEST)
    assert isinstance(first, RangeEntriesReceived)
    assert [entry.key for _, entry in first.entries] == [b"b"]
    assert not first.last
    second = asks.answer(RangeEntries(ONE, [record(b"c")], [], [b"d"], True), LATEST)
    assert isinstance(second, RangeEntriesReceived)
    assert second.lacking == [b"d"]
    assert second.last
    assert first.range == second.range == KeyRange(b"b", b"m", b"", 0, 1)
    assert not len(asks)


def test_what_was_fetched_comes_in_any_number_of_frames() -> None:
    asks = fetching(b"x", b"y", b"z")
    asks.answer(RangeEntries(ONE, [record(b"x")], [], [b"y"], False), LATEST)
    last = asks.answer(RangeEntries(ONE, [record(b"z")[: -len(b"value")]], [0], [], True), LATEST)
    assert isinstance(last, RangeEntriesReceived)
    assert last.equal == {0}
    assert last.range is None
    assert not len(asks)


REFUSED_OF_A_PROBE: dict[str, RangeReply] = {
    "one part": RangeSplit([], bytes(16)),
    "too few prints": RangeSplit([b"c"], bytes(16)),
    "bounds that go back": RangeSplit([b"d", b"c"], bytes(48)),
    "a bound at the low end": RangeSplit([b"b"], bytes(32)),
    "a bound at the high end": RangeSplit([b"m"], bytes(32)),
    "too many parts": RangeSplit([b"c%05d" % number for number in range(1_024)], bytes(16 * 1_025)),
    "bounds that are too long": RangeSplit([b"c" + bytes(700_000), b"d" + bytes(700_000)], bytes(48)),
    "lines without rows": RangeRows([b"c"], []),
    "half a row": RangeRows([b"c"], [HEAD[:-1]]),
    "a row with a context": RangeRows([b"c"], [encode_index(5, 1, 0, 0, bytes(16))]),
    "a row with an unknown flag": RangeRows([b"c"], [HEAD[:16] + b"\4" + HEAD[17:]]),
    "a row without its write": RangeRows([b"c"], [HEAD[:16] + b"\x08" + HEAD[17:]]),
    "a row whose write is above its dot": RangeRows([b"c"], [encode_index(5, 1, 0, 0, written=encode_dot(6, 1))]),
    "a row whose write is of nobody": RangeRows([b"c"], [encode_index(5, 1, 0, 0, written=encode_dot(5, 0))]),
    "lines that go back": RangeRows([b"d", b"c"], [HEAD] * 2),
    "a line twice": RangeRows([b"c", b"c"], [HEAD] * 2),
    "a line below the range": RangeRows([b"a"], [HEAD]),
    "a line above the range": RangeRows([b"m"], [HEAD]),
    "a row of stamp 0": RangeRows([b"c"], [encode_index(0, 1, 0, 0)]),
    "a row of origin 0": RangeRows([b"c"], [encode_index(5, 0, 0, 0)]),
    "entries for a range that is not empty": RangeEntries(ONE, [record(b"c")], [], [], True),
}


@pytest.mark.parametrize("name", REFUSED_OF_A_PROBE)
def test_refused_for_a_probe(name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        asking().answer(REFUSED_OF_A_PROBE[name], LATEST)


REFUSED_OF_A_FILL: dict[str, RangeEntries] = {
    "out of the range": RangeEntries(ONE, [record(b"z")], [], [], True),
    "out of order": RangeEntries(ONE * 2, [record(b"d"), record(b"c")], [], [], True),
    "without origins": RangeEntries(b"", [record(b"c")], [], [], True),
    "of origin 0": RangeEntries(bytes(8), [record(b"c")], [], [], True),
    "without its value": RangeEntries(ONE, [record(b"c")[: -len(b"value")]], [0], [], True),
    "damaged": RangeEntries(ONE, [record(b"c")[:-1] + b"?"], [], [], True),
    "cut off": RangeEntries(ONE, [record(b"c")[:10]], [], [], True),
}


@pytest.mark.parametrize("name", REFUSED_OF_A_FILL)
def test_refused_for_an_empty_range(name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        asking(count=0).answer(REFUSED_OF_A_FILL[name], LATEST)


def test_a_fill_may_not_go_back_between_frames() -> None:
    asks = asking(count=0)
    asks.answer(RangeEntries(ONE, [record(b"d")], [], [], False), LATEST)
    with pytest.raises(RemoteProtocolError):
        asks.answer(RangeEntries(ONE, [record(b"c")], [], [], True), LATEST)


@pytest.mark.parametrize("reply", [RangeEqual(), RangeSplit([b"c"], bytes(32)), RangeRows([], [])])
def test_an_empty_range_is_filled_and_nothing_else(reply: RangeReply) -> None:
    with pytest.raises(RemoteProtocolError):
        asking(count=0).answer(reply, LATEST)


def test_a_fill_that_has_begun_is_not_answered_otherwise() -> None:
    asks = asking(count=0)
    asks.answer(RangeEntries(ONE, [record(b"d")], [], [], False), LATEST)
    with pytest.raises(RemoteProtocolError):
        asks.answer(RangeEqual(), LATEST)


REFUSED_OF_A_FETCH: dict[str, RangeReply] = {
    "another key": RangeEntries(ONE, [record(b"a")], [], [], True),
    "a key twice": RangeEntries(ONE * 2, [record(b"x"), record(b"x")], [], [], False),
    "too few": RangeEntries(ONE, [record(b"x")], [], [], True),
    "lacking what was not asked for": RangeEntries(b"", [], [], [b"a"], False),
    "the same": RangeEqual(),
    "a value where it was to be left out": RangeEntries(ONE, [record(b"x")], [0], [], False),
}


@pytest.mark.parametrize("name", REFUSED_OF_A_FETCH)
def test_refused_for_a_fetch(name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        fetching(b"x", b"y").answer(REFUSED_OF_A_FETCH[name], LATEST)


@pytest.mark.parametrize(
    ("count", "reply"),
    [
        (1, RangeRows([b"c"], [encode_index(LATEST + 1, 1, 0, 0)])),
        (0, RangeEntries(ONE, [record(b"c", LATEST + 1)], [], [], True)),
    ],
)
def test_stamps_of_the_future_are_a_matter_of_the_clock(count: int, reply: RangeReply) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        asking(count=count).answer(reply, LATEST)
    assert caught.value.code == ByeCode.CLOCK
