"""The set-full checker on hand-made histories, good and bad, and against the definitions written out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integration.judges.set_full import Add, Element, Read, SetReport, check_set

A, B = 0, 1


def add(element: str, invoked_s: float, acknowledged_s: float | None, node: int = A) -> Add:
    return Add(node, element, invoked_s, acknowledged_s)


def read(node: int, invoked_s: float, elements: str, took_s: float = 0.5) -> Read:
    return Read(node, invoked_s, invoked_s + took_s, list(elements))


def fates(report: SetReport) -> dict[str, list[Element]]:
    kinds = ("stable", "stale", "lost", "never_read", "flickered", "phantom", "duplicated")
    return {kind: getattr(report, kind) for kind in kinds if getattr(report, kind)}


def test_stable_from_the_acknowledgement_on() -> None:
    report = check_set([add("x", 0, 1)], [read(A, 0, ""), read(A, 2, "x"), read(B, 2, "x"), read(A, 3, "x")])
    assert fates(report) == {"stable": ["x"]}
    assert report.sound
    assert report.stable_after_s == {"x": 0}
    assert (report.attempted, report.acknowledged) == (1, 1)


def test_stale_until_the_last_read_that_lacks_it_on_the_slowest_node() -> None:
    reads = [read(A, 2, "x"), read(B, 2, ""), read(B, 4, ""), read(A, 5, "x"), read(B, 6, "x")]
    report = check_set([add("x", 0, 1)], reads)
    assert fates(report) == {"stale": ["x"]}
    assert report.sound, "an eventually consistent store may be stale"
    assert report.stable_after_s == {"x": 3}


def test_lost_on_every_node() -> None:
    report = check_set([add("x", 0, 1), add("y", 0, 1)], [read(A, 2, "y"), read(B, 2, "y")])
    assert fates(report) == {"stable": ["y"], "lost": ["x"]}
    assert not report.sound
    assert "lost: ['x']" in str(report)


def test_lost_on_one_node_only_even_if_another_is_read_last() -> None:
    report = check_set([add("x", 0, 1)], [read(A, 2, ""), read(B, 3, "x")])
    assert fates(report) == {"lost": ["x"]}


def test_read_and_then_lost() -> None:
    report = check_set([add("x", 0, 1)], [read(A, 2, "x"), read(A, 3, "")])
    assert fates(report) == {"lost": ["x"], "flickered": ["x"]}


def test_flickers_and_comes_back() -> None:
    report = check_set([add("x", 0, 1)], [read(A, 2, "x"), read(A, 3, ""), read(A, 4, "x")])
    assert fates(report) == {"stale": ["x"], "flickered": ["x"]}
    assert not report.sound


def test_two_reads_at_one_time_do_not_flicker() -> None:
    reads = [read(A, 2, "x", took_s=2), read(A, 3, "", took_s=2), read(A, 6, "x")]
    report = check_set([add("x", 0, 10)], [*reads, read(A, 11, "x")])
    assert report.sound


def test_another_node_that_lacks_it_does_not_flicker() -> None:
    report = check_set([add("x", 0, 1)], [read(A, 2, "x"), read(B, 3, ""), read(B, 4, "x"), read(A, 4, "x")])
    assert report.sound


def test_a_read_at_the_time_of_the_add_may_lack_it() -> None:
    report = check_set([add("x", 0, 3)], [read(A, 2, "", took_s=5), read(A, 8, "x")])
    assert fates(report) == {"stable": ["x"]}


def test_never_read_where_no_read_begins_after_the_acknowledgement() -> None:
    assert fates(check_set([add("x", 0, 3)], [read(A, 2, "", took_s=5)])) == {"never_read": ["x"]}
    assert fates(check_set([add("x", 0, 3)], [])) == {"never_read": ["x"]}
    assert fates(check_set([add("x", 0, 3)], [read(A, 4, "x"), read(B, 1, "")])) == {"never_read": ["x"]}
    assert fates(check_set([add("x", 0, 3)], [read(A, 4, ""), read(B, 1, "")])) == {"lost": ["x"]}


def test_an_unknown_result_may_be_there_or_not() -> None:
    assert fates(check_set([add("x", 0, None)], [read(A, 2, ""), read(B, 2, "")])) == {}
    report = check_set([add("x", 0, None)], [read(A, 2, "x"), read(A, 3, "x")])
    assert fates(report) == {"stable": ["x"]}
    assert (report.attempted, report.acknowledged) == (1, 0)


def test_an_unknown_result_that_was_read_has_to_stay() -> None:
    report = check_set([add("x", 0, None)], [read(A, 2, "x"), read(B, 3, "")])
    assert fates(report) == {"lost": ["x"]}


def test_an_unknown_result_that_takes_effect_late() -> None:
    report = check_set([add("x", 0, None)], [read(A, 2, ""), read(A, 3, ""), read(A, 4, "x"), read(A, 5, "x")])
    assert fates(report) == {"stable": ["x"]}


def test_adding_again_after_an_unknown_result_is_one_element() -> None:
    adds = [add("x", 0, None), add("x", 4, 5)]
    report = check_set(adds, [read(A, 2, "x"), read(A, 6, "x")])
    assert fates(report) == {"stable": ["x"]}
    assert (report.attempted, report.acknowledged) == (1, 1)
    assert fates(check_set(adds, [read(A, 2, ""), read(A, 6, "xx")])) == {"stable": ["x"], "duplicated": ["x"]}
    assert fates(check_set(adds, [read(A, 2, "x"), read(B, 3, ""), read(A, 6, "x"), read(B, 6, "")])) == {"lost": ["x"]}


def test_an_element_that_was_never_added_is_a_phantom() -> None:
    assert fates(check_set([], [read(A, 2, "x")])) == {"phantom": ["x"]}
    early = check_set([add("x", 5, 6)], [read(A, 2, "x"), read(A, 7, "x")])
    assert fates(early) == {"stable": ["x"], "phantom": ["x"]}
    assert not early.sound


def test_an_invalid_history_is_refused() -> None:
    with pytest.raises(ValueError, match="before it was invoked"):
        check_set([add("x", 2, 1)], [])
    with pytest.raises(ValueError, match="before it was invoked"):
        check_set([], [read(A, 2, "", took_s=-1)])


def test_the_report_counts_elements() -> None:
    adds = [add(element, 0, 1) for element in "vwxyz"]
    reads = [read(A, 2, "vwx"), read(A, 5, "vwxy"), read(A, 11, "vwxyz"), read(A, 12, "vwxyz")]
    report = check_set(adds, reads)
    assert fates(report) == {"stable": ["v", "w", "x"], "stale": ["y", "z"]}
    assert (report.median_s, report.max_s) == (0, 4)
    assert "stable after 0.000 s (median), 4.000 s (max)" in str(report)


ELEMENTS = st.lists(st.sampled_from("xyz"), max_size=4)
TIMES = st.tuples(st.integers(0, 12), st.integers(0, 4))
ADDS = st.lists(
    st.builds(
        lambda element, times, known: add(element, times[0], sum(times) if known else None),
        st.sampled_from("xyz"),
        TIMES,
        st.booleans(),
    ),
    max_size=5,
)
READS = st.lists(
    st.builds(
        lambda node, times, elements: Read(node, times[0], sum(times), elements),
        st.sampled_from([A, B]),
        TIMES,
        ELEMENTS,
    ),
    max_size=8,
    # which of two reads that begin at one moment is the last one is not defined
    unique_by=lambda read: (read.node, read.invoked_s),
)


@given(ADDS, READS)
def test_the_checker_agrees_with_the_definitions(adds: list[Add], reads: list[Read]) -> None:
    report = check_set(adds, reads)
    for element in "xyz":
        assert [kind for kind, elements in fates(report).items() if element in elements] == _defined(
            element, adds, reads
        )


def _defined(element: Element, adds: list[Add], reads: list[Read]) -> list[str]:
    """The docstring of set_full.py, of one element, without regard to cost."""
    of_element = [each for each in adds if each.element == element]
    begun = min((each.invoked_s for each in of_element), default=99.0)
    known = min(
        [each.acknowledged_s for each in of_element if each.acknowledged_s is not None]
        + [each.completed_s for each in reads if element in each.elements and begun <= each.completed_s],
        default=None,
    )
    kinds: list[str] = []
    if known is not None:
        ordered = sorted(reads, key=lambda r: r.invoked_s)
        counting = [
            [r for r in ordered if r.node == node and (r.invoked_s > known or element in r.elements)]
            for node in {r.node for r in reads}
        ]
        if any(element not in of_node[-1].elements for of_node in counting if of_node):
            kinds.append("lost")
        elif not counting or not all(counting):
            kinds.append("never_read")
        elif all(element in r.elements for of_node in counting for r in of_node):
            kinds.append("stable")
        else:
            kinds.append("stale")
    if any(
        element in r.elements
        and element not in later.elements
        and r.node == later.node
        and r.completed_s < later.invoked_s
        for r in reads
        for later in reads
    ):
        kinds.append("flickered")
    if any(element in r.elements and r.completed_s < begun for r in reads):
        kinds.append("phantom")
    if any(r.elements.count(element) > 1 for r in reads):
        kinds.append("duplicated")
    return kinds


@given(st.data())
def test_a_store_that_only_spreads_elements_is_sound(data: st.DataObject) -> None:
    """And without one element in one last read exactly that element is lost."""
    nodes: list[set[Element]] = [set(), set(), set()]
    adds: list[Add] = []
    reads: list[Read] = []
    for now in range(data.draw(st.integers(1, 25))):
        node, other = data.draw(st.permutations(range(3)))[:2]
        match data.draw(st.sampled_from(["add", "unknown", "spread", "read"])):
            case "add":
                nodes[node].add(f"e{now}")
                adds.append(add(f"e{now}", now, now + 0.5, node))
            case "unknown":
                nodes[node] |= data.draw(st.sampled_from([set(), {f"e{now}"}]))
                adds.append(add(f"e{now}", now, None, node))
            case "spread":
                nodes[node] |= nodes[other]
            case "read":
                reads.append(Read(node, now, now + 0.5, sorted(nodes[node])))
    union = sorted(set().union(*nodes))
    reads += [Read(node, 100, 100.5, union) for node in range(3)]
    assert check_set(adds, reads).sound
    acknowledged = [each.element for each in adds if each.acknowledged_s is not None]
    if acknowledged:
        victim = data.draw(st.sampled_from(acknowledged))
        last = reads.pop()
        reads.append(Read(last.node, 100, 100.5, [element for element in union if element != victim]))
        assert check_set(adds, reads).lost == [victim]
