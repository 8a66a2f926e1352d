"""One database for many processes: real processes that are killed."""

import importlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import level_replicator as lrep
from tests.harness.waiting import DEADLINE_S, wait_until

ROOT = Path(__file__).parents[3]


class Worker:
    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.acknowledged = -1
        self.role = ""
        self.lost: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.clients.worker", str(folder), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("LOST"):
                self.lost.append(line)
            elif line.strip().isdigit():
                self.acknowledged = int(line)
            else:
                self.role = line.strip()

    def kill(self) -> None:
        self.process.kill()
        self._end()

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._end()
        assert self.process.returncode == 0

    def _end(self) -> None:
        self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Worker]]:
    made = [Worker(tmp_path / "shared", name) for name in "abcd"]
    yield made
    for one in made:
        one.kill()


def progress(workers: list[Worker], more: int) -> None:
    """Wait until each worker has had so many more writes acknowledged."""
    wanted = [worker.acknowledged + more for worker in workers]
    wait_until(
        lambda: all(worker.acknowledged >= wish for worker, wish in zip(workers, wanted, strict=True)),
        lambda: [(worker.name, worker.role, worker.acknowledged) for worker in workers],
    )


def holder_of(workers: list[Worker]) -> Worker:
    (one,) = (worker for worker in workers if worker.role == "holder")
    return one


def test_after_the_death_of_the_holder_another_process_takes_over(tmp_path: Path, workers: list[Worker]) -> None:
    progress(workers, 20)
    alive = list(workers)
    for _ in range(2):
        first = holder_of(alive)
        first.kill()
        alive.remove(first)
        progress(alive, 50)
    assert [worker.lost for worker in workers] == [[], [], [], []]
    third = holder_of(alive)
    third.stop()
    alive.remove(third)
    progress(alive, 50)
    for worker in alive:
        worker.stop()
    with lrep.open(tmp_path / "shared", {}) as replica:
        there = set(replica.iterator(include_value=False))
        assert replica.verify().sound
    for worker in workers:
        written = {f"{worker.name} {serial}".encode() for serial in range(worker.acknowledged + 1)}
        assert written <= there


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:
        yield lambda **config: stack.enter_context(lrep.open(tmp_path / "shared", config, share=True))


def test_one_of_them_replicates(share: Any, tmp_path: Path) -> None:
    first, second = share(port=0), share(port=0)
    assert (first.holder, second.holder) == (True, False)
    second.put(b"key", b"value")
    assert dict(first) == dict(second) == {b"key": b"value"}
    host, port = second.status()["address"]
    with lrep.open(tmp_path / "peer", {"servers": {f"{host}:{port}": {}}}) as peer:
        assert peer.wait_synced(DEADLINE_S)
        assert dict(peer) == {b"key": b"value"}


def test_another_process_takes_over_without_any_request(share: Any) -> None:
    first, second = share(), share()
    first.close()
    wait_until(lambda: second.holder, "the other one to take over")
    second.put(b"key", b"value")


def test_a_feed_continues_at_the_next_holder(share: Any) -> None:
    first, second = share(), share()
    feed = second.changes(now=True)
    first.put(b"1", b"")
    assert next(feed).key == b"1"
    first.close()
    second.put(b"2", b"")
    assert next(item for item in feed if item.key != b"1").key == b"2"
    feed.close()


def test_snapshots_end_with_their_holder(share: Any) -> None:
    first, second = share(), share()
    second.put(b"key", b"value")
    snapshot = second.snapshot()
    assert snapshot.get(b"key") == b"value"
    first.close()
    with pytest.raises(lrep.ClosedError):
        snapshot.get(b"key")
    assert second.get(b"key") == b"value"


def test_a_forked_child_uses_what_its_parent_holds(share: Any) -> None:
    parent = share()
    child = os.fork()
    if child == 0:
        code = 2
        try:
            parent.put(b"key", b"of the child")
            code = 1 if parent.holder else 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert parent.get(b"key") == b"of the child"
    assert parent.holder


def test_databases_that_cannot_be_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("level_replicator.install"), "CLIENT_TIMEOUT_S", 0.1)
    with lrep.open(tmp_path / "shared", {"socket": False}), pytest.raises(lrep.LockedError, match="Unix socket"):
        lrep.open(tmp_path / "shared", {}, share=True)
    with pytest.raises(lrep.ConfigError, match="socket"):
        lrep.open(tmp_path / "shared", {"socket": False}, share=True)
    with pytest.raises(lrep.ConfigError, match="too long"):
        lrep.open(tmp_path / ("x" * 120), {}, share=True)


def test_errors_are_those_of_the_replica(share: Any) -> None:
    both = share(pull_only=True), share()
    for database in both:
        with pytest.raises(lrep.ReadOnlyError):
            database.put(b"key", b"value")
    for database in both:
        database.close()
        with pytest.raises(lrep.ClosedError):
            database.get(b"key")
