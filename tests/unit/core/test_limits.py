"""Relations between limits on which the code relies."""

from level_replicator.core import limits
from level_replicator.core.entry import encode_context, encode_dot, encode_entry


def test_a_frame_has_room_for_the_largest_entry() -> None:
    context = encode_context(dict.fromkeys(range(1, limits.MAX_CONTEXT_ORIGINS + 2), 1))
    envelope, _, _ = encode_entry(2, b"", b"", context, encode_dot(1, 1))
    assert len(envelope) + limits.MAX_KEY_BYTES + limits.MAX_VALUE_BYTES < limits.MAX_FRAME_BYTES


def test_the_filter_is_a_power_of_two() -> None:
    assert limits.FILTER_BYTES & (limits.FILTER_BYTES - 1) == 0
    assert limits.FILTER_MASK == limits.FILTER_BYTES * 8 - 1


def test_own_vectors_stay_below_the_length_that_peers_refuse() -> None:
    assert limits.MAX_OWN_VECTOR_ORIGINS < limits.MAX_VECTOR_ORIGINS


def test_a_flood_of_unknown_peers_leaves_room_for_known_ones() -> None:
    assert limits.MAX_IDENTIFY_STRANGERS_PER_NETWORK < limits.MAX_IDENTIFY_STRANGERS < limits.MAX_IDENTIFY_CALLS
    assert limits.MAX_PENDING_PER_NETWORK < limits.MAX_PENDING_HANDSHAKES


def test_first_delays_are_below_the_longest() -> None:
    assert limits.BACKOFF_FIRST_S < limits.BACKOFF_CAP_S
    assert limits.PULL_RETRY_FIRST_MS < limits.PULL_RETRY_CAP_MS
    assert limits.FLOOR_PATIENCE_MS < limits.BULK_LOAD_PATIENCE_MS < limits.FLOOR_PATIENCE_CAP_MS
    assert limits.LEFTOVER_PATIENCE_MS < limits.LEFTOVER_LONG_PATIENCE_MS
