"""Version vectors and their bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_VECTOR_ORIGINS
from level_replicator.core.version_vector import (
    Vector,
    apply_difference,
    covers,
    decode_origins,
    decode_vector,
    encode_origins,
    encode_vector,
    newer,
    origin_name,
    raise_to,
    vector_difference,
)

U64 = st.integers(1, (1 << 64) - 1)
VECTORS = st.dictionaries(U64, U64, max_size=5)
SMALL = st.dictionaries(st.integers(1, 3), st.integers(1, 3))


def pair(origin: int, stamp: int) -> bytes:
    return struct.pack(">QQ", origin, stamp)


@given(VECTORS)
def test_round_trip(vector: Vector) -> None:
    assert decode_vector(encode_vector(vector)) == vector


@given(st.binary(max_size=64))
def test_arbitrary_bytes(data: bytes) -> None:
    try:
        vector = decode_vector(data)
    except RemoteProtocolError:
        return
    assert encode_vector(vector) == data


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"x", id="half a pair"),
        pytest.param(pair(0, 1), id="origin 0"),
        pytest.param(pair(1, 0), id="stamp 0"),
        pytest.param(pair(1, 2) + pair(1, 3), id="an origin twice"),
        pytest.param(bytes(16 * (MAX_VECTOR_ORIGINS + 1)), id="too many"),
    ],
)
def test_malformed_vectors_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_vector(data)


@given(SMALL, SMALL, SMALL)
def test_covers_is_a_partial_order(a: Vector, b: Vector, c: Vector) -> None:
    assert covers(a, a)
    assert covers(a, {})
    if covers(a, b) and covers(b, a):
        assert a == b
    if covers(a, b) and covers(b, c):
        assert covers(a, c)


def test_the_name_of_an_origin_has_16_digits() -> None:
    assert origin_name(0xAB) == "00000000000000ab"


@pytest.mark.parametrize(
    ("vector", "from_"),
    [({}, {}), ({1: 2}, {}), ({}, {1: 2}), ({1: 2, 3: 4}, {1: 2, 3: 4}), ({1: 2, 3: 9, 5: 6}, {1: 2, 3: 4, 7: 8})],
)
def test_differences_restore_a_vector(vector: Vector, from_: Vector) -> None:
    lines, missing = vector_difference(vector, from_)
    assert apply_difference(from_, lines, decode_origins(encode_origins(missing))) == vector


def test_the_maximum_of_two_vectors() -> None:
    vector = {1: 2, 3: 4}
    raise_to(vector, {1: 1, 3: 5, 7: 8})
    assert vector == {1: 2, 3: 5, 7: 8}
    assert newer({1: 2, 9: 1}, vector) == {9: 1}
    assert newer(vector, vector) == {}


def test_origins_that_are_cut_off_are_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        decode_origins(bytes(9))
