"""What is compared: each takes the same batches and frames, on a db and an rs of its own."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import level_replicator as lrep
from bench.beyond import build, codec
from bench.beyond.rocks import open_rocks
from bench.beyond.work import LATEST, OWN, OWN_MS, PEER, Operations
from level_replicator import plyvel
from level_replicator.protocol.messages import Entries, decode
from level_replicator.protocol.pull import PullReceiver
from level_replicator.storage.engine.base import Engine
from level_replicator.storage.engine.plyvel import open_engine
from level_replicator.storage.store import Store


class Subject(Protocol):
    """`rs_s`, `db_s`: seconds in the writes of whole batches, as far as they are known."""

    rs_s: float
    db_s: float

    def write(self, operations: Operations) -> None: ...

    def begin(self, target: int, peer: int = PEER) -> None:
        """A round of a peer, whose vector is `target`."""

    def apply(self, body: bytes) -> None: ...

    def close(self) -> None: ...


class Bare:
    """plyvel alone, without replication: one LevelDB, or the same batch into two."""

    rs_s = db_s = 0.0

    def __init__(self, path: Path, names: tuple[str, ...] = ("db",)) -> None:
        self._all = [plyvel.DB(str(path / name), create_if_missing=True) for name in names]

    def write(self, operations: Operations) -> None:
        for db in self._all:
            with db.write_batch() as batch:
                put = batch.put
                for key, value in operations:
                    put(key, value)

    def close(self) -> None:
        for db in self._all:
            db.close()


class Package:
    """The package's own floors of storage, on any engine."""

    def __init__(self, db: Engine, rs: Engine, *, now_ms: int = OWN_MS) -> None:
        self.rs_s = self.db_s = 0.0
        self._at = 0.0
        own = OWN.to_bytes(8, "big")
        self._store = Store(
            db, rs, now_ms=lambda: now_ms, random_bytes=lambda _: own, boot=b"boot", on_step=self._on_step
        )
        if self._store.origin != OWN:
            raise AssertionError("another origin than the prototypes have")
        self._pull = PullReceiver()
        self._peer = 0

    def _on_step(self, name: str) -> None:
        now = time.perf_counter()
        if name.endswith("between rs and db"):
            self.rs_s += now - self._at
        elif name.endswith("after db"):
            self.db_s += now - self._at
        self._at = now

    def write(self, operations: Operations) -> None:
        self._store.writer.write(operations, False)

    def begin(self, target: int, peer: int = PEER) -> None:
        self._peer = peer
        self._pull.begin({peer: target}, LATEST)

    def apply(self, body: bytes) -> None:
        message = decode(body)
        assert isinstance(message, Entries)
        frame = self._pull.entries(message, LATEST)
        assert frame is not None
        self._store.apply(frame, self._peer, {})

    @property
    def counts(self) -> tuple[int, int]:
        """Keys and entries."""
        return self._store.keys, self._store.entries

    def close(self) -> None:
        self._store.close()


class Pair:
    """Both LevelDBs in the compiled part. `bare`: only batches into one of them."""

    def __init__(self, path: Path, *, bare: bool = False) -> None:
        self._native: Any = build.load("pair")
        self._pair = self._native.open(str(path / "db"), str(path / "rs"), OWN)
        self._bare = bare
        self._target, self._peer = 0, PEER

    def write(self, operations: Operations) -> None:
        if self._bare:
            self._native.bare(self._pair, operations)
        else:
            self._native.write(self._pair, operations, OWN_MS)

    def begin(self, target: int, peer: int = PEER) -> None:
        self._target, self._peer = target, peer

    def apply(self, body: bytes) -> None:
        self._native.apply(self._pair, body, self._peer, self._target, LATEST)

    @property
    def rs_s(self) -> float:
        return float(self._native.figures(self._pair)[1])

    @property
    def db_s(self) -> float:
        return float(self._native.figures(self._pair)[2])

    @property
    def counts(self) -> tuple[int, ...]:
        return () if self._bare else tuple(self._native.figures(self._pair)[3:])

    def close(self) -> None:
        self._pair = None


def open_package(path: Path) -> Package:
    return Package(open_engine(path / "db"), open_engine(path / "rs", **lrep.RS_OPTIONS))


def open_codec(path: Path) -> Package:
    codec.install()
    return open_package(path)


def open_rocks_package(path: Path) -> Package:
    return Package(open_rocks(path / "db"), open_rocks(path / "rs", **lrep.RS_OPTIONS))


BARE, TWO, PACKAGE = "bare plyvel, one LevelDB", "bare plyvel, two LevelDBs", "the package"
CODEC, PAIR, PAIR_BARE = "compiled codec, plyvel", "C++ over LevelDB", "bare C++, one LevelDB"
ROCKS = "the package over rocksdict"
LOCAL: dict[str, Callable[[Path], Any]] = {
    BARE: Bare,
    TWO: lambda path: Bare(path, ("one", "two")),
    PAIR_BARE: lambda path: Pair(path, bare=True),
    PACKAGE: open_package,
    CODEC: open_codec,
    PAIR: Pair,
    ROCKS: open_rocks_package,
}
APPLY = [PACKAGE, CODEC, PAIR, ROCKS]
NEEDS = {PAIR_BARE: "pair", CODEC: "codec", PAIR: "pair", ROCKS: "rocksdict"}
