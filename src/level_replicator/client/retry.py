"""Which requests a client sends once more when the connection was lost before the answer."""

from collections.abc import Iterator

from level_replicator.core.limits import MAX_CLIENT_WAITS_MS
from level_replicator.protocol.client_messages import AnyRequest, Do, Read, Write

LONG_VERBS = frozenset({"truncate", "verify", "backup", "wait_synced", "compact"})
"""The commands that may take long. A synchronous client sends each over a connection of its own, so that other calls
need not wait for it."""


def is_long(request: AnyRequest) -> bool:
    """Return whether this is one of LONG_VERBS."""
    return isinstance(request, Do) and request.verb in LONG_VERBS


def is_repeatable(request: AnyRequest) -> bool:
    """Return whether the request may be sent once more, over a new connection, when its answer was lost.

    A write may have been applied, and another write may have come since. A long command would start from the
    beginning. A changes feed ends with its connection: its reader opens a new one at the cursor."""
    return not isinstance(request, Write | Read) and not is_long(request)


def wait_parts(timeout_s: float | None) -> Iterator[float]:
    """Divide a wait into requests: yield for each the seconds that the node should wait. At least one, and without end
    for None. A node answers none later than after MAX_CLIENT_WAITS_MS."""
    longest_s = MAX_CLIENT_WAITS_MS / 1000
    if timeout_s is None:
        while True:
            yield longest_s
    left_s = timeout_s
    while True:
        part_s = max(0.0, min(left_s, longest_s))
        yield part_s
        left_s -= part_s
        if left_s <= 0:
            return
