"""Whether masters say that they are level, and if not, what they lack."""

from collections.abc import Sequence

from level_replicator.edges.demo.exchange import Status
from level_replicator.edges.demo.process import Master


def behind(master: Master, others: Sequence[Master]) -> int:
    """Entries that another one holds and does not know this one to have: the most, by the last reports."""
    if master.status is None:
        return 0
    known = [
        peer.behind or 0
        for other in others
        if other is not master and other.status is not None
        for peer in other.status.peers
        if peer.origin == master.status.origin
    ]
    return max(known, default=0)


def unlevel(masters: Sequence[Master]) -> list[str]:
    """What differs, a line each; empty when all are live with each other, with equal vectors and counts."""
    lines = [f"{master.name} has not reported" for master in masters if master.status is None]
    if lines:
        return lines
    newest: dict[str, int] = {}
    for master in masters:
        for origin, stamp in _status(master).vector.items():
            newest[origin] = max(stamp, newest.get(origin, 0))
    names = {_status(master).origin: master.name for master in masters}
    for master in masters:
        lines += _lacks(master, newest, names)
        lines += _links(master, names)
    if len({_status(master).keys for master in masters}) > 1:
        lines.append("keys: " + ", ".join(f"{master.name} {_status(master).keys:,}" for master in masters))
    return lines


def _lacks(master: Master, newest: dict[str, int], names: dict[str, str]) -> list[str]:
    vector = _status(master).vector
    lacking = [origin for origin, stamp in newest.items() if vector.get(origin, 0) < stamp]
    return [f"{master.name} lacks changes of {names.get(origin, origin)}" for origin in lacking]


def _links(master: Master, names: dict[str, str]) -> list[str]:
    lines = []
    for origin, name in names.items():
        if name == master.name:
            continue
        peer = next((peer for peer in _status(master).peers if peer.origin == origin), None)
        if peer is None:
            lines.append(f"{master.name} has not met {name}")
        elif peer.state != "live":
            lines.append(f"{master.name} and {name}: {peer.state}, {peer.last_error or 'no error'}")
    return lines


def _status(master: Master) -> Status:
    assert master.status is not None
    return master.status
