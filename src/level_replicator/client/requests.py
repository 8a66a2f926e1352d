"""The requests behind each method of a database, said once for the synchronous and the asyncio client.

Each function here is a generator without I/O: it checks its arguments, yields requests, is sent their answers, and
returns the result of the method. `perform` of client.backends and of client.aio.backends run such a generator, and the
methods of both databases do nothing else. Arguments are checked, and TypeErrors worded, as plyvel does."""

import dataclasses
import math
import os
from collections.abc import Generator, Iterable
from os import PathLike, fspath
from typing import Any, TypeVar

from level_replicator.api.status import Status
from level_replicator.client.retry import wait_parts
from level_replicator.core.errors import ConfigError
from level_replicator.core.records import Change
from level_replicator.database.arguments import Bytes, check_bytes, check_timeout, copy_value, resolve_flag
from level_replicator.protocol.client_messages import (
    AnyRequest,
    Data,
    Do,
    Get,
    Number,
    Operation,
    TakeSnapshot,
    Value,
    Write,
)
from level_replicator.storage.maintenance.verify import Report
from level_replicator.storage.reconcile.comparison import Difference

T = TypeVar("T")
Steps = Generator[AnyRequest, Any, T]
Dot = tuple[int, int]
_R = TypeVar("_R", Report, Difference)

# -- keys


def get(
    key: bytes,
    default: Any,
    *,
    verify_checksums: bool | None,
    fill_cache: bool | None,
    prefix: bytes = b"",
    snapshot: int = 0,
) -> Steps[Any]:
    """The value of `prefix` + `key`, now (`snapshot` 0) or in a snapshot; `default` if the key is missing."""
    check_bytes("key", key)
    verify = resolve_flag("verify_checksums", verify_checksums, False)
    answer = yield Get(0, prefix + key, snapshot, verify, resolve_flag("fill_cache", fill_cache, True))
    assert isinstance(answer, Value)
    return default if answer.value is None else answer.value


def put(key: bytes, value: Bytes, *, sync: bool | None) -> Steps[None]:
    check_bytes("key", key)
    return write([(key, copy_value(value))], sync=sync)


def delete(key: bytes, *, sync: bool | None) -> Steps[None]:
    check_bytes("key", key)
    return write([(key, None)], sync=sync)


def write(operations: list[Operation], *, sync: bool | None) -> Steps[None]:
    """Operations whose keys and values were checked. `sync` None: as the node is configured."""
    if sync is not None:
        resolve_flag("sync", sync, False)
    yield Write(0, operations, sync)


def checked_operations(operations: Iterable[tuple[bytes, Bytes | None]]) -> list[Operation]:
    """Check and copy operations of the caller."""
    return [(check_bytes("key", key), None if value is None else copy_value(value)) for key, value in operations]


def take_snapshot() -> Steps[int]:
    """The number of a new snapshot."""
    answer = yield TakeSnapshot(0)
    assert isinstance(answer, Number)
    return answer.number


# -- the LevelDB of the node


def get_property(name: bytes) -> Steps[bytes | None]:
    check_bytes("name", name)
    found: bytes | None = yield from _do("property", name=name)
    return found


def approximate_sizes(ranges: Iterable[tuple[bytes, bytes]]) -> Steps[list[int]]:
    checked = [[check_bytes("start", start), check_bytes("stop", stop)] for start, stop in ranges]
    sizes: list[int] = yield from _do("sizes", ranges=checked)
    return sizes


def compact_range(start: bytes | None, stop: bytes | None) -> Steps[None]:
    for name, bound in (("start", start), ("stop", stop)):
        if bound is not None:
            check_bytes(name, bound)
    yield from _do("compact", start=start, stop=stop)


# -- the replica


def status() -> Steps[Status]:
    return _do("status")


def wait_synced(timeout_s: float | None, peers: int | None) -> Steps[bool]:
    check_timeout(timeout_s)
    options = {} if peers is None else {"peers": peers}  # nodes of earlier versions do not know the argument
    for part_s in wait_parts(timeout_s):
        if (yield from _do("wait_synced", timeout=part_s, **options)):
            return True
    return False


def truncate(max_bytes: float | None, max_age_s: float | None) -> Steps[int]:
    if isinstance(max_bytes, float) and math.isfinite(max_bytes):
        max_bytes = math.floor(max_bytes)  # a node takes whole bytes
    count: int = yield from _do("truncate", max_bytes=max_bytes, max_age=max_age_s)
    return count


def verify(peer: str | None, *, repair: bool) -> Steps[Report | Difference]:
    """Without `peer` the Report about the node alone, else its Difference to that peer."""
    if peer is None:
        return _dataclass_of(Report, (yield from _do("verify", repair=bool(repair))))
    if repair:
        raise ConfigError("repair: two nodes that differ are repaired by replication; verify each of them alone")
    return _dataclass_of(Difference, (yield from _do("verify", peer=peer)))


def backup(path: "str | PathLike[str]") -> Steps[int]:
    """A relative `path` is relative to the working directory of this process, not to that of the node."""
    count: int = yield from _do("backup", path=os.path.abspath(fspath(path)))
    return count


def disconnect(peer: str) -> Steps[int]:
    count: int = yield from _do("disconnect", peer=peer)
    return count


def history(before: Dot | None, *, prefix: bytes, most: int) -> Steps[tuple[list[Change], Dot | None]]:
    found = yield from _do("log", before=None if before is None else list(before), prefix=prefix, most=most)
    onward = found["before"]
    entries = [Change(*each) for each in found["entries"]]
    return entries, None if onward is None else (onward[0], onward[1])


def _do(verb: str, **arguments: Any) -> Steps[Any]:
    answer = yield Do(0, verb, arguments)
    assert isinstance(answer, Data)
    return answer.data


def _dataclass_of(kind: type[_R], found: dict[str, Any]) -> _R:
    """Make a dataclass from its fields. Those that only a later version knows are left out."""
    known = {field.name for field in dataclasses.fields(kind)}
    made = kind(**{name: value for name, value in found.items() if name in known})
    made.examples = [(kind_of, key) for kind_of, key in made.examples]
    return made
