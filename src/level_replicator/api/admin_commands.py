"""The commands of clients besides keys and changes, by name. Arguments and results are plain data, for msgpack."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from level_replicator.api.replica import Replica
from level_replicator.core.errors import ConfigError, ReadOnlyError
from level_replicator.core.limits import MAX_CLIENT_WAITS_MS, PAGE_ENTRIES

_MAX_SHOWN = 100
"""Characters of a value in a message."""

Arguments = Mapping[str, Any]
Verb = Callable[[Replica, "ClientPermissions", Callable[[int], None], Arguments], Any]


@dataclasses.dataclass(frozen=True)
class ClientPermissions:
    """The permissions of one client.

    read_only  the client may not change anything
    local      it came over the Unix socket, or is in this process, so it may do everything that the user of this
               process may do
    """

    read_only: bool = False
    local: bool = False


def _require_write(permissions: ClientPermissions) -> None:
    """Raise ReadOnlyError if the client may not write."""
    if permissions.read_only:
        raise ReadOnlyError("this client has read-only access")


def _check(arguments: Arguments, **types: type | tuple[type, ...]) -> dict[str, Any]:
    """Return the arguments. Raises ConfigError for one that is not known or has another type."""
    for name, value in arguments.items():
        if name not in types:
            raise ConfigError(f"{name}: unknown argument: does the client have a later version?")
        if not isinstance(value, types[name]):
            raise ConfigError(f"{name}: {_shown(value)} is not valid: expected {_names_of(types[name])}")
    return dict(arguments)


def _shown(value: object) -> str:
    text = repr(value)
    shown = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
    return f"{shown} ({type(value).__name__})"


def _names_of(types: type | tuple[type, ...]) -> str:
    """Return the names of the types as an error shows them: `int, float or None`."""
    names = [
        "None" if each is type(None) else each.__name__ for each in (types if isinstance(types, tuple) else (types,))
    ]
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _status(
    replica: Replica, _permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    _check(arguments)
    return replica.status()


def _property(
    replica: Replica, _permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    return replica.get_property(_check(arguments, name=bytes)["name"])


def _sizes(
    replica: Replica, _permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    ranges = _check(arguments, ranges=list)["ranges"]
    return replica.approximate_sizes(*((start, stop) for start, stop in ranges))


def _compact(
    replica: Replica, permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    _require_write(permissions)
    bounds = (bytes, type(None))
    return replica.compact_range(**_check(arguments, start=bounds, stop=bounds))


def _wait_synced(
    replica: Replica, _permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    options = _check(arguments, timeout=(int, float), peers=int)
    return replica.wait_synced(min(options.get("timeout", 0), MAX_CLIENT_WAITS_MS / 1000), peers=options.get("peers"))


def _truncate(
    replica: Replica, permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    _require_write(permissions)
    return replica.truncate(**_check(arguments, max_bytes=(int, type(None)), max_age=(int, float, type(None))))


def _verify(
    replica: Replica, permissions: ClientPermissions, progress: Callable[[int], None], arguments: Arguments
) -> Any:
    options = _check(arguments, repair=bool, peer=str)
    if "peer" in options:
        return dataclasses.asdict(replica.verify(options["peer"]))
    repair = bool(options.get("repair"))
    if repair:
        _require_write(permissions)
    return dataclasses.asdict(replica.verify(repair=repair, progress=progress))


def _backup(
    replica: Replica, permissions: ClientPermissions, progress: Callable[[int], None], arguments: Arguments
) -> Any:
    if not permissions.local:
        raise ReadOnlyError("backup: a node writes files only for clients on its own machine, over its Unix socket")
    _require_write(permissions)
    return replica.backup(_check(arguments, path=str)["path"], progress=progress)


def _disconnect(
    replica: Replica, permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    _require_write(permissions)
    return replica.disconnect(_check(arguments, peer=str)["peer"])


def _log(
    replica: Replica, _permissions: ClientPermissions, _progress: Callable[[int], None], arguments: Arguments
) -> Any:
    options = _check(arguments, before=(list, type(None)), prefix=bytes, most=int)
    before = options.get("before")
    dot = None if before is None else (int(before[0]), int(before[1]))
    entries, onward = replica.history(dot, prefix=options.get("prefix", b""), most=options.get("most", PAGE_ENTRIES))
    return {"entries": [list(entry) for entry in entries], "before": None if onward is None else list(onward)}


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
"""The lane of each command (see RequestHandler.lane); commands that are not listed have the lane "care"."""
