"""Cursors of the changes feed as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.errors import ConfigError
from level_replicator.core.version_vector import Cursor, decode_cursor, encode_cursor, newer

NUMBERS = st.integers(1, (1 << 64) - 1)
VECTORS = st.dictionaries(NUMBERS, NUMBERS, max_size=4)


@given(VECTORS, NUMBERS, VECTORS)
def test_round_trip(vector: dict[int, int], node: int, ahead: dict[int, int]) -> None:
    """A cursor stores only those entries of `ahead` that are above its vector."""
    text = encode_cursor(Cursor(vector, node, ahead))
    assert decode_cursor(text) == Cursor(vector, node, newer(ahead, vector))
    shuffled = Cursor(dict(reversed(vector.items())), node, dict(reversed(ahead.items())))
    assert encode_cursor(shuffled) == text


@given(VECTORS)
def test_a_cursor_without_a_node_is_a_vector_only(vector: dict[int, int]) -> None:
    text = encode_cursor(Cursor(vector))
    assert text.startswith("1.")
    assert decode_cursor(text) == Cursor(vector)


def test_a_copy_is_independent() -> None:
    cursor = Cursor({1: 2}, 3, {4: 5})
    copy = cursor.copy()
    copy.vector[1], copy.ahead[4] = 9, 9
    assert cursor == Cursor({1: 2}, 3, {4: 5})


@pytest.mark.parametrize("text", ["", "1", "3.AAAA", "1.AQID", "1.*", "2.", "2.AAAAAAAAAAAAAAAA", None, 5, b"1."])
def test_other_values_are_refused(text: object) -> None:
    with pytest.raises(ConfigError, match="not a cursor of a changes feed"):
        decode_cursor(text)  # type: ignore[arg-type]


@given(st.text(max_size=60))
def test_any_text_is_a_cursor_or_a_config_error(text: str) -> None:
    for prefix in ("", "1.", "2."):
        try:
            cursor = decode_cursor(prefix + text)
        except ConfigError:
            continue
        assert decode_cursor(encode_cursor(cursor)).vector == cursor.vector
