"""What the fuzzer found worth keeping goes through its target again; and what chance finds without coverage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.entry import encode_context, encode_dot, encode_entry, encode_index, is_sound
from level_replicator.protocol.messages import decode, encode
from tests.fuzz.saying import message
from tests.fuzz.seeds import CORPUS
from tests.fuzz.source import Source
from tests.fuzz.targets import TARGETS

MOST_FILES = 3_000
MOST_BYTES = 2 * 1024 * 1024
U64 = st.integers(1, (1 << 64) - 1)
CONTEXTS = st.dictionaries(U64, U64, max_size=3).map(encode_context)
INDEX_LINES = st.builds(encode_index, U64, U64, st.integers(0, 1), st.integers(0, (1 << 32) - 1), CONTEXTS, CONTEXTS)
SCRIPTS = st.binary(max_size=120)


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_holds(target: str) -> None:
    inputs = [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]
    assert inputs
    for data in inputs:
        TARGETS[target](data)


def test_the_corpus_is_small() -> None:
    kept = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in kept} == set(TARGETS)
    assert len(kept) <= MOST_FILES
    assert sum(path.stat().st_size for path in kept) <= MOST_BYTES


@pytest.mark.parametrize("target", ["frames", "answers", "pulls", "meta", "words"])
@given(data=SCRIPTS)
def test_by_chance(target: str, data: bytes) -> None:
    TARGETS[target](data)


@given(SCRIPTS)
def test_every_kind_of_message_comes_back_as_it_was(data: bytes) -> None:
    said = message(Source(data))
    assert decode(encode(said)[4:]) == said


@given(INDEX_LINES, st.data())
def test_a_line_of_the_index_cut_anywhere_is_another_one_or_told(line: bytes, data: st.DataObject) -> None:
    TARGETS["lines"](b"\4" + line)
    TARGETS["lines"](b"\4" + line[: data.draw(st.integers(0, len(line)))])


@given(U64, st.binary(max_size=9), st.none() | st.binary(max_size=9), st.data())
def test_both_ways_to_check_an_entry_agree_wherever_it_is_cut_or_changed(
    stamp: int, key: bytes, value: bytes | None, data: st.DataObject
) -> None:
    written = data.draw(st.none() | st.tuples(st.integers(1, stamp), U64))
    newest = stamp if written is None else written[0]
    context = encode_context(data.draw(st.dictionaries(U64, st.integers(1, newest), max_size=3)))
    record = encode_entry(stamp, key, value, context, b"" if written is None else encode_dot(*written))[0]
    assert is_sound(record)
    at = data.draw(st.integers(0, len(record) - 1))
    TARGETS["entries"](record[:at])
    TARGETS["entries"](record[:at] + bytes([record[at] ^ data.draw(st.integers(1, 255))]) + record[at + 1 :])


@given(st.integers(0, 3), SCRIPTS)
def test_any_line_of_the_replication_set(kind: int, line: bytes) -> None:
    TARGETS["lines"](bytes([kind]) + line)
