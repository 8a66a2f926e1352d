"""A database for tests of the client, in memory: answers requests as a node does, with small pages."""

from collections.abc import Callable

from level_replicator.core.errors import ClosedError
from level_replicator.protocol.client_messages import (
    AnyAnswer,
    AnyRequest,
    Get,
    Number,
    Page,
    Scan,
    TakeSnapshot,
    Value,
)

PAGE = 3


class MemoryBackend:
    """`items` may change; snapshots do not. `requests` has all requests, `open` the numbers of open snapshots."""

    def __init__(self, items: dict[bytes, bytes], page: int = PAGE) -> None:
        self.items = items
        self.closed = False
        self.name = "memory"
        self.requests: list[AnyRequest] = []
        self.open: dict[int, dict[bytes, bytes]] = {}
        self._page = page
        self._number = 0

    def call(self, request: AnyRequest, progress: Callable[[int], None] | None = None) -> AnyAnswer:
        self.requests.append(request)
        match request:
            case Get():
                return Value(0, self._source(request.snapshot).get(request.key))
            case TakeSnapshot():
                return Number(0, self._take())
            case Scan():
                return self._scan(request)
            case _:
                raise AssertionError(request)

    def forget(self, snapshot: int) -> None:
        del self.open[snapshot]

    def apart(self) -> "MemoryBackend":
        return self

    def close(self) -> None:
        self.closed = True

    def _take(self) -> int:
        self._number += 1
        self.open[self._number] = dict(self.items)
        return self._number

    def _source(self, snapshot: int) -> dict[bytes, bytes]:
        if snapshot and snapshot not in self.open:
            raise ClosedError("unknown snapshot")
        return self.open[snapshot] if snapshot else self.items

    def _scan(self, scan: Scan) -> Page:
        keys = sorted(self._source(scan.snapshot), reverse=scan.reverse)
        keys = [key for key in keys if self._above(key, scan.low) and not self._above(key, scan.high, end=True)]
        found, more = keys[: self._page], len(keys) > self._page
        snapshot = scan.snapshot or (self._take() if more else 0)
        values = [self._source(snapshot)[key] for key in found] if scan.values else []
        return Page(0, found, values, (found[-1], not scan.reverse) if more else None, snapshot if more else 0)

    @staticmethod
    def _above(key: bytes, gap: tuple[bytes, bool] | None, *, end: bool = False) -> bool:
        """Whether a key is behind a gap; None is the begin, or the end."""
        if gap is None:
            return not end
        return key > gap[0] if gap[1] else key >= gap[0]
