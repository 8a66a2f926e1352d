"""What the fuzzer found, in words."""

import pytest

from level_replicator.core.entry import ENTRY_HEAD, INDEX_HEAD, encode_entry, encode_index, is_sound
from level_replicator.core.errors import RemoteProtocolError, StorageError
from level_replicator.protocol.messages import Bye, RangeEntries, encode
from level_replicator.protocol.range_queries import PendingQueries
from level_replicator.protocol.session import Phase, Session
from level_replicator.storage.state.meta import load_meta
from level_replicator.storage.state.schema import INDEX, META, VECTOR, following
from tests.fuzz.targets import TARGETS
from tests.harness.memory_engine import MemoryEngine
from tests.harness.virtual_disk import VirtualDisk
from tests.unit.storage.rig import Rig, assert_sound, contents

ONE = (1).to_bytes(8, "big")
LATEST = 1_000


def fetching(key: bytes) -> PendingQueries:
    asks = PendingQueries()
    asks.begin()
    asks.add_fetch([key])
    return asks


def test_an_entry_that_ends_within_its_key_is_not_sound() -> None:
    """It was sent from a damaged log, and the peer hung up, again and again, instead of reconciling."""
    assert not is_sound(ENTRY_HEAD.pack(5, 0, 0, 9) + b"key")


def test_a_delete_cannot_be_said_to_be_equal() -> None:
    """Over an empty value it put that value into the database, and a tombstone into the index."""
    delete = encode_entry(5, b"k", None)[0]
    with pytest.raises(RemoteProtocolError):
        fetching(b"k").answer(RangeEntries(ONE, [delete], [0], [], True), LATEST)


def test_an_entry_of_a_walk_has_a_stamp() -> None:
    """Its index row was refused by every honest peer that reconciled with it."""
    record = encode_entry(0, b"k", b"v")[0]
    with pytest.raises(RemoteProtocolError, match="stamp 0"):
        fetching(b"k").answer(RangeEntries(ONE, [record], [], [], True), LATEST)


def test_nothing_is_read_after_a_bye() -> None:
    session = Session(origin=1, instance=b"us", dialled=False, now_ms=0, max_drift_ms=1, heartbeat_ms=1_000)
    assert len(list(session.receive(encode(Bye(0, "")) + b"\xff\xff\xff\xff", 0, 0))) == 1
    assert session.phase is Phase.CLOSED
    assert list(session.receive(b"\xff\xff\xff\xff", 0, 0)) == []


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(b"\xa3\x97\x05\x30", id="not UTF-8"),
        pytest.param(b"\x91" * 1_500, id="nested without end"),
        pytest.param(b"\x98\x01\x00\xc4\x00\xc4\x00\xc2\x00\x00\xc4\x00", id="origin 0"),
        pytest.param(b"\x98\x01\x01\xc4\x00\xc4\x00\xc2\x00\x00\xc4\x03xyz", id="no vector"),
    ],
)
def test_a_meta_record_that_nobody_wrote(record: bytes) -> None:
    with pytest.raises(StorageError, match="meta record"):
        load_meta(MemoryEngine(VirtualDisk([(META, record)])))


@pytest.mark.parametrize("prefix", [VECTOR, INDEX])
def test_a_line_that_is_cut_off_is_told_at_open(prefix: bytes) -> None:
    rig = Rig()
    store = rig.open()
    store.writer.write([(b"a", b"1")], False)
    rs = store._state.rs
    for key, line in rs.scan(prefix, following(prefix)):
        rs.put(key, line[:7])
    with pytest.raises(StorageError):
        rig.reopen_after_kill()


def test_verify_finds_a_line_that_differs_from_its_entry() -> None:
    """It said that it had repaired this, and found it again the next time; peers never agreed with this node."""
    store = Rig().open()
    store.writer.write([(b"a", b"1")], False)
    line = store._state.rs.get(INDEX + b"a")
    assert line is not None
    stamp, origin, flags, checksum = INDEX_HEAD.unpack_from(line)
    store._state.rs.put(INDEX + b"a", encode_index(stamp, origin, flags, checksum ^ 1))
    assert store.verify(repair=True, progress=lambda keys: None).found
    assert store.verify(repair=False, progress=lambda keys: None).sound
    assert_sound(store)
    assert contents(store) == {b"a": b"1"}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param("66882fd9", id="unknown kind of key in the certificate"),
        pytest.param("7c71500a", id="key in the certificate is none"),
        pytest.param("646cfa4b", id="version of the certificate"),
        pytest.param("4b6f71db", id="private key of another length"),
    ],
)
def test_a_damaged_key_pair_is_a_mistake_of_configuration(changes: str) -> None:
    TARGETS["files"](bytes.fromhex(changes))
