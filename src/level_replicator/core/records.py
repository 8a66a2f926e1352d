"""Records that programs receive: a write of a key, and the mark of a break in the changes feed."""

from dataclasses import dataclass
from typing import NamedTuple

from level_replicator.core.hlc import stamp_ms


class Change(NamedTuple):
    """One write of a key, in the changes feed, in the log (`history`), and in a conflict.

    key     the key
    value   the new value; None: the key was deleted
    origin  the node that wrote it, 16 hexadecimal digits
    stamp   hybrid logical timestamp of the write: ms since 1970 by the clock of its node in the upper 48 bits, a
            counter in the lower 16

    Origin and stamp belong to the user's write. They stay the same when a node has to send the write again under a new
    dot, so a reader of the feed may receive the same change twice."""

    key: bytes
    value: bytes | None
    origin: str
    stamp: int

    @property
    def deleted(self) -> bool:
        """True if the write deleted the key."""
        return self.value is None

    @property
    def timestamp(self) -> int:
        """The hybrid logical timestamp: the same number as `stamp`."""
        return self.stamp

    @property
    def time_ms(self) -> int:
        """Time of the write in ms since 1970, by the clock of the node that made it."""
        return stamp_ms(self.stamp)


@dataclass(frozen=True, slots=True)
class Rescan:
    """The log does not reach back to the cursor of the reader: the changes that follow come from the index, in order of
    keys.

    complete  True: the reader may have missed deletions that this node has forgotten, or has read writes that this
              node does not know. All keys follow, and every other key that the reader has must be regarded as deleted.
              False: everything that has changed since the cursor follows, deletions included."""

    complete: bool


Item = Change | Rescan
