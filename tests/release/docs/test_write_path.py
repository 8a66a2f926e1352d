"""The picture of the way of a write shows the modules that a put really passes, by the call stacks of a put."""

import re
import sys
from pathlib import Path
from types import FrameType

import pytest

import level_replicator as lrep
from level_replicator.node.node import Node
from level_replicator.node.stream import StreamTransport
from level_replicator.storage.write.merger import Merger
from tests.harness.waiting import wait_until

ROOT = Path(__file__).parents[3]
PACKAGE = Path(lrep.__file__).parent
PICTURE = (ROOT / "docs" / "diagrams" / "write.txt").read_text("utf-8")
MAX_MODULES = 10
COMPOSITION = {"install.py"}
"""Connects the writer with the node; it only calls on."""


def modules_of_stack() -> list[str]:
    """Return the modules of the package on the call stack, outermost first, each once."""
    found: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            found.append(path.relative_to(PACKAGE).as_posix())
        frame = frame.f_back
    return [name for name in dict.fromkeys(reversed(found)) if name not in COMPOSITION]


def boxes() -> tuple[list[str], list[str]]:
    """Return the modules of the left column from top to bottom, and of the right one from bottom to top."""
    left: list[str] = []
    right: list[str] = []
    middle = max(map(len, PICTURE.splitlines())) // 2
    for line in PICTURE.splitlines():
        for found in re.finditer(r'"([\w/]+\.py)"', line):
            (left if found.start() < middle else right).append(found[1])
    return left, right[::-1]


def test_the_picture_shows_the_modules_of_a_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stacks: dict[str, list[str]] = {}
    recording = False

    def record(owner: type, name: str) -> None:
        """Keep the stack of the first call of a method while `recording`."""
        original = getattr(owner, name)

        def recorded(*args: object, **kwargs: object) -> object:
            if recording:
                stacks.setdefault(name, modules_of_stack())
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, recorded)

    record(Node, "local_change")
    record(StreamTransport, "send")
    record(Merger, "merge")
    with lrep.open(tmp_path / "a", {"port": 0}) as a:
        assert a.address is not None
        with lrep.open(tmp_path / "b", {"servers": {f"127.0.0.1:{a.address[1]}": {}}}) as b:
            a.put(b"first", b"1")
            wait_until(lambda: b.get(b"first") is not None, "the first value at b")
            wait_until(lambda: a.status()["peers"][0]["behind"] == 0, "the acknowledgement of b")
            recording = True
            a.put(b"key", b"value")
            wait_until(lambda: b.get(b"key") is not None, "the value at b")
            recording = False
    down, up = boxes()
    assert [*stacks["local_change"], *stacks["send"], "node/stream.py"] == down
    assert ["node/node.py", *up] == [*stacks["merge"], "storage/write/merger.py"]
    assert len({*down, *up}) <= MAX_MODULES
