"""What the measurements are made with: names of pictures, commands for Redis, workers that stand still or end."""

import signal
from pathlib import Path

import pytest

from bench import machine, plots, replicas, resp
from bench.figures import Series
from bench.processes import Worker
from bench.worker import usage
from level_replicator.testing.process import ProcessEnded


def test_a_group_gives_a_name_for_a_file() -> None:
    assert plots.name_of("on the disk, values of 100 bytes") == "on-the-disk-values-of-100-bytes"
    assert plots.name_of("overwrites of 1,000 keys") == "overwrites-of-1000-keys"


def test_a_picture_of_each_group(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    bars = [Series("a group", name, "ms", [1.0, 2.0, 3.0]) for name in ("one", "two")]
    curve = [Series("another", "one", "ms", [size], None, size, "keys") for size in (1.0, 10.0, 100.0)]
    drawn = plots.draw([*bars, *curve], tmp_path)
    assert [path.name for path in drawn] == ["a-group.svg", "another.svg"]
    assert all(path.stat().st_size < 100_000 for path in drawn)


def test_commands_as_redis_reads_them() -> None:
    assert resp.encode((b"SET", b"k", b"\r\n")) == b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n"


def test_machine_and_versions_are_told(tmp_path: Path) -> None:
    about = machine.describe(tmp_path)
    assert {"processor", "cores", "python", "plyvel", "load before"} <= about.keys()
    assert "PouchDB" not in about


def test_a_worker_that_was_paused_goes_on_and_one_that_was_killed_does_not(tmp_path: Path) -> None:
    with Worker() as worker:
        worker.call(replicas.fill, path=str(tmp_path / "node"), count=10)
        worker.pause()
        worker.begin(usage)
        worker.resume()
        assert worker.result()["cpu_s"] > 0
        worker.kill()
        with pytest.raises(ProcessEnded):
            worker.call(usage)
    assert worker.returncode == -signal.SIGKILL
