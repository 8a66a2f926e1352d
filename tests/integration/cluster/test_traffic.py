"""Traffic: only heartbeats when all nodes are in sync, and no change twice from one peer."""

from collections import Counter
from collections.abc import Callable

import pytest

from level_replicator.core.limits import MAX_FRAME_BYTES
from level_replicator.core.version_vector import Vector
from level_replicator.protocol.events import EntriesReceived
from level_replicator.protocol.framing import FrameReader
from level_replicator.protocol.messages import Hello, Ping, decode, encode
from level_replicator.storage.write.remote_applier import Applied, RemoteApplier
from level_replicator.testing.relay import Relay
from tests.harness.local_node import LocalNode, wait_in_sync
from tests.harness.waiting import wait_until
from tests.integration.cluster.topology import ALL, MESH, Link, nodes_of

Make = Callable[..., LocalNode]
MakeRelay = Callable[[int], Relay]
PING = encode(Ping())
HEARTBEATS = 6


def messages_in(data: bytearray) -> list[object]:
    reader = FrameReader()
    reader.limit = MAX_FRAME_BYTES
    return [decode(body) for body in reader.feed(bytes(data))]


def test_only_heartbeats_travel_when_all_nodes_are_in_sync(master: Make, relay: MakeRelay) -> None:
    masters: list[LocalNode] = []
    relays: list[Relay] = []
    for node in range(5):
        mine = [relay(masters[target].port) for dialler, target in MESH if dialler == node]
        for one in mine:
            one.capture = True
        relays += mine
        masters.append(master(str(node), [one.address for one in mine]))
    for serial in range(200):
        for number, writer in enumerate(masters):
            writer.put(b"%d" % (serial % 50), b"%d" % number)
    wait_in_sync(*masters)

    def quiet() -> bool:
        """Return whether the last bytes on each link are two heartbeats: vectors may still have been on their way."""
        kept = [side for one in relays for pair in one.captured for side in pair]
        return all(side.endswith(PING * 2) for side in kept)

    wait_until(quiet, "a link falls silent")
    reconcile_context = [side for one in relays for pair in one.captured for side in pair]
    before = [len(side) for side in reconcile_context]
    wait_until(
        lambda: all(
            len(side) >= start + HEARTBEATS * len(PING) for side, start in zip(reconcile_context, before, strict=True)
        ),
        "heartbeats",
    )
    for side, start in zip(reconcile_context, before, strict=True):
        later = bytes(side[start:])
        assert later == PING * (len(later) // len(PING))
    for side in reconcile_context:
        assert isinstance(messages_in(side)[0], Hello)


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[RemoteApplier, int, int, int]]:
    """Count how often each entry was received: (reader, source, stamp, origin) → number."""
    count: Counter[tuple[RemoteApplier, int, int, int]] = Counter()
    apply = RemoteApplier.apply

    def counting(
        self: RemoteApplier, frame: EntriesReceived, source: int, source_vector: Vector, **options: bool
    ) -> Applied:
        for entry in frame.entries:
            count[self, source, entry.stamp, frame.origin] += 1
        return apply(self, frame, source, source_vector, **options)

    monkeypatch.setattr(RemoteApplier, "apply", counting)
    return count


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_change_arrives_at_most_once_from_each_peer(
    name: str, master: Make, received: Counter[tuple[RemoteApplier, int, int, int]]
) -> None:
    links: list[Link] = ALL[name]
    masters: list[LocalNode] = []
    for node in range(nodes_of(links)):
        # a later node dials the earlier ones, whose addresses are known
        earlier = [min(link) for link in links if max(link) == node]
        masters.append(master(str(node), [masters[other].address for other in earlier]))
    neighbours = [(masters[a], masters[b]) for a, b in links]
    wait_until(
        lambda: all(a.peer(b)["state"] == "live" and b.peer(a)["state"] == "live" for a, b in neighbours),
        "all links are live",
    )
    each = 100
    for serial in range(each):
        for number, one in enumerate(masters):
            one.put(b"%d/%d" % (number, serial), b"value")
    wait_in_sync(*masters)
    assert max(received.values()) == 1
    own = {int(one.origin, 16) for one in masters}
    assert {origin for _, _, _, origin in received} == own
    changes = each * len(masters)
    for one, other in neighbours:
        for reader, sender in ((one, other), (other, one)):
            assert reader.peer(sender)["entries_in"] <= changes - each, "its own writes do not come back"
