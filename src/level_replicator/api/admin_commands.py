"""What clients may ask for by name, beside keys and changes: plain data in, plain data out."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from level_replicator.api.replica import Replica
from level_replicator.core.errors import ConfigError, ReadOnlyError
from level_replicator.core.limits import MAX_CLIENT_WAITS_MS, PAGE_BYTES, PAGE_ENTRIES

Arguments = Mapping[str, Any]
Verb = Callable[[Replica, "ClientPermissions", Callable[[int], None], Arguments], Any]


@dataclasses.dataclass(frozen=True)
class ClientPermissions:
    """`local`: it came over the Unix socket, or is in this process, and may do what its user may do here."""

    read_only: bool = False
    local: bool = False


def _writes(permissions: ClientPermissions) -> None:
    if permissions.read_only:
        raise ReadOnlyError("this client may read only")


def _take(arguments: Arguments, **wanted: type | tuple[type, ...]) -> dict[str, Any]:
    """Those arguments that are there. Raises ConfigError for others, and for those of another type."""
    for name, value in arguments.items():
        if name not in wanted or not isinstance(value, wanted[name]):
            raise ConfigError(f"{name}: unknown, or not what it should be")
    return dict(arguments)


def _status(
    replica: Replica, _permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    _take(arguments)
    return replica.status()


def _property(
    replica: Replica, _permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    return replica.get_property(_take(arguments, name=bytes)["name"])


def _sizes(
    replica: Replica, _permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    ranges = _take(arguments, ranges=list)["ranges"]
    return replica.approximate_sizes(*((start, stop) for start, stop in ranges))


def _compact(
    replica: Replica, permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    _writes(permissions)
    bounds = (bytes, type(None))
    return replica.compact_range(**_take(arguments, start=bounds, stop=bounds))


def _wait_synced(
    replica: Replica, _permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    timeout = _take(arguments, timeout=(int, float)).get("timeout", 0)
    return replica.wait_synced(min(timeout, MAX_CLIENT_WAITS_MS / 1000))


def _truncate(
    replica: Replica, permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    _writes(permissions)
    return replica.truncate(**_take(arguments, max_bytes=(int, type(None)), max_age=(int, float, type(None))))


def _verify(
    replica: Replica, permissions: ClientPermissions, progress: Callable[[int], None], arguments: Arguments
) -> Any:
    options = _take(arguments, repair=bool, peer=str)
    if "peer" in options:
        return _plain(replica.verify(options["peer"]))
    repair = bool(options.get("repair"))
    if repair:
        _writes(permissions)
    return _plain(replica.verify(repair=repair, progress=progress))


def _backup(
    replica: Replica, permissions: ClientPermissions, progress: Callable[[int], None], arguments: Arguments
) -> Any:
    if not permissions.local:
        raise ReadOnlyError("backup: a node writes files for clients of its own machine only, over its Unix socket")
    _writes(permissions)
    return replica.backup(_take(arguments, path=str)["path"], progress=progress)


def _disconnect(
    replica: Replica, permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    _writes(permissions)
    return replica.disconnect(_take(arguments, peer=str)["peer"])


def _log(
    replica: Replica, _permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    options = _take(arguments, before=(list, type(None)), prefix=bytes, most=int)
    before = options.get("before")
    most = min(max(options.get("most", PAGE_ENTRIES), 1), PAGE_ENTRIES)
    dot = None if before is None else (int(before[0]), int(before[1]))
    entries, onward = replica.history(dot, prefix=options.get("prefix", b""), most=most, most_bytes=PAGE_BYTES)
    return {"entries": [list(entry) for entry in entries], "before": None if onward is None else list(onward)}


def _plain(report: Any) -> Any:
    """A dataclass as a dict."""
    return dataclasses.asdict(report)


VERBS: dict[str, Verb] = {
    "status": _status,
    "property": _property,
    "sizes": _sizes,
    "compact": _compact,
    "wait_synced": _wait_synced,
    "truncate": _truncate,
    "verify": _verify,
    "backup": _backup,
    "disconnect": _disconnect,
    "log": _log,
}
LANES: dict[str, str | None] = {"property": None, "sizes": None, "status": "look", "log": "look", "wait_synced": "wait"}
"""Which threads do what beside the event loop; None: it keeps nobody waiting. The others are care."""
