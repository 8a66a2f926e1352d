"""Random operations on an engine and on a dict: nobody can tell the two apart."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from level_replicator.storage.engine.base import Reader, Snapshot
from tests.conformance.engines.places import PLACES
from tests.harness import bindings

FEW_KEYS = st.sampled_from([b"", b"\0", b"a", b"a\0", b"ab", b"b", b"\xff", b"\xff\xff"])
KEYS = FEW_KEYS | st.binary(max_size=3)
BOUNDS = st.none() | KEYS
VALUES = st.binary(max_size=20)
OPERATIONS = st.lists(st.tuples(KEYS, st.none() | VALUES), max_size=12)
Contents = dict[bytes, bytes]


def in_range(contents: Contents, start: bytes | None, stop: bytes | None, reverse: bool) -> list[tuple[bytes, bytes]]:
    pairs = [
        pair for pair in contents.items() if (start is None or pair[0] >= start) and (stop is None or pair[0] < stop)
    ]
    return sorted(pairs, reverse=reverse)


class EngineAndModel(RuleBasedStateMachine):
    kind: str
    snapshots: Bundle[Any] = Bundle("snapshots")
    scans: Bundle[Any] = Bundle("scans")

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="engine-model-"))
        self.place = PLACES[self.kind](self.path)
        self.engine = self.place.open()
        self.contents: Contents = {}
        self.life = 0

    def teardown(self) -> None:
        self.engine.close()
        shutil.rmtree(self.path)

    @rule(key=KEYS, value=VALUES, sync=st.booleans())
    def put(self, key: bytes, value: bytes, sync: bool) -> None:
        self.engine.put(key, value, sync=sync)
        self.contents[key] = value

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        self.engine.delete(key)
        self.contents.pop(key, None)

    @rule(operations=OPERATIONS, sync=st.booleans())
    def batch(self, operations: list[tuple[bytes, bytes | None]], sync: bool) -> None:
        batch = self.engine.batch(sync=sync)
        for key, value in operations:
            if value is None:
                batch.delete(key)
                self.contents.pop(key, None)
            else:
                batch.put(key, value)
                self.contents[key] = value
        batch.write()

    @rule()
    def reopen(self) -> None:
        self.engine.close()
        self.engine = self.place.open()
        self.life += 1

    @rule(key=KEYS, start=BOUNDS, stop=BOUNDS, reverse=st.booleans())
    def read(self, key: bytes, start: bytes | None, stop: bytes | None, reverse: bool) -> None:
        self._compare(self.engine, self.contents, key, start, stop, reverse)

    @rule(target=snapshots)
    def snapshot(self) -> tuple[int, Snapshot, Contents]:
        return self.life, self.engine.snapshot(), dict(self.contents)

    @rule(snapshot=snapshots, key=KEYS, start=BOUNDS, stop=BOUNDS, reverse=st.booleans())
    def read_snapshot(
        self,
        snapshot: tuple[int, Snapshot, Contents],
        key: bytes,
        start: bytes | None,
        stop: bytes | None,
        reverse: bool,
    ) -> None:
        life, view, contents = snapshot
        if life == self.life:
            self._compare(view, contents, key, start, stop, reverse)

    @rule(snapshot=consumes(snapshots))
    def close_snapshot(self, snapshot: tuple[int, Snapshot, Contents]) -> None:
        snapshot[1].close()

    @rule(target=scans, start=BOUNDS, stop=BOUNDS, reverse=st.booleans())
    def begin_scan(
        self, start: bytes | None, stop: bytes | None, reverse: bool
    ) -> tuple[int, Iterator[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
        scan = self.engine.scan(start, stop, reverse=reverse)
        return self.life, scan, in_range(self.contents, start, stop, reverse)

    @rule(scan=consumes(scans))
    def finish_scan(self, scan: tuple[int, Iterator[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]) -> None:
        life, pairs, expected = scan
        if life == self.life:
            assert list(pairs) == expected

    @invariant()
    def same_contents(self) -> None:
        assert list(self.engine.scan()) == sorted(self.contents.items())

    def _compare(
        self, reader: Reader, contents: Contents, key: bytes, start: bytes | None, stop: bytes | None, reverse: bool
    ) -> None:
        expected = in_range(contents, start, stop, reverse)
        assert reader.get(key) == contents.get(key)
        assert list(reader.scan(start, stop, reverse=reverse)) == expected
        assert list(reader.scan_keys(start, stop, reverse=reverse)) == [key for key, _ in expected]


class PlyvelAndModel(EngineAndModel):
    kind = "plyvel"


class PlyvelNextAndModel(EngineAndModel):
    kind = "plyvel_next"


class MemoryAndModel(EngineAndModel):
    kind = "memory"


TestPlyvel = PlyvelAndModel.TestCase
TestPlyvelNext = PlyvelNextAndModel.TestCase
for case in (TestPlyvel, TestPlyvelNext):
    case.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestMemory = MemoryAndModel.TestCase
TestMemory.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)

if not bindings.is_installed("plyvel"):
    TestPlyvel = pytest.mark.skip(bindings.reason("plyvel"))(TestPlyvel)
if not bindings.is_installed("plyvel_next"):
    TestPlyvelNext = pytest.mark.skip(bindings.reason("plyvel_next"))(TestPlyvelNext)
