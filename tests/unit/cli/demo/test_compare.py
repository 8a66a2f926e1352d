"""The comparison and the ledger of the demo find every kind of difference."""

import hashlib
from pathlib import Path

import plyvel
import pytest

from level_replicator.cli.demo.checks import Ledger, compare

SAME = {b"a": b"1", b"b": b"2", b"c": b"3"}


def make(directory: Path, *contents: dict[bytes, bytes]) -> list[tuple[str, Path]]:
    databases = []
    for number, entries in enumerate(contents, 1):
        path = directory / str(number)
        with plyvel.DB(str(path), create_if_missing=True) as db:
            for key, value in entries.items():
                db.put(key, value)
        databases.append((f"node {number}", path))
    return databases


def test_equal_databases_are_equal(tmp_path: Path) -> None:
    result = compare(make(tmp_path, SAME, SAME, SAME))
    assert result.equal
    assert [contents.keys for contents in result.contents] == [3, 3, 3]
    plain = b"".join(len(part).to_bytes(8, "big") + part for item in sorted(SAME.items()) for part in item)
    assert {contents.digest for contents in result.contents} == {hashlib.sha256(plain).hexdigest()}


def test_empty_databases_are_equal(tmp_path: Path) -> None:
    assert compare(make(tmp_path, {}, {}, {})).equal


@pytest.mark.parametrize(
    ("other", "key"),
    [
        ({**SAME, b"b": b"x"}, b"b"),
        ({**SAME, b"d": b""}, b"d"),
        ({**SAME, b"": b""}, b""),
        ({b"a": b"1", b"b": b"2"}, b"c"),
        ({b"b": b"2", b"c": b"3"}, b"a"),
        ({**SAME, b"b": b""}, b"b"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_differing_key_is_found(other: dict[bytes, bytes], key: bytes, place: int, tmp_path: Path) -> None:
    contents = [SAME, SAME, SAME]
    contents[place] = other
    result = compare(make(tmp_path, *contents))
    assert not result.equal
    assert result.differing == 1
    assert result.differences[0].startswith(f"{key!r}: node 1 has ")


def test_the_digest_covers_the_lengths(tmp_path: Path) -> None:
    one, other, _ = compare(make(tmp_path, {b"ab": b"c"}, {b"a": b"bc"}, {})).contents
    assert one.digest != other.digest


def test_many_differences_are_counted_and_a_few_are_shown(tmp_path: Path) -> None:
    many = {b"%04d" % number: b"" for number in range(1_000)}
    result = compare(make(tmp_path, many, {}))
    assert result.differing == 1_000
    assert len(result.differences) == 10


def test_the_ledger_finds_lost_keys_and_unwritten_values() -> None:
    ledger = Ledger()
    ledger.note([(b"a", b"1"), (b"b", b"1")])
    ledger.note([(b"b", b"2"), (b"b", None)])
    assert ledger.objections([(b"a", b"1"), (b"b", b"1")]) == []
    assert ledger.objections([(b"a", b"1"), (b"b", b"2")]) == []
    assert ledger.objections([(b"a", b"1")]) == []
    assert "lost" in ledger.objections([])[0]
    assert "this value" in ledger.objections([(b"a", b"2")])[0]
    assert "this key" in ledger.objections([(b"a", b"1"), (b"c", b"1")])[0]


def test_the_ledger_shows_a_few_errors() -> None:
    ledger = Ledger()
    ledger.note([(b"%d" % number, b"") for number in range(12)])
    assert len(ledger.objections([])) == 11
    assert ledger.objections([])[-1] == "and 2 more"
