"""Iterators over pages: any moves at all have the outcome that they have on a list."""

from bisect import bisect_left
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.client.iterators import RemoteIterator
from level_replicator.client.pager import BEGIN, END, KeyPosition, Pager, after, after_prefix, before, bounds_of
from level_replicator.core.errors import ClosedError, RemoteProtocolError
from level_replicator.protocol.client_messages import Page, Scan
from tests.unit.client.backend import PAGE, MemoryBackend

KEYS = st.binary(max_size=2).map(lambda key: bytes(each % 3 + 0x61 for each in key))


def stepped(backend: MemoryBackend, pager: Pager, move: Callable[[], object]) -> object:
    while isinstance(found := move(), Scan):
        page = backend.call(found)
        assert isinstance(page, Page)
        pager.accept(found, page)
    return found


def test_positions_are_ordered_as_they_lie() -> None:
    positions = [BEGIN, before(b""), after(b""), before(b"a"), after(b"a"), before(b"a\0"), before(b"b"), END]
    assert all(one < other for one, other in pairwise(positions))
    assert [each.gap for each in (BEGIN, END)] == [None, None]
    assert (before(b"a").gap, after(b"a").gap) == ((b"a", False), (b"a", True))


@pytest.mark.parametrize(
    ("prefix", "end"), [(b"", END), (b"a", before(b"b")), (b"a\xff", before(b"b")), (b"\xff\xff", END)]
)
def test_the_position_after_a_prefix(prefix: bytes, end: KeyPosition) -> None:
    assert after_prefix(prefix) == end


def test_bounds() -> None:
    assert bounds_of(b"", None, None, True, False) == (BEGIN, END)
    assert bounds_of(b"p", None, None, True, False) == (before(b"p"), before(b"q"))
    assert bounds_of(b"p", b"a", b"b", True, False) == (before(b"pa"), before(b"pb"))
    assert bounds_of(b"p", b"a", b"b", False, True) == (after(b"pa"), after(b"pb"))


@given(
    st.sets(KEYS, max_size=13),
    st.lists(st.one_of(st.sampled_from(["next", "prev", "start", "stop"]), KEYS), max_size=25),
    st.booleans(),
    st.one_of(st.none(), KEYS),
    st.one_of(st.none(), KEYS),
)
def test_any_moves(keys: set[bytes], moves: list[str | bytes], reverse: bool, start: bytes, stop: bytes) -> None:
    """Whatever is written meanwhile."""
    backend = MemoryBackend({key: b"v" + key for key in keys})
    there = sorted(key for key in keys if (start is None or key >= start) and (stop is None or key < stop))
    iterator = RemoteIterator(backend, b"", 0, {"reverse": reverse, "start": start, "stop": stop})
    backend.items.clear()
    at = len(there) if reverse else 0
    for move in moves:
        if move == "start":
            iterator.seek_to_start()
            at = 0
        elif move == "stop":
            iterator.seek_to_stop()
            at = len(there)
        elif isinstance(move, bytes):
            iterator.seek(move)
            at = bisect_left(there, move)
        else:
            up = (move == "next") != reverse
            step = iterator.__next__ if move == "next" else iterator.prev
            if at == (len(there) if up else 0):
                with pytest.raises(StopIteration):
                    step()
                continue
            at += 1 if up else -1
            key = there[at - 1 if up else at]
            assert step() == (key, b"v" + key)
    iterator.close()
    assert backend.open == {}


def test_a_page_is_read_once() -> None:
    backend = MemoryBackend({b"%d" % i: b"" for i in range(2 * PAGE)})
    iterator = RemoteIterator(backend, b"", 0, {})
    assert len(backend.requests) == 1
    for _ in range(3):
        assert [next(iterator)[0] for _ in range(PAGE)] == [b"0", b"1", b"2"]
        assert [iterator.prev()[0] for _ in range(PAGE)] == [b"2", b"1", b"0"]
    assert len(backend.requests) == 1
    iterator.seek_to_stop()
    assert len(backend.requests) == 1, "a seek alone reads nothing"
    assert iterator.prev()[0] == b"5"
    assert len(backend.requests) == 2


def test_nothing_is_read_between_empty_bounds() -> None:
    backend = MemoryBackend({b"k": b"v"})
    assert list(RemoteIterator(backend, b"", 0, {"start": b"b", "stop": b"a"})) == []
    assert backend.requests == []


def test_it_releases_its_own_snapshot_only() -> None:
    backend = MemoryBackend({b"%d" % i: b"" for i in range(2 * PAGE)})
    own = RemoteIterator(backend, b"", 0, {})
    assert len(backend.open) == 1
    own.close()
    own.close()
    assert backend.open == {}
    with pytest.raises(ClosedError):
        next(own)
    number = backend._take()
    lent = RemoteIterator(backend, b"", number, {})
    assert len(list(lent)) == 2 * PAGE
    lent.close()
    assert list(backend.open) == [number]


def test_one_page_needs_no_snapshot() -> None:
    backend = MemoryBackend({b"k": b"v"})
    assert list(RemoteIterator(backend, b"", 0, {})) == [(b"k", b"v")]
    assert backend._number == 0


def test_a_malformed_page() -> None:
    pager = Pager(BEGIN, END)
    scan = pager.first_scan()
    assert scan is not None
    with pytest.raises(RemoteProtocolError, match="2 keys, but 1 values"):
        pager.accept(scan, Page(0, [b"a", b"b"], [b"1"], None))


@pytest.mark.parametrize(
    ("reverse", "end"),
    [(False, (b"c", False)), (False, (b"b", True)), (False, (b"x", True)), (True, (b"x", False)), (True, (b"b", True))],
)
def test_a_page_that_does_not_advance_is_malformed(reverse: bool, end: tuple[bytes, bool]) -> None:
    """A node that answers with such pages would keep an iterator in a loop for ever."""
    pager = Pager(before(b"c"), before(b"x"), reverse=reverse)
    scan = pager.first_scan()
    assert scan is not None
    with pytest.raises(RemoteProtocolError, match="ends outside"):
        pager.accept(scan, Page(0, [], [], end))


def test_a_closed_database_gives_nothing_that_is_in_memory() -> None:
    backend = MemoryBackend({b"k": b"v", b"l": b"w"})
    iterator = RemoteIterator(backend, b"", 0, {})
    assert next(iterator) == (b"k", b"v")
    backend.close()
    with pytest.raises(ClosedError):
        next(iterator)


def test_a_prefix_is_left_out() -> None:
    backend = MemoryBackend({b"a1": b"1", b"a2": b"2", b"b": b"3"})
    assert list(RemoteIterator(backend, b"a", 0, {})) == [(b"1", b"1"), (b"2", b"2")]
    assert list(RemoteIterator(backend, b"a", 0, {"prefix": b"2", "include_value": False})) == [b"2"]
    iterator = RemoteIterator(backend, b"a", 0, {})
    iterator.seek(b"2")
    assert next(iterator) == (b"2", b"2")


def test_the_helper_steps_as_the_iterators_do() -> None:
    backend = MemoryBackend({b"%d" % i: b"" for i in range(5)})
    pager = Pager(BEGIN, END, values=False)
    assert stepped(backend, pager, pager.forward) == (b"0", b"")
    assert stepped(backend, pager, pager.backward) == (b"0", b"")
    assert stepped(backend, pager, pager.backward) is None
