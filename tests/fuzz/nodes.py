"""A whole node on disks in memory, between peers that say anything and an honest one: what it may never do."""

from itertools import count
from zlib import crc32

from level_replicator.core.entry import DELETE, INDEX_HEAD, decode_entry
from level_replicator.protocol.messages import MAGIC, VERSION, ByeCode, Hello, Welcome, encode
from level_replicator.replication.peer_connection import PeerConnection
from level_replicator.replication.peers import PeerState
from level_replicator.storage.state.schema import INDEX, LOG, following, log_dot
from level_replicator.storage.store import Store
from tests.conformance.protocol.stage import Actor, End, Stage
from tests.fuzz.replicas import open_store
from tests.fuzz.saying import KEYS, WALL_MS, saying
from tests.fuzz.source import Source

_MOST_MESSAGES = 400
_VALUES = ["1", "", "other", None]
_NAMES = ["a", "b", "c", "d", "e"]


class _Scene(Stage):
    """A stage on which nothing is written down: a fuzzer has no use for it, and describing garbage may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = WALL_MS

    def say(self, line: str) -> None:
        pass

    def deliver(self) -> None:
        """What is under way arrives, as long as it does not go on forever."""
        for _ in range(_MOST_MESSAGES):
            waits = [wait for wait in [actor.coordinator.run() for actor in self.actors] if wait is not None]
            if self.moving:
                self._bring(*self.moving.popleft())
            elif waits:
                self.now_ms += max(min(waits), 1)
            else:
                return

    def _bring(self, sender: End, frame: bytes | None) -> None:
        link = sender.other.link
        if frame is None:
            for end in (sender, sender.other):
                if end.link is not None:
                    end.link.lost("closed")
        elif link is not None and not link.ended:
            link.received(frame)


def node(data: bytes) -> None:
    """Whatever peers say, a node neither raises nor becomes unsound; and an honest peer is served all the same."""
    source = Source(data)
    scene = _Scene()
    us = scene.actor("A", 1)
    names = count(100)
    us.store._random_bytes = lambda size: next(names).to_bytes(size, "big")  # the stage's would mint the same origin
    how = source.byte()
    _fill(us, how)
    hostile = [_enter(scene, us, of) for of in (2, 3)[: 1 + (how & 1)]]
    while source.left and any(not end.link.ended for end in hostile if end.link is not None):
        what = source.byte()
        match what >> 4:
            case 0:
                _write(us, source)
            case 1:
                us.store.retention.truncate()
            case 2:
                us.store.retention.drop_tombstones(us.store.clock.last)
            case 3:
                scene.now_ms += [1, 300, 1_000, 70_000][what & 3]
                us.coordinator.tick()
            case _:
                _say(hostile[what % len(hostile)], b"".join(saying(source) for _ in range(1 + (what & 3))))
        if what & 0xC:
            scene.deliver()
    scene.deliver()
    assert_sound(us.store)
    if how & 2:
        _meet_somebody_honest(scene, us)
    _survives(us, how)


def _fill(us: Actor, how: int) -> None:
    """What the node has when the peers come."""
    if how & 4:
        us.write(a="1", b="2", c="", d="4")
        us.write(b=None)
    if how & 8:
        us.store.retention.truncate()
    if how & 0x10:
        us.store.retention.drop_tombstones(us.store.clock.last)
    if how & 0x20:
        us.write(**{f"k{number:02}": "x" for number in range(20)})


def _enter(scene: _Scene, us: Actor, of: int) -> End:
    """A peer that was accepted, and has said nothing yet."""
    end = scene.puppet(us)
    _say(end, encode(Hello(MAGIC, VERSION, of, b"peer %d" % of)) + encode(Welcome()))
    scene.deliver()
    return end


def _say(end: End, data: bytes) -> None:
    link = end.other.link
    assert link is not None
    if not link.ended:
        link.received(data)
        assert link.peer.state is not PeerState.QUARANTINED or link.ended


def _write(us: Actor, source: Source) -> None:
    us.write(**{source.pick(_NAMES): source.pick(_VALUES)})


def _meet_somebody_honest(scene: _Scene, us: Actor) -> None:
    """Who knows nothing of what went before gets it, or hears why not; nobody of the two is harmed."""
    other = scene.actor("H", 8)
    other.write(own="1")
    ends = scene.connect(other, us)
    scene.deliver()
    for actor in (us, other):
        assert_sound(actor.store)
    for end in ends:
        link = end.link
        assert link is not None
        _blames_nobody(link)
    if us.store.origin == 1 and not any(end.link is None or end.link.ended for end in ends):
        assert other.contents().items() >= {("own", "1")} or "own" in us.contents()


def _blames_nobody(link: PeerConnection) -> None:
    """An honest node's session with an honest node never ends for what one of them said."""
    said = link.session.refusal
    assert said is None or said.code not in (ByeCode.PROTOCOL, ByeCode.STORAGE), said


def _survives(us: Actor, how: int) -> None:
    """It is opened again after a kill, or after an orderly stop, and is as it was."""
    state = us.store._state
    held = dict(state.db.scan())
    disks = state.db.disk, state.rs.disk  # type: ignore[attr-defined]
    if how & 0x40:
        us.store.close()
    else:
        for disk in disks:
            disk.kill()
    again = open_store(*disks, wall_ms=us.wall_ms())
    assert dict(again._state.db.scan()) == held
    assert_sound(again)
    again.writer.write([(KEYS[0], b"again")], False)
    assert_sound(again)


def assert_sound(store: Store) -> None:
    """Log, index and database agree, and the clock is ahead of all that is known."""
    state = store._state
    assert state.failed is None, state.failed
    index = {key[1:]: line for key, line in state.rs.scan(INDEX, following(INDEX))}
    dots = {key: INDEX_HEAD.unpack_from(line)[:2] for key, line in index.items()}
    assert all(stamp and of for stamp, of in dots.values()), dots
    log = {}
    for at, record in state.rs.scan(LOG, following(LOG)):
        entry = decode_entry(record)
        assert entry.key not in log
        assert entry.stamp == log_dot(at)[0]
        log[entry.key] = log_dot(at)
    assert log == {key: dot for key, dot in dots.items() if state.logged(dot[1], dot[0])}
    live = {key: line for key, line in index.items() if not INDEX_HEAD.unpack_from(line)[2] & DELETE}
    held = dict(state.db.scan())
    assert held.keys() == live.keys()
    assert all(crc32(value) == INDEX_HEAD.unpack_from(live[key])[3] for key, value in held.items())
    assert (store.keys, store.entries) == (len(live), len(log))
    known = [*state.vector.values(), *state.horizon.values(), *(stamp for stamp, _ in dots.values()), state.dropped]
    assert state.clock.last >= max(known, default=0)
    assert all(stamp <= state.vector.get(of, 0) for of, stamp in state.horizon.items())
