"""A master as a process: acknowledged work survives SIGKILL; an end that nobody wanted tells its reason."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from level_replicator import plyvel
from level_replicator.cli.demo.process import DemoFailure, Master, MasterGone
from level_replicator.cli.demo.relay import HOST, free_ports


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    port, nobody = free_ports(2)
    made = Master("node 1", tmp_path / "node1", port, [f"{HOST}:{nobody}"])
    yield made
    made.kill()


def contents(master: Master) -> dict[bytes, bytes]:
    with plyvel.DB(str(master.database)) as db:
        return dict(db.iterator())


def test_acknowledged_work_survives_a_kill(master: Master) -> None:
    master.start()
    master.send([(b"a", b"1"), (b"b", b"2")], atomic=True)
    master.send([(b"b", None), (b"c", b"\0\xff")], atomic=False)
    master.await_answer()
    master.kill()
    assert master.state == "killed"
    master.start()
    assert master.incarnation == 2
    master.send([(b"d", b"4")], atomic=False)
    master.await_answer()
    master.stop()
    assert contents(master) == {b"a": b"1", b"c": b"\0\xff", b"d": b"4"}


def test_end_that_nobody_asked_for(master: Master) -> None:
    master.start()
    process = master._process
    assert process is not None
    process.kill()
    process.wait()
    with pytest.raises(MasterGone, match="by SIGKILL"):  # noqa: PT012 - the pipe may take one more command
        master.send([(b"a", b"1")], atomic=False)
        master.await_answer()


def test_start_that_fails_says_why(master: Master, tmp_path: Path) -> None:
    master.start()
    rival = Master("rival", tmp_path / "rival", master.port, [f"{HOST}:1"])
    with pytest.raises(DemoFailure, match=f"rival did not start: ConfigError: .*{master.port}"):
        rival.start()
    rival.kill()
