"""The session checks on hand-made histories, good and bad, and against every assignment of versions."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integration.judges.sessions import Get, Rule, Write, check_sessions

AUTHOR, READER = "author", "reader"


def put(version: int, at_s: float, *, known: bool = True, deleted: bool = False, key: str = "k") -> Write:
    return Write(AUTHOR, 0, key, version, deleted, at_s, at_s + 0.5 if known else None)


def delete(version: int, at_s: float, *, known: bool = True) -> Write:
    return put(version, at_s, known=known, deleted=True)


def get(version: int | None, at_s: float, session: str = READER, took_s: float = 0.5) -> Get:
    return Get(session, 0 if session == AUTHOR else 1, "k", version, at_s, at_s + took_s)


def rules(writes: list[Write], gets: list[Get]) -> list[Rule]:
    return [violation.rule for violation in check_sessions(writes, gets)]


def test_good_histories_have_no_violations() -> None:
    assert rules([put(1, 1), put(2, 3)], [get(None, 0, AUTHOR), get(1, 2, AUTHOR), get(2, 4, AUTHOR)]) == []
    stale = [get(None, 5), get(1, 6), get(1, 7), get(2, 8)]
    assert rules([put(1, 1), put(2, 3)], stale) == [], "another node may be behind"
    assert rules([put(1, 1), delete(2, 3), put(3, 5)], [get(1, 2), get(None, 7), get(3, 8)]) == []
    assert rules([put(1, 1)], [get(1, 0, took_s=2)]) == [], "a read may have what is being written"


def test_own_write_not_read() -> None:
    violations = check_sessions([put(1, 1), put(2, 3)], [get(1, 4, AUTHOR)])
    assert [violation.rule for violation in violations] == [Rule.READ_YOUR_WRITES]
    assert "session author on node 0 read version 1 of k" in str(violations[0])
    assert "version 2 or a later one" in str(violations[0])
    assert rules([put(1, 1)], [get(None, 2, AUTHOR)]) == [Rule.READ_YOUR_WRITES]
    assert "read absence of k" in str(check_sessions([put(1, 1)], [get(None, 2, AUTHOR)])[0])


def test_own_delete_not_read() -> None:
    assert rules([put(1, 1), delete(2, 3)], [get(1, 4, AUTHOR)]) == [Rule.READ_YOUR_WRITES]
    assert rules([put(1, 1), delete(2, 3)], [get(None, 4, AUTHOR)]) == []


def test_an_older_version_after_a_newer_one() -> None:
    assert rules([put(1, 1), put(2, 3)], [get(2, 4), get(1, 5)]) == [Rule.MONOTONIC_READS]
    assert rules([put(1, 1), put(2, 3)], [get(2, 4), get(None, 5)]) == [Rule.MONOTONIC_READS]
    assert rules([put(1, 1), put(2, 3)], [get(2, 4, AUTHOR), get(1, 5, AUTHOR)]) == [Rule.READ_YOUR_WRITES]


def test_each_session_is_judged_alone() -> None:
    assert rules([put(1, 1), put(2, 3)], [get(2, 4), get(1, 5, "another"), get(2, 6)]) == []


def test_a_deleted_key_that_comes_back() -> None:
    history = [put(1, 1), delete(2, 3)]
    assert rules(history, [get(1, 2), get(None, 4), get(1, 5)]) == [Rule.MONOTONIC_READS]


def test_an_absence_is_the_oldest_deletion_that_it_can_be() -> None:
    history = [put(1, 1), delete(2, 3), put(3, 5), delete(4, 7)]
    assert rules(history, [get(1, 8), get(None, 9), get(3, 10), get(None, 11)]) == []
    assert rules(history, [get(3, 8), get(None, 9), get(3, 10)]) == [Rule.MONOTONIC_READS]


def test_an_unknown_result_may_be_read_or_not_but_then_stays() -> None:
    history = [put(1, 1), put(2, 3, known=False)]
    assert rules(history, [get(1, 4, AUTHOR), get(2, 5, AUTHOR)]) == []
    assert rules(history, [get(2, 4, AUTHOR), get(1, 5, AUTHOR)]) == [Rule.MONOTONIC_READS]
    assert rules([put(1, 1), delete(2, 3, known=False)], [get(1, 3), get(None, 4), get(1, 5)]) == [Rule.MONOTONIC_READS]


def test_a_value_that_was_never_written_is_a_violation() -> None:
    assert rules([put(1, 1)], [get(7, 4)]) == [Rule.NO_PHANTOMS]
    assert rules([put(1, 4)], [get(1, 1)]) == [Rule.NO_PHANTOMS]
    assert rules([put(1, 1), delete(2, 3)], [get(2, 4)]) == [Rule.NO_PHANTOMS]


def test_each_violation_is_reported() -> None:
    gets = [get(2, 5), get(1, 6), get(2, 7), get(1, 8)]
    assert [violation.get for violation in check_sessions([put(1, 1), put(2, 3)], gets)] == [gets[1], gets[3]]


@pytest.mark.parametrize(
    ("writes", "gets", "text"),
    [
        ([put(1, 1), Write("other", 0, "k", 2, False, 3, 4)], [], "two authors"),
        ([put(2, 1), put(1, 3)], [], "version 1 was written after version 2"),
        ([put(0, 1)], [], "version 0 was written after version 0"),
        ([put(1, 1), put(2, 1.2)], [], "two things at a time"),
        ([put(1, 1)], [Get(AUTHOR, 1, "k", 1, 3, 4)], "moved from node 0"),
    ],
)
def test_an_invalid_history_is_refused(writes: list[Write], gets: list[Get], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check_sessions(writes, gets)


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=4),
    st.lists(st.tuples(st.integers(0, 4), st.none() | st.integers(1, 5)), max_size=6),
)
def test_a_violation_exactly_if_no_assignment_explains_the_reads(
    writes: list[tuple[bool, bool]], gets: list[tuple[int, int | None]]
) -> None:
    history = [
        put(number, 2 * number, known=known, deleted=deleted) for number, (known, deleted) in enumerate(writes, 1)
    ]
    # all in one session: reads go between the author's writes, each at a moment of its own
    reads = sorted(
        (
            Get(AUTHOR, 0, "k", version, at_s, at_s + 0.05)
            for at_s, version in (
                (2 * place + 1 + number / 10, version) for number, (place, version) in enumerate(gets)
            )
        ),
        key=lambda read: read.invoked_s,
    )
    assert bool(check_sessions(history, reads)) == (not _explained(history, reads))


def _explained(writes: list[Write], gets: list[Get]) -> bool:
    """Whether the reads can be given versions that never go back, nor before an acknowledged write of the session."""
    states: list[tuple[int, bool]] = [(0, True), *((write.version, write.deleted) for write in writes)]
    for assigned in product(states, repeat=len(gets)):
        newest = 0
        events: list[tuple[float, Write | tuple[int, bool], Get | None]] = [(w.invoked_s, w, None) for w in writes]
        events += [(g.invoked_s, state, g) for g, state in zip(gets, assigned, strict=True)]
        for _, event, read in sorted(events, key=lambda each: each[0]):
            if isinstance(event, Write):
                newest = event.version if event.acknowledged_s is not None else newest
                continue
            assert read is not None
            version, deleted = event
            begun = version == 0 or writes[version - 1].invoked_s <= read.completed_s
            if version < newest or not begun or (None if deleted else version) != read.version:
                break
            newest = version
        else:
            return True
    return False


@given(st.data())
def test_nodes_that_only_go_forward_are_sound(data: st.DataObject) -> None:
    writes: list[Write] = []
    gets: list[Get] = []
    versions: list[int | None] = [None]
    at = {AUTHOR: 0, READER: 0}
    for now in range(data.draw(st.integers(1, 20))):
        match data.draw(st.sampled_from(["put", "delete", "catch up", "get", "own get"])):
            case "put" | "delete" as kind:
                version = len(versions)
                writes.append(put(version, now, deleted=kind == "delete"))
                versions.append(None if kind == "delete" else version)
                at[AUTHOR] = version
            case "catch up":
                at[READER] = data.draw(st.integers(at[READER], at[AUTHOR]))
            case "get":
                gets.append(get(versions[at[READER]], now))
            case "own get":
                gets.append(get(versions[at[AUTHOR]], now, AUTHOR))
    assert check_sessions(writes, gets) == []
