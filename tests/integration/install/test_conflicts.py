"""on_conflict, of real replicas."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

import level_replicator as lrep
from tests.harness.local_node import LocalNode

KEYS = [b"%d" % number for number in range(5)]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[LocalNode]:
    """A node that writes the keys, after somebody else has."""
    with lrep.open(tmp_path / "a", {"port": None}) as replica:
        for key in KEYS:
            replica.put(key, b"older")
    master = LocalNode(tmp_path / "peer")
    for key in reversed(KEYS):  # the newest is sent first
        master.put(key, b"newer")
    yield master
    master.close()


def _open(tmp_path: Path, peer: LocalNode, on_conflict: Callable[..., None]) -> lrep.Replica:
    return lrep.open(tmp_path / "a", {"port": None, "servers": {peer.address: {}}, "on_conflict": on_conflict})


def _alone(tmp_path: Path, on_conflict: Callable[..., None]) -> lrep.Replica:
    return lrep.open(tmp_path / "a", {"port": None, "on_conflict": on_conflict})


def test_what_a_callback_has_not_come_to_is_reported_after_the_next_open(tmp_path: Path, peer: LocalNode) -> None:
    called, go_on = threading.Event(), threading.Event()
    got: list[bytes] = []

    def slow(key: bytes, _winner: Any, _loser: Any) -> None:
        got.append(key)
        called.set()
        go_on.wait(60)

    replica = _open(tmp_path, peer, slow)
    assert replica.wait_synced(60)
    assert called.wait(60)
    replica.close()
    go_on.set()
    assert got == KEYS[:1]
    again: Queue[Any] = Queue()
    with _alone(tmp_path, lambda *conflict: again.put(conflict)):
        told = [again.get(timeout=60) for _ in KEYS]
    assert [key for key, _, _ in told] == KEYS, "the first one, which was not dealt with, comes again"
    assert {(winner.value, loser.value) for _, winner, loser in told} == {(b"newer", b"older")}
    with _alone(tmp_path, lambda *conflict: again.put(conflict)) as replica:
        replica.put(b"k", b"")
    assert again.empty()


def test_a_callback_that_uses_a_replica_which_is_being_closed_is_called_again(tmp_path: Path, peer: LocalNode) -> None:
    called, closing = threading.Event(), threading.Event()
    replicas: Queue[lrep.Replica] = Queue()

    def keep(key: bytes, _winner: Any, loser: Any) -> None:
        replica = replicas.get(timeout=60)
        replicas.put(replica)
        if key == KEYS[0]:
            called.set()
            closing.wait(60)
        replica.put(b"lost " + key, loser.value)

    replica = _open(tmp_path, peer, keep)
    replicas.put(replica)
    assert replica.wait_synced(60)
    assert called.wait(60)

    closer = threading.Thread(target=replica.close)
    closer.start()
    while not replica._gate.shut:
        closing.wait(0.001)
    closing.set()
    closer.join()
    replicas.get()
    with _alone(tmp_path, keep) as replica:
        replicas.put(replica)
        feed = replica.changes(prefix=b"lost ")
        kept = [next(feed) for _ in KEYS]
    assert [item.key for item in kept if isinstance(item, lrep.Change)] == [b"lost " + key for key in KEYS]


def test_a_kill_in_the_callback(tmp_path: Path, peer: LocalNode) -> None:
    code = (
        "import os, signal, sys, threading\nimport level_replicator as lrep\n"
        "config = {'port': None, 'servers': {sys.argv[2]: {}}}\n"
        "config['on_conflict'] = lambda *conflict: os.kill(os.getpid(), signal.SIGKILL)\n"
        "with lrep.open(sys.argv[1], config):\n    threading.Event().wait(60)\n"
    )
    command = [sys.executable, "-c", code, os.fspath(tmp_path / "a"), peer.address]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, "")
    again: Queue[Any] = Queue()
    with _open(tmp_path, peer, lambda key, winner, loser: again.put((key, winner.value, loser.value))):
        told = {again.get(timeout=60) for _ in KEYS}
    assert told == {(key, b"newer", b"older") for key in KEYS}


def test_a_callback_that_raises_is_called_with_the_next(
    tmp_path: Path, peer: LocalNode, caplog: pytest.LogCaptureFixture
) -> None:
    got: Queue[bytes] = Queue()

    def bad(key: bytes, _winner: Any, _loser: Any) -> None:
        got.put(key)
        raise SystemExit(1)

    with _open(tmp_path, peer, bad):
        assert [got.get(timeout=60) for _ in KEYS] == KEYS
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == len(KEYS) * [
        "on_conflict raised an error"
    ]
    with _alone(tmp_path, bad) as replica:
        replica.put(b"k", b"")
    assert got.empty()
