"""Gets and scans: bytewise order, half-open ranges, and the state as of the call."""

from itertools import product

import pytest

from level_replicator.storage.engine.base import Engine, Reader

KEYS = [b"", b"\0", b"\0\0", b"a", b"a\0", b"a\xff", b"b", b"\x7f", b"\x80", b"\xff", b"\xff\0", b"\xff\xff"]
BOUNDS = [None, *KEYS, b"A", b"a\0\0", b"aa", b"c", b"\xfe\xff", b"\xff\xff\xff"]


def fill(engine: Engine, keys: list[bytes]) -> dict[bytes, bytes]:
    for key in reversed(keys):
        engine.put(key, b"value of " + key)
    return {key: b"value of " + key for key in keys}


def check_every_range(reader: Reader, contents: dict[bytes, bytes]) -> None:
    for start, stop, reverse in product(BOUNDS, BOUNDS, (False, True)):
        keys = sorted(
            (key for key in contents if (start is None or key >= start) and (stop is None or key < stop)),
            reverse=reverse,
        )
        case = (start, stop, reverse)
        assert list(reader.scan_keys(start, stop, reverse=reverse)) == keys, case
        assert list(reader.scan(start, stop, reverse=reverse)) == [(key, contents[key]) for key in keys], case


def test_every_range_of_many_keys(engine: Engine) -> None:
    check_every_range(engine, fill(engine, KEYS))


@pytest.mark.parametrize("keys", [[], [b""], [b"a"], [b"\xff\xff"], [b"a", b"b"]])
def test_every_range_of_few_keys(engine: Engine, keys: list[bytes]) -> None:
    check_every_range(engine, fill(engine, keys))


def test_every_range_of_a_snapshot(engine: Engine) -> None:
    contents = fill(engine, KEYS)
    with engine.snapshot() as snapshot:
        engine.delete(b"a")
        engine.put(b"new", b"")
        check_every_range(snapshot, contents)


def test_the_greatest_entry_is_scanned_backwards_from_exactly_its_key(engine: Engine) -> None:
    engine.put(b"k", b"v")
    assert list(engine.scan(b"k", reverse=True)) == [(b"k", b"v")]
    assert list(engine.scan(b"k", b"l", reverse=True)) == [(b"k", b"v")]
    assert list(engine.scan_keys(b"k", reverse=True)) == [b"k"]


def test_get(engine: Engine) -> None:
    assert engine.get(b"a") is None
    engine.put(b"a", b"1")
    engine.put(b"", b"of the empty key")
    assert engine.get(b"a") == b"1"
    assert engine.get(b"") == b"of the empty key"
    engine.put(b"a", b"2")
    assert engine.get(b"a") == b"2"
    engine.delete(b"a")
    engine.delete(b"never there")
    assert engine.get(b"a") is None
    assert list(engine.scan_keys()) == [b""]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_sees_the_state_as_of_the_call(engine: Engine, reverse: bool) -> None:
    contents = fill(engine, KEYS)
    keys = sorted(contents, reverse=reverse)
    untouched = engine.scan(b"", reverse=reverse), engine.scan_keys(b"", reverse=reverse)
    begun = engine.scan(b"", reverse=reverse)
    first = next(begun)
    for key in KEYS[::2]:
        engine.delete(key)
    for key in KEYS[1::2]:
        engine.put(key, b"later")
    engine.put(b"new", b"later")
    assert [first, *begun] == [(key, contents[key]) for key in keys]
    assert list(untouched[0]) == [(key, contents[key]) for key in keys]
    assert list(untouched[1]) == keys
    assert dict(engine.scan()) == dict.fromkeys([*KEYS[1::2], b"new"], b"later")


def test_scans_do_not_disturb_each_other(engine: Engine) -> None:
    contents = fill(engine, KEYS)
    up, down = engine.scan_keys(), engine.scan_keys(reverse=True)
    assert [key for pair in zip(up, down, strict=True) for key in pair] == [
        key for pair in zip(sorted(contents), sorted(contents, reverse=True), strict=True) for key in pair
    ]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [0, 1, 1_000, 5_000_000])
def test_values_are_any_bytes_and_come_back_as_bytes(engine: Engine, kind: type, size: int) -> None:
    value = (b"\0\xff\n" * (size // 3 + 1))[:size]
    engine.put(b"put", kind(value))
    batch = engine.batch()
    batch.put(b"batch", kind(value))
    batch.write()
    for key in (b"put", b"batch"):
        got = engine.get(key)
        assert type(got) is bytes
        assert got == value
    assert all(type(got) is bytes and got == value for _, got in engine.scan())


def test_a_value_belongs_to_the_engine_once_it_is_put(engine: Engine) -> None:
    value = bytearray(b"before")
    batch = engine.batch()
    engine.put(b"put", value)
    batch.put(b"batch", value)
    value[:] = b"after!"
    batch.write()
    assert dict(engine.scan()) == {b"put": b"before", b"batch": b"before"}


@pytest.mark.parametrize("value", ["text", 5, None])
def test_a_value_that_is_not_bytes_is_refused(engine: Engine, value: object) -> None:
    with pytest.raises(TypeError):
        engine.put(b"k", value)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        engine.batch().put(b"k", value)  # type: ignore[arg-type]
    assert engine.get(b"k") is None


@pytest.mark.parametrize("key", ["text", bytearray(b"k"), memoryview(b"k"), 5, None])
def test_a_key_that_is_not_bytes_is_refused(engine: Engine, key: object) -> None:
    for write in (engine.put, engine.batch().put):
        with pytest.raises(TypeError):
            write(key, b"")  # type: ignore[arg-type]
    for delete in (engine.delete, engine.batch().delete):
        with pytest.raises(TypeError):
            delete(key)  # type: ignore[arg-type]
    assert list(engine.scan()) == []
