"""Violations of the protocol over a real socket: the peer receives the reason and is cut off, nothing is applied, and
other peers are still served."""

import time
from random import Random

import pytest

from level_replicator.core.entry import encode_entry
from level_replicator.core.limits import (
    HISTORIES_PER_FRAME,
    MAX_BRANCHES,
    MAX_KEY_BYTES,
    MAX_RESUME_INTERVALS,
    MAX_VECTOR_ORIGINS,
)
from level_replicator.core.version_vector import encode_vector
from level_replicator.protocol.messages import (
    MAGIC,
    VERSION,
    ByeCode,
    CompareStart,
    Entries,
    Fetch,
    Hello,
    Histories,
    Message,
    Ping,
    RangeEntries,
    RangeQuery,
    RangeRows,
    RangeSplit,
    ReconcileStart,
    RoundEnd,
    RoundStart,
    StartPull,
    VectorQuery,
    VectorReply,
    VectorUpdate,
    Welcome,
    encode,
)
from tests.integration.hostile.intruder import ORIGIN, Intruder
from tests.integration.hostile.masters import TIMEOUT_S, Masters

pytestmark = pytest.mark.usefixtures("nothing_applied")

HELLO = Hello(MAGIC, VERSION, ORIGIN, b"intruder")
FAR = ((time.time_ns() // 1_000_000) + 8 * 3_600_000) << 16
LAST = (1 << 64) - 1
FIRST_PULL = 1


def record(stamp: int, key: bytes | None = None) -> bytes:
    return encode_entry(stamp, b"key %d" % stamp if key is None else key, b"value")[0]


def entries(*records: bytes, low: int = 0, high: int = 9, origin: int = ORIGIN) -> list[Message]:
    """Return the messages of a round with one frame, which completes it."""
    return [RoundStart(encode_vector({ORIGIN: 9}), FIRST_PULL), Entries(origin, low, high, list(records), True)]


def reconciling(answer: Message) -> list[Message]:
    """A reconciliation of the victim, which is empty and so asks for all there is, and an answer to its first
    question."""
    return [ReconcileStart(encode_vector({ORIGIN: 9}), b"", 0, FIRST_PULL), answer]


BEFORE_THE_HANDSHAKE = {
    "random bytes": (Random(1).randbytes(10_000), ByeCode.PROTOCOL),
    "a length of 4 GiB": (b"\xff\xff\xff\xff", ByeCode.PROTOCOL),
    "a length right above the limit": ((32 * 1024 + 1).to_bytes(4, "big"), ByeCode.PROTOCOL),
    "an empty frame": (bytes(4), ByeCode.PROTOCOL),
    "not a Hello": (encode(Ping()), ByeCode.PROTOCOL),
    "Hello twice": (encode(HELLO) * 2, ByeCode.PROTOCOL),
    "data before it was accepted": (encode(HELLO) + encode(RoundStart(b"")), ByeCode.PROTOCOL),
    "another protocol": (encode(Hello("other", VERSION, 1, b"i")), ByeCode.PROTOCOL),
    "version 0": (encode(Hello(MAGIC, 0, ORIGIN, b"i")), ByeCode.VERSION),
    "version 2^64-1": (encode(Hello(MAGIC, LAST, ORIGIN, b"i")), ByeCode.VERSION),
    "origin 0": (encode(Hello(MAGIC, VERSION, 0, b"i")), ByeCode.PROTOCOL),
    "origin -1": (encode(Hello(MAGIC, VERSION, -1, b"i")), ByeCode.PROTOCOL),
    "no instance": (encode(Hello(MAGIC, VERSION, ORIGIN, b"")), ByeCode.PROTOCOL),
    "instance too long": (encode(Hello(MAGIC, VERSION, ORIGIN, bytes(65))), ByeCode.PROTOCOL),
}

AFTER_IT: dict[str, tuple[list[Message] | bytes, ByeCode]] = {
    "random bytes": (Random(2).randbytes(10_000), ByeCode.PROTOCOL),
    "a length of 4 GiB": (b"\xff\xff\xff\xff", ByeCode.PROTOCOL),
    "Hello again": ([HELLO], ByeCode.PROTOCOL),
    "Welcome again": ([Welcome()], ByeCode.PROTOCOL),
    "a round of a pull that is over": ([RoundStart(b"", 0)], ByeCode.PROTOCOL),
    "entries outside a round": ([Entries(ORIGIN, 0, 9, [record(5)], True)], ByeCode.PROTOCOL),
    "the end of no round": ([RoundEnd()], ByeCode.PROTOCOL),
    "a round in a round": ([RoundStart(b"", FIRST_PULL), RoundStart(b"", FIRST_PULL)], ByeCode.PROTOCOL),
    "up and down": (entries(record(5), record(7), record(6)), ByeCode.PROTOCOL),
    "outside their interval": (entries(record(5), high=4), ByeCode.PROTOCOL),
    "at the lower bound": (entries(record(5), low=5), ByeCode.PROTOCOL),
    "an inverted interval": (entries(record(5), low=9, high=1), ByeCode.PROTOCOL),
    "an entry twice": (entries(record(5), record(5)), ByeCode.PROTOCOL),
    "a key twice": (entries(record(5, b"k"), record(6, b"k")), ByeCode.PROTOCOL),
    "no entries": (entries(), ByeCode.PROTOCOL),
    "a bad checksum": (entries(record(5)[:-1] + b"?"), ByeCode.PROTOCOL),
    "a good entry and a bad one": (entries(record(5), record(6)[:-1] + b"?"), ByeCode.PROTOCOL),
    "an oversize key": (entries(record(5, bytes(MAX_KEY_BYTES + 1))), ByeCode.PROTOCOL),
    "entries of origin 0": (entries(record(5), origin=0), ByeCode.PROTOCOL),
    "an entry of the future": (entries(record(FAR), high=FAR), ByeCode.CLOCK),
    "the last of all stamps": (entries(record(LAST), high=LAST), ByeCode.CLOCK),
    "StartPull from the future": ([StartPull(encode_vector({ORIGIN: FAR}), [])], ByeCode.CLOCK),
    "a round of the future": ([RoundStart(encode_vector({ORIGIN: FAR}), FIRST_PULL), RoundEnd()], ByeCode.CLOCK),
    "VectorUpdate of the future": ([VectorUpdate(encode_vector({ORIGIN: LAST}))], ByeCode.CLOCK),
    "an answer that nobody asked for": ([VectorReply(1, b"")], ByeCode.PROTOCOL),
    "a vector with origin 0": ([VectorUpdate(bytes(15) + b"\1" + bytes(7) + b"\1")], ByeCode.PROTOCOL),
    "a vector with stamp 0": ([VectorUpdate(bytes(7) + b"\1" + bytes(8))], ByeCode.PROTOCOL),
    "half a vector": ([VectorUpdate(b"half")], ByeCode.PROTOCOL),
    "an empty history": ([Histories([(ORIGIN, b"")])], ByeCode.PROTOCOL),
    "half a history": ([Histories([(ORIGIN, b"half")])], ByeCode.PROTOCOL),
    "the history of origin 0": ([Histories([(0, encode_vector({1: 1}))])], ByeCode.PROTOCOL),
    "two histories of one origin": ([Histories([(ORIGIN, encode_vector({1: 1}))] * 2)], ByeCode.PROTOCOL),
    "histories above the limit": (
        [Histories([(at, encode_vector({1: 1})) for at in range(1, HISTORIES_PER_FRAME + 2)])],
        ByeCode.PROTOCOL,
    ),
    "branches above the limit": ([Histories([], bytes(16 * (MAX_BRANCHES + 1)))], ByeCode.PROTOCOL),
    "a vector above the limit": ([VectorUpdate(bytes(16 * (MAX_VECTOR_ORIGINS + 1)))], ByeCode.PROTOCOL),
    "intervals above the limit": ([StartPull(b"", [(1, 2, 3)] * (MAX_RESUME_INTERVALS + 1))], ByeCode.PROTOCOL),
    "an invalid interval": ([StartPull(b"", [(1, 3, 2)])], ByeCode.PROTOCOL),
    "a question outside a reconciliation": ([RangeQuery([(b"", b"", b"", 1)])], ByeCode.PROTOCOL),
    "a fetch outside a reconciliation": ([Fetch([b"key"], [b""])], ByeCode.PROTOCOL),
    "an invalid range": ([CompareStart(), RangeQuery([(b"b", b"a", b"", 1)])], ByeCode.PROTOCOL),
    "a probe of nothing": ([CompareStart(), RangeQuery([])], ByeCode.PROTOCOL),
    "a fetch without digests": ([CompareStart(), Fetch([b"key"], [])], ByeCode.PROTOCOL),
    "two comparisons at once": ([CompareStart(), CompareStart()], ByeCode.PROTOCOL),
    "a flood of questions": ([CompareStart(), *[RangeQuery([(b"", b"", b"", 1)] * 256)] * 50], ByeCode.PROTOCOL),
    "a reconciliation that nobody asked for": ([ReconcileStart(b"", b"", 0, 0)], ByeCode.PROTOCOL),
    "a horizon of the future": (
        [ReconcileStart(b"", encode_vector({ORIGIN: FAR}), 0, FIRST_PULL)],
        ByeCode.CLOCK,
    ),
    "a horizon above its vector": (
        [ReconcileStart(encode_vector({ORIGIN: 9}), encode_vector({ORIGIN: 9, 7: 1}), 0, FIRST_PULL)],
        ByeCode.PROTOCOL,
    ),
    "tombstones of the future": ([StartPull(b"", [], b"", FAR, 1)], ByeCode.CLOCK),
    "an empty answer": (reconciling(RangeSplit([], b"")), ByeCode.PROTOCOL),
    "parts without prints": (reconciling(RangeSplit([b"a"], b"")), ByeCode.PROTOCOL),
    "parts out of order": (reconciling(RangeSplit([b"b", b"a"], bytes(48))), ByeCode.PROTOCOL),
    "rows without heads": (reconciling(RangeRows([b"a"], b"")), ByeCode.PROTOCOL),
    "rows of origin 0": (reconciling(RangeRows([b"a"], bytes(21))), ByeCode.PROTOCOL),
    "entries of a reconciliation without origins": (
        reconciling(RangeEntries(b"", [record(5)], [], [], True)),
        ByeCode.PROTOCOL,
    ),
    "entries of a reconciliation out of order": (
        reconciling(RangeEntries((bytes(7) + b"\1") * 2, [record(6, b"b"), record(5, b"a")], [], [], True)),
        ByeCode.PROTOCOL,
    ),
    "an entry of a reconciliation without its value": (
        reconciling(RangeEntries(bytes(7) + b"\1", [record(5)[: -len(b"value")]], [0], [], True)),
        ByeCode.PROTOCOL,
    ),
    "a flood of asks": ([VectorQuery(n) for n in range(100_000)], ByeCode.PROTOCOL),
}


@pytest.mark.parametrize("offence", BEFORE_THE_HANDSHAKE)
def test_offences_before_the_handshake_end_the_connection(masters: Masters, offence: str) -> None:
    data, code = BEFORE_THE_HANDSHAKE[offence]
    with Intruder(masters.victim.address) as intruder:
        intruder.send(data)
        bye = intruder.farewell()
        assert bye is None or bye.code == code
        assert bye is not None or len(data) > 1_000, "the Bye may get lost only when much is left unread"


@pytest.mark.parametrize("offence", AFTER_IT)
def test_offences_after_the_handshake_end_the_connection(masters: Masters, offence: str) -> None:
    said, code = AFTER_IT[offence]
    data = said if isinstance(said, bytes) else b"".join(map(encode, said))
    with Intruder(masters.victim.address) as intruder:
        intruder.enter()
        intruder.send(data)
        bye = intruder.farewell()
        assert bye is None or bye.code == code
        assert bye is not None or len(data) > 1_000, "the Bye may get lost only when much is left unread"


def test_a_vector_reply_from_the_future_is_refused(masters: Masters) -> None:
    """Nodes must not wait for the changes that such a vector promises."""
    victim = masters.victim
    with Intruder(victim.address) as intruder:
        intruder.enter()
        intruder.say(StartPull(b"", []))
        victim.wait_until(lambda: victim.node.coordinator.by_origin[ORIGIN].send_queue is not None)
        synced = victim.node.call(victim.node.sync_waiter.wait(victim.node.coordinator, TIMEOUT_S))
        asked = intruder.hear(VectorQuery)
        assert isinstance(asked, VectorQuery)
        intruder.say(VectorReply(asked.token, encode_vector({ORIGIN: FAR})))
        bye = intruder.farewell()
        assert bye is not None
        assert bye.code == ByeCode.CLOCK
        assert synced.result()


def test_a_peer_with_the_nodes_own_origin_is_refused(masters: Masters) -> None:
    with Intruder(masters.victim.address) as intruder:
        intruder.say(Hello(MAGIC, VERSION, masters.victim.store.origin, b"intruder"))
        bye = intruder.farewell()
        assert bye is not None
        assert bye.code == ByeCode.DUPLICATE_ORIGIN


def test_a_peer_with_the_origin_of_a_connected_peer_is_refused(masters: Masters) -> None:
    with Intruder(masters.victim.address) as intruder:
        intruder.say(Hello(MAGIC, VERSION, masters.honest.store.origin, b"intruder"))
        bye = intruder.farewell()
        assert bye is not None
        assert bye.code == ByeCode.DUPLICATE_ORIGIN


def test_the_greatest_origin_is_valid(masters: Masters) -> None:
    with Intruder(masters.victim.address) as intruder:
        intruder.enter()
        intruder.say(VectorUpdate(encode_vector({LAST: 1})), VectorQuery(5))
        assert isinstance(intruder.hear(VectorReply), VectorReply)


def test_messages_may_arrive_byte_by_byte(masters: Masters) -> None:
    with Intruder(masters.victim.address) as intruder:
        for byte in encode(HELLO):
            intruder.send(bytes([byte]))
        assert intruder.hear(Welcome) is not None
        for byte in encode(Welcome()) + encode(VectorQuery(5)):
            intruder.send(bytes([byte]))
        assert isinstance(intruder.hear(VectorReply), VectorReply)


def test_a_connection_that_ends_within_a_frame_is_harmless(masters: Masters) -> None:
    with Intruder(masters.victim.address) as intruder:
        intruder.enter()
        intruder.send(encode(VectorUpdate(encode_vector({1: 1})))[:-1])
    masters.victim.wait_until(lambda: ORIGIN not in masters.victim.node.coordinator.by_origin)
