"""Keys of the replication set sort as their numbers do, and no kind runs into another."""

from hypothesis import given
from hypothesis import strategies as st

from level_replicator.storage.state import schema
from level_replicator.storage.state.schema import (
    following,
    key_origin,
    log_dot,
    log_key,
    log_range,
    resume_key,
    resume_pair,
    vector_key,
)

U64 = st.integers(0, (1 << 64) - 1)


@given(U64, U64, U64, U64)
def test_the_log_is_in_order_of_time_within_an_origin(origin: int, stamp: int, other: int, later: int) -> None:
    assert (log_key(origin, stamp) < log_key(other, later)) == ((origin, stamp) < (other, later))
    assert log_dot(log_key(origin, stamp)) == (stamp, origin)


@given(U64, U64, U64, U64, U64)
def test_a_range_holds_what_is_above_low_and_not_above_high(
    origin: int, low: int, high: int, stamp: int, other: int
) -> None:
    start, stop = log_range(origin, low, high)
    for at in (stamp, low, high):
        assert (start <= log_key(origin, at) < stop) == (low < at <= high)
    if other != origin:
        assert not start <= log_key(other, stamp) < stop


@given(U64, U64)
def test_what_a_key_names_can_be_read_from_it(one: int, two: int) -> None:
    assert key_origin(vector_key(one)) == one
    assert resume_pair(resume_key(one, two)) == (one, two)


@given(U64, U64, st.binary(max_size=10))
def test_each_kind_stays_within_its_prefix(one: int, two: int, key: bytes) -> None:
    kinds = [schema.META, schema.APPLIED, schema.LOG, schema.INDEX, schema.VECTOR, schema.RESUME]
    assert len(set(kinds)) == len(kinds)
    for prefix, made in [
        (schema.LOG, log_key(one, two)),
        (schema.INDEX, schema.INDEX + key),
        (schema.VECTOR, vector_key(one)),
        (schema.RESUME, resume_key(one, two)),
    ]:
        assert prefix <= made < following(prefix)
