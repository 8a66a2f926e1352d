"""PouchDB on our work: two Node processes (pouchdb.js), each with a PouchDB on LevelDB; the second one pulls over HTTP.

Installed by `make bench-peers`."""

import contextlib
import json
import shutil
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.processes import Worker

NAME = "PouchDB"
SCRIPT = Path(__file__).with_name("pouchdb.js")


def version(peers: Path) -> str | None:
    """Return the version of PouchDB, or None if it, or Node, is not installed."""
    package = peers / "node_modules" / "pouchdb" / "package.json"
    if shutil.which("node") is None or not package.is_file():
        return None
    return str(json.loads(package.read_text())["version"])


class Pair:
    """See others.Pair."""

    def __init__(self, directory: Path, peers: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._paths = [directory / "first", directory / "second"]
        self._first, self._second = (
            self._stack.enter_context(Worker(["node", str(SCRIPT), str(peers), str(path)])) for path in self._paths
        )
        self._port = _call(self._first, "serve")

    def write(self, count: int, batch: int, first: int = 0, over: int | None = None) -> float:
        return float(_call(self._first, "write", count=count, batch=batch, first=first, over=over or 0))

    def connect(self) -> dict[str, float]:
        wire = _call(self._first, "wireBytes")
        seconds = _call(self._second, "pull", port=self._port)
        return {"seconds": seconds, "bytes": _call(self._first, "wireBytes") - wire}

    def keep(self) -> None:
        _call(self._second, "keepPulling", port=self._port)

    def disconnect(self) -> None:
        """Do nothing: PouchDB pulls only on request."""

    def latency(self, count: int, first: int) -> list[float]:
        seen: list[list[float]] = []
        _call(self._second, "listen", count=count)
        reader = threading.Thread(target=lambda: seen.append(_call(self._second, "heard")))
        reader.start()
        written = _call(self._first, "writeSlowly", count=count, first=first)
        reader.join()
        return [1000 * (end - begin) for begin, end in zip(written, seen[0], strict=True)]

    def disk_bytes(self) -> tuple[int, int]:
        first, second = (sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in self._paths)
        return first, second

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _call(worker: Worker, function: str, **arguments: Any) -> Any:
    worker.send(function, arguments)
    return worker.result()
