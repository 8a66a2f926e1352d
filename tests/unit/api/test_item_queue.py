"""The cursor that a program stores, between the items of a chunk."""

from __future__ import annotations

from level_replicator.api.item_queue import ItemQueue
from level_replicator.client.changes import FeedPosition
from level_replicator.core.records import Change, Rescan
from level_replicator.core.version_vector import Cursor, decode_cursor, encode_cursor, encode_vector, origin_name
from level_replicator.protocol.client_messages import Items
from level_replicator.storage.feed.change_feed import Chunk

HERE = 9


def _change(stamp: int, origin: int = 1) -> Change:
    return Change(b"%d" % stamp, b"", origin_name(origin), stamp)


def _cursor(queue: ItemQueue | FeedPosition) -> Cursor:
    return decode_cursor(queue.cursor)


def test_each_item_moves_the_cursor_to_its_dot() -> None:
    """Which is not always the write that the entry carries."""
    queue = ItemQueue(Cursor({1: 1, 2: 1}, 8, {2: 7}))
    behind = Cursor({1: 9, 2: 1}, HERE, {1: 9, 2: 4})
    queue.put(
        Chunk([_change(3, 77), _change(2, 78), _change(8, 77)], ordered=True, dots=[(5, 1), (6, 1), (8, 1)]), behind
    )
    assert _cursor(queue) == Cursor({1: 1, 2: 1}, HERE, {1: 9, 2: 4}), "the program may see what this node knows"
    queue.give()
    assert _cursor(queue) == Cursor({1: 5, 2: 1}, HERE, {1: 9, 2: 4})
    queue.give()
    assert _cursor(queue) == Cursor({1: 6, 2: 1}, HERE, {1: 9, 2: 4})
    queue.give()
    assert _cursor(queue) == Cursor({1: 9, 2: 1}, HERE, {2: 4})
    assert not queue


def test_without_order_the_cursor_moves_at_the_end() -> None:
    queue = ItemQueue(Cursor({1: 1}, HERE))
    queue.put(Chunk([_change(3), _change(2)], ordered=False), Cursor({1: 4}, HERE, {1: 4}))
    queue.give()
    assert _cursor(queue) == Cursor({1: 1}, HERE, {1: 4})
    queue.give()
    assert _cursor(queue) == Cursor({1: 4}, HERE)


def test_who_breaks_off_before_a_complete_rescan_begins_anew() -> None:
    queue = ItemQueue(Cursor({1: 5}, 8))
    queue.put(Chunk([Rescan(complete=True)], ordered=False), Cursor({}, HERE, {1: 3}))
    assert _cursor(queue) == Cursor({}, HERE, {1: 3})
    queue.give()
    assert _cursor(queue) == Cursor({}, HERE, {1: 3})


def test_a_partial_rescan_keeps_the_place() -> None:
    queue = ItemQueue(Cursor({1: 5}, 8))
    queue.put(Chunk([Rescan(complete=False)], ordered=False), Cursor({1: 5}, HERE, {1: 7}))
    queue.give()
    assert _cursor(queue) == Cursor({1: 5}, HERE, {1: 7})


def test_an_empty_chunk_moves_the_cursor() -> None:
    queue = ItemQueue(Cursor({}))
    queue.put(Chunk([], ordered=True), Cursor({1: 5}, HERE))
    assert _cursor(queue) == Cursor({1: 5}, HERE)


def test_the_cursor_of_the_reader_is_not_shared() -> None:
    behind = Cursor({1: 5}, HERE, {1: 6})
    queue = ItemQueue(behind)
    queue.put(Chunk([], ordered=True), behind)
    queue.put(Chunk([_change(6), _change(7)], ordered=True, dots=[(6, 1), (7, 1)]), behind)
    queue.give()
    assert behind == Cursor({1: 5}, HERE, {1: 6})


# -- in another process


def _items(dots: list[tuple[int, int]], *, node: int = HERE) -> Items:
    changes = [(b"a", b"1", 77, 3), (b"b", None, 77, 4)]
    ahead = encode_vector({1: 9, 2: 2}) if node else b""
    return Items(1, changes, True, 0, encode_vector({1: 7}), False, node, ahead, dots)


def test_a_place_follows_the_dots() -> None:
    place = FeedPosition(encode_cursor(Cursor({1: 1}, 8)), b"", now=False)
    assert place.take(_items([(5, 1), (6, 1)]))
    assert place.give() == Change(b"a", b"1", origin_name(77), 3)
    assert _cursor(place) == Cursor({1: 5}, HERE, {1: 9, 2: 2})
    place.give()
    assert _cursor(place) == Cursor({1: 7}, HERE, {1: 9, 2: 2})
    assert not place.waiting


def test_a_place_beside_a_node_of_an_earlier_version() -> None:
    """It says neither node nor dots: those of the changes themselves."""
    place = FeedPosition(None, b"", now=False)
    place.take(_items([], node=0))
    place.give()
    assert place.cursor == encode_cursor(Cursor({77: 3}))
    assert place.cursor.startswith("1.")
