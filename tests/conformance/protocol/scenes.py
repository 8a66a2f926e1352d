"""The scenes of which a transcript is kept, each with what it shows."""

from collections.abc import Callable
from unittest.mock import patch

from level_replicator.protocol.messages import MAGIC, Hello
from level_replicator.replication import peer_connection, pusher
from tests.conformance.protocol.stage import HEARTBEAT_MS, Stage

Scene = Callable[[Stage], None]


def handshake(stage: Stage) -> None:
    """Who accepts a connection judges first; then both ask to pull. Both are empty: a round with nothing in it."""
    stage.connect(*stage.pair())
    stage.settle()


def first_pull(stage: Stage) -> None:
    """The log goes newest first, two entries a message here. A's vector moves with the last one, not before."""
    a, b = stage.pair()
    b.write(one="1", two="2", three="3", four="4", five="5")
    b.write(one=None)
    with patch.object(pusher, "FRAME_TARGET_ENTRIES", 2):
        stage.connect(a, b)
        stage.settle()
    stage.show()


def live_change(stage: Stage) -> None:
    """After the first round each write travels at once, in order; VectorUpdate says that it arrived."""
    a, b = stage.pair()
    stage.connect(a, b)
    stage.settle()
    stage.lines.clear()
    a.write(key="1")
    stage.settle()
    b.write(key="2")
    stage.settle()
    stage.show()


def in_sync(stage: Stage) -> None:
    """Nodes that are in sync when they meet send no entry; afterwards nothing but a Ping a heartbeat."""
    a, b = stage.pair()
    a.write(key="1")
    ends = stage.connect(a, b)
    stage.settle()
    stage.cut(ends)
    stage.lines.clear()
    stage.connect(a, b)
    stage.settle()
    stage.pass_time(HEARTBEAT_MS)
    stage.settle()


def both_write(stage: Stage) -> None:
    """One key, written by both while apart: the greater stamp wins on both sides, and the other write is gone."""
    a, b = stage.pair()
    a.write(key="from A", only_a="1")
    b.write(key="from B", only_b="2")
    stage.connect(a, b)
    stage.settle()
    stage.show()


def broken_scan_resumed(stage: Stage) -> None:
    """What was applied of a scan that broke off is named in the next StartPull to the same peer, and not sent again."""
    a, b = stage.pair()
    b.write(one="1", two="2", three="3", four="4")
    with patch.object(pusher, "FRAME_TARGET_ENTRIES", 1), patch.object(peer_connection, "FRAMES_PER_TURN", 1):
        ends = stage.connect(a, b)
        while not a.contents():
            stage.settle(1)
        stage.cut(ends)
        stage.show()
        stage.connect(a, b)
        stage.settle()
    stage.show()


def duplicate_origin_refused(stage: Stage) -> None:
    """Two live nodes with one origin: one directory is a copy of the other."""
    stage.connect(stage.actor("A"), stage.actor("a copy of A", origin=1))
    stage.settle()


def version_refused(stage: Stage) -> None:
    """A peer of another version is told so before anything else."""
    a = stage.actor("A")
    stage.puppet(a).say(Hello(MAGIC, 3, 2, b"a later one"))
    stage.settle()


def clock_quarantined(stage: Stage) -> None:
    """A stamp further ahead than max_clock_drift: nothing of that peer is applied until one of the clocks is right."""
    a, b = stage.pair()
    b.skew_ms = 8 * 3_600_000
    b.write(key="from the future")
    stage.connect(a, b)
    stage.settle()
    stage.show()
    stage.say("  A's clock was the wrong one, and is set right")
    a.skew_ms = b.skew_ms
    stage.connect(a, b)
    stage.settle()
    stage.show()


def duplicate_resolved(stage: Stage) -> None:
    """Both dial at once: the connection that the lower origin dialled stays."""
    a, b = stage.pair()
    stage.connect(b, a)
    stage.connect(a, b)
    stage.settle()


def wait_synced(stage: Stage) -> None:
    """VectorQuery and VectorReply: A learns what B had when it was asked, and waits until it covers that."""
    a, b = stage.pair()
    stage.connect(a, b)
    stage.settle()
    stage.lines.clear()
    b.write(key="1")
    a.ask()
    stage.settle()
    stage.show()


def reconciliation(stage: Stage) -> None:
    """B's log was truncated, so A reconciles with B's index: fingerprints of ranges, then rows, then what A lacks."""
    a, b = stage.pair()
    b.write(**{f"key{i:02}": "of B" for i in range(20)})
    ends = stage.connect(a, b)
    stage.settle()
    stage.cut(ends)
    b.write(key07="newer")
    a.write(only_a="1")
    b.truncate()
    stage.lines.clear()
    stage.connect(a, b)
    stage.settle()
    stage.show()


def empty_bulk_loaded(stage: Stage) -> None:
    """A has nothing, and is sent all that B has, in order of keys."""
    a, b = stage.pair()
    b.write(one="1", two="2", three="3")
    b.write(one=None)
    b.truncate()
    stage.connect(a, b)
    stage.settle()
    stage.show()


def equal_values(stage: Stage) -> None:
    """Both have written the same, long before they met: dots travel, values do not."""
    a, b = stage.pair()
    a.write(same="a long value", other="of A")
    b.write(same="a long value", other="of B")
    a.truncate()
    b.truncate()
    stage.connect(a, b)
    stage.settle()
    stage.show()


def rejoin(stage: Stage) -> None:
    """While A was away, B deleted a key and dropped the tombstone. A's old value goes; what A wrote meanwhile stays."""
    a, b = stage.pair()
    a.write(deleted="1", kept="2")
    ends = stage.connect(a, b)
    stage.settle()
    stage.cut(ends)
    a.write(unseen="3")
    b.write(deleted=None)
    b.drop_tombstones()
    stage.lines.clear()
    stage.connect(a, b)
    stage.settle()
    stage.show()


SCENES: list[Scene] = [
    handshake,
    first_pull,
    live_change,
    in_sync,
    both_write,
    broken_scan_resumed,
    duplicate_origin_refused,
    version_refused,
    clock_quarantined,
    duplicate_resolved,
    wait_synced,
    reconciliation,
    empty_bulk_loaded,
    equal_values,
    rejoin,
]


def play(scene: Scene) -> str:
    """The transcript of a scene, what it shows first."""
    stage = Stage()
    scene(stage)
    return f"{scene.__doc__}\n\n{stage.text()}"
