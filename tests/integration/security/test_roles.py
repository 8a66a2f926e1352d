"""Roles: a read_only peer receives changes and none of its own are applied; a pull_only node has no local writes."""

from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator.protocol.messages import Entries, ReconcileStart, RoundEnd, RoundStart, Welcome, encode
from level_replicator.protocol.session import Session
from tests.harness.local_node import LocalNode, wait_in_sync
from tests.harness.waiting import wait_until
from tests.integration.security.conftest import Open
from tests.integration.security.keys import print_of

A, B, C = print_of("A", "B", "C")


def _accept_b_read_only(peer: lrep.PeerIdentity) -> None:
    peer.accept(read_only=peer.fingerprint == B)


def _check_read_only(a: LocalNode, b: LocalNode) -> None:
    """Check the state of a and b while b is read-only for a."""
    wait_until(lambda: b.peer(a)["state"] == "live", lambda: b.replica.status())
    b.put(b"from b", b"no")
    a.put(b"from a", b"yes")
    assert b.replica.wait_synced(60)
    assert a.replica.wait_synced(60), "it does not wait for what it will not take"
    assert b.contents() == {b"from a": b"yes", b"from b": b"no"}
    assert a.contents() == {b"from a": b"yes"}
    assert a.peer(b)["read_only"] is True
    assert a.peer(b)["state"] == "live"
    assert b.peer(a)["read_only_there"] is True
    assert b.peer(a)["read_only"] is False


def test_a_role_is_given_by_identify(master: Open) -> None:
    a = master("A", identify=_accept_b_read_only)
    b = master("B", {a: {"fingerprint": A}})
    _check_read_only(a, b)


def test_a_role_is_given_by_metadata(master: Open) -> None:
    b = master("B", trusted=[A])
    a = master("A", {b: {"fingerprint": B, "read_only": True}})
    _check_read_only(a, b)


def test_the_role_follows_the_key_in_both_directions_of_dialing(master: Open) -> None:
    """This holds also when the read-only server dials, from an unknown address."""
    b = master("B", trusted=[A])
    b.close()
    a = master("A", {b: {"fingerprint": B, "read_only": True}})
    b._config["trusted"], b._config["port"] = None, None
    b.servers = {a.address: {"fingerprint": A}}
    b.open()
    _check_read_only(a, b)


def test_writes_of_a_read_only_peer_may_arrive_through_another_node(master: Open) -> None:
    """A role belongs to a connection and not to the data, as SECURITY.md says."""
    a = master("A", identify=_accept_b_read_only)
    c = master("C", {a: {"fingerprint": A}}, trusted=[B])
    b = master("B", {a: {"fingerprint": A}, c: {"fingerprint": C}})
    b.put(b"from b", b"by c")
    wait_in_sync(a, b, c)
    assert a.contents() == {b"from b": b"by c"}


def test_a_read_only_peer_is_served_by_reconciliation_and_not_pulled_from(master: Open) -> None:
    a = master("A", identify=_accept_b_read_only)
    for n in range(50):
        a.put(b"%d" % n, b"")
    a.replica.truncate()
    b = master("B", {a: {"fingerprint": A}})
    b.put(b"from b", b"no")
    assert b.replica.wait_synced(60)
    assert len(b.contents()) == 51
    assert len(a.contents()) == 50


def test_a_comparison_with_a_read_only_peer_changes_nothing(master: Open) -> None:
    a = master("A", identify=_accept_b_read_only)
    b = master("B", {a: {"fingerprint": A}})
    _check_read_only(a, b)
    assert not a.replica.verify(B).equal
    assert a.contents() == {b"from a": b"yes"}


@pytest.mark.parametrize(
    "message",
    [
        RoundStart(b""),
        Entries(7, 0, 5, [b""], True),
        RoundEnd(),
        ReconcileStart(b"", b"", 0, 1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_read_only_peer_that_sends_changes_is_ended(message: object) -> None:
    def session(read_only: bool) -> Session:
        return Session(
            origin=1,
            instance=b"a",
            dialled=False,
            now_ms=0,
            max_drift_ms=1000,
            heartbeat_ms=1000,
            read_only=read_only,
        )

    ours, theirs = (
        session(True),
        Session(origin=2, instance=b"b", dialled=True, now_ms=0, max_drift_ms=1000, heartbeat_ms=1000),
    )
    list(ours.receive(b"".join(theirs.take_output(0)), 0, 0))
    ours.welcome()
    list(ours.receive(encode(Welcome()), 0, 0))
    with pytest.raises(lrep.ReplicationError, match="read-only"):
        list(ours.receive(encode(message), 0, 0))  # type: ignore[arg-type]


def test_a_read_only_peer_does_not_give_us_a_new_origin(master: Open, tmp_path: Path) -> None:
    """It claims to know more of this node's writes than the node does. This may be true, but it must not decide it."""
    a = master("A", identify=_accept_b_read_only)
    a.put(b"1", b"")
    a.replica.backup(tmp_path / "old")
    b = master("B", {a: {"fingerprint": A}})
    b.replica.wait_synced(60)
    origin = a.origin
    store = a.replica._node.store
    newest = store.vector_copy()[store.origin]
    b.replica._node.call(_pretend(b, store.origin, newest + (10 << 16))).result()
    b.replica.disconnect(A)
    wait_until(lambda: "refused" in a.event_kinds(), lambda: a.events)
    assert a.origin == origin
    assert "new_origin" not in a.event_kinds()


async def _pretend(b: LocalNode, origin: int, stamp: int) -> None:
    b.replica._node.store._state.vector[origin] = stamp


def test_a_pull_only_node_refuses_local_writes(master: Open, tmp_path: Path) -> None:
    a = master("A", trusted=[B])
    a.put(b"a", b"1")
    b = master("B", {a: {"fingerprint": A}}, pull_only=True)
    assert b.replica.wait_synced(60)
    with pytest.raises(lrep.ReadOnlyError, match="pull_only"):
        b.replica.put(b"b", b"2")
    with pytest.raises(lrep.ReadOnlyError):
        b.replica.delete(b"a")
    with pytest.raises(lrep.ReadOnlyError), b.replica.write_batch() as batch:
        batch.put(b"b", b"2")
    with pytest.raises(lrep.ReadOnlyError):
        b.replica.prefixed_db(b"x").put(b"b", b"2")
    assert b.contents() == a.contents() == {b"a": b"1"}
    with pytest.raises(lrep.ConfigError, match="pull_only"):
        lrep.open(tmp_path / "new", {"pull_only": True}, adopt=True)
