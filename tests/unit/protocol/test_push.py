"""What the sending side reads next, and what it says of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.errors import LocalProtocolError, RemoteProtocolError
from level_replicator.core.intervals import Intervals
from level_replicator.core.limits import MAX_VECTOR_ORIGINS
from level_replicator.core.version_vector import Vector, decode_vector
from level_replicator.protocol.messages import Entries
from level_replicator.protocol.push import PullSender, Read


def drain(push: PullSender, log: dict[int, list[int]], batch: int) -> list[Entries]:
    """Answers every read from a log of stamps, at most `batch` entries at once."""
    sent = []
    while (read := push.next_read()) is not None:
        stamps = [stamp for stamp in log.get(read.origin, []) if read.low < stamp <= read.high]
        stamps.sort(reverse=read.newest_first)
        part, reached = stamps[:batch], read.low if read.newest_first else read.high
        if len(part) == batch:
            reached = part[-1] - 1 if read.newest_first else part[-1]
        message = push.read(read, [b"%d" % stamp for stamp in part], reached)
        if message is not None:
            sent.append(message)
    if push.under_way:
        push.round_ended()
    return sent


LOGS = st.dictionaries(st.integers(1, 3), st.sets(st.integers(1, 30), min_size=1).map(sorted), max_size=3)


@given(LOGS, st.dictionaries(st.integers(1, 3), st.integers(1, 30)), st.integers(1, 4), st.booleans())
def test_a_round_sends_each_stamp_above_the_readers_vector_once(
    log: dict[int, list[int]], known: Vector, batch: int, live: bool
) -> None:
    push = PullSender()
    if live:
        push.completed = 1
    push.peer_has(known)
    sent = drain_round(push, log, batch)
    stamps = [(message.origin, int(record)) for message in sent for record in message.records]
    assert sorted(stamps) == [(o, s) for o in sorted(log) for s in log[o] if s > known.get(o, 0)]
    assert [message.last for message in sent[:-1]] == [False] * (len(sent) - 1) if sent else True
    if live:
        firsts = [int(message.records[0]) for message in sent]
        per_origin = {o: [s for (p, s) in stamps if p == o] for o in log}
        assert all(order == sorted(order) for order in per_origin.values())
        assert firsts == sorted(firsts) or len(log) > 1
    else:
        highs = [message.high for message in sent]
        assert highs == sorted(highs, reverse=True), "the newest of all origins first"


def drain_round(push: PullSender, log: dict[int, list[int]], batch: int) -> list[Entries]:
    push.begin({o: stamps[-1] for o, stamps in log.items()}, {o: Intervals([(0, s[-1])]) for o, s in log.items()})
    return drain(push, log, batch)


def test_the_vector_of_a_later_round_names_only_what_the_reader_lacks() -> None:
    push = PullSender(number=3)
    push.peer_has({1: 5, 2: 9})
    first = push.begin({1: 7, 2: 9}, {})
    assert decode_vector(first.vector) == {1: 7, 2: 9}, "what we do not know tells whether we missed tombstones"
    push.round_ended()
    later = push.begin({1: 8, 2: 9}, {})
    assert decode_vector(later.vector) == {1: 8}
    assert first.pull == later.pull == 3


def test_what_the_reader_gets_elsewhere_meanwhile_is_left_out() -> None:
    push = PullSender()
    push.begin({1: 100}, {1: Intervals([(0, 100)])})
    assert push.next_read() == Read(1, 0, 100, True)
    push.peer_has({1: 60})
    assert push.next_read() == Read(1, 60, 100, True)
    push.peer_has({1: 100})
    assert push.next_read() is None


def test_nothing_is_said_of_an_interval_that_is_empty() -> None:
    push = PullSender()
    push.begin({1: 100}, {1: Intervals([(0, 100)])})
    read = push.next_read()
    assert read is not None
    assert push.read(read, [], 0) is None
    assert push.under_way
    push.round_ended()
    assert not push.under_way


def test_one_round_at_a_time() -> None:
    push = PullSender()
    push.begin({}, {})
    with pytest.raises(LocalProtocolError):
        push.begin({}, {})


def test_a_peers_vector_never_goes_back() -> None:
    push = PullSender()
    push.peer_has({1: 9})
    push.peer_has({1: 5, 2: 1})
    assert push.peer_vector == {1: 9, 2: 1}


def test_vectors_that_name_ever_more_origins_are_refused() -> None:
    push = PullSender()
    push.peer_has(dict.fromkeys(range(1, MAX_VECTOR_ORIGINS + 1), 1))
    with pytest.raises(RemoteProtocolError, match="origins"):
        push.peer_has({MAX_VECTOR_ORIGINS + 1: 1})
