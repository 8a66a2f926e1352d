"""Nodes on directories that were copied or restored."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator import plyvel
from level_replicator.storage.engine.directory import Directory
from tests.harness.compare import check_equal
from tests.harness.local_node import LocalNode, wait_in_sync
from tests.harness.waiting import wait_until

Make = Callable[..., LocalNode]


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a copy that the check of the identity does not notice."""
    monkeypatch.setattr(Directory, "identity", lambda self: bytes(24))


def close_and_compare(*masters: LocalNode) -> dict[bytes, bytes]:
    for one in masters:
        one.close()
    return check_equal([one.folder for one in masters])[0].db


@pytest.mark.parametrize("hot", [False, True])
def test_a_copy_is_another_node(hot: bool, master: Make, tmp_path: Path) -> None:
    a = master("a")
    for serial in range(500):
        a.put(b"%d" % serial, b"before")
    if not hot:
        a.close()
    shutil.copytree(a.folder, tmp_path / "copy")
    if not hot:
        a.open()
    copy = master("copy", [a.address])
    assert copy.origin != a.origin
    for serial in range(400, 600):
        a.put(b"%d" % serial, b"a")
    for serial in range(450, 700):
        copy.put(b"%d" % serial, b"copy")
    wait_in_sync(a, copy)
    db = close_and_compare(a, copy)
    assert len(db) == 700
    assert db[b"0"] == b"before"


@pytest.mark.usefixtures("unseen")
def test_two_live_nodes_with_one_origin_refuse_each_other(master: Make, tmp_path: Path) -> None:
    a = master("a")
    a.put(b"key", b"1")
    a.close()
    shutil.copytree(a.folder, tmp_path / "duplicate")
    a.open()
    duplicate = master("duplicate", [a.address])
    assert duplicate.origin == a.origin
    # before and after the duplicate's: a vector with one line for both hides that either lacks something
    a.put(b"a", b"before")
    duplicate.put(b"duplicate", b"duplicate")
    a.put(b"a2", b"after")
    for one in (a, duplicate):
        wait_until(lambda one=one: "refused" in one.event_kinds(), "the refusal")  # type: ignore[misc]
        text = next(event.text for event in one.events if event.kind == "refused")
        assert "two live nodes have the origin" in text
        assert "new_origin" in text
    assert duplicate.contents() == {b"key": b"1", b"duplicate": b"duplicate"}
    duplicate.close()
    rs = plyvel.DB(str(duplicate.folder / "rs"))
    lrep.new_origin(rs)
    rs.close()
    duplicate.open()
    wait_in_sync(a, duplicate)
    assert close_and_compare(a, duplicate) == {
        b"key": b"1",
        b"a": b"before",
        b"duplicate": b"duplicate",
        b"a2": b"after",
    }


@pytest.mark.usefixtures("unseen")
def test_a_third_node_serves_one_of_two_duplicates(master: Make, tmp_path: Path) -> None:
    a = master("a")
    a.put(b"key", b"1")
    a.close()
    shutil.copytree(a.folder, tmp_path / "duplicate")
    third = master("third")
    a.servers = [third.address]
    a.open()
    wait_until(lambda: a.peer(third)["state"] == "live", "a meets the third")
    duplicate = master("duplicate", [third.address])
    wait_until(
        lambda: duplicate.replica.status()["peers"][0]["last_error_code"] == "duplicate_origin",
        "the duplicate is refused",
    )
    a.put(b"a", b"2")
    wait_in_sync(a, third)


@pytest.mark.usefixtures("unseen")
def test_a_duplicate_that_was_killed_and_has_a_new_origin(master: Make, tmp_path: Path) -> None:
    """Its writes since the copy were durable, in an earlier run; the other node does not have them for that reason."""
    a = master("a")
    a.put(b"key", b"1")
    a.close()
    shutil.copytree(a.folder, tmp_path / "duplicate")
    a.open()
    a.put(b"a", b"before")
    duplicate = master("duplicate")
    duplicate.put(b"duplicate", b"duplicate")
    duplicate.close()
    duplicate.open()
    a.put(b"a2", b"after")
    shutil.copytree(duplicate.folder, tmp_path / "killed")  # as a kill would leave it
    duplicate.close()
    rs = plyvel.DB(str(tmp_path / "killed" / "rs"))
    lrep.new_origin(rs)
    rs.close()
    killed = master("killed", [a.address])
    wait_in_sync(a, killed)
    assert close_and_compare(a, killed) == {b"key": b"1", b"a": b"before", b"duplicate": b"duplicate", b"a2": b"after"}


def restore_old_backup(a: LocalNode, backup: Path) -> None:
    """Return `a` as it was before its last hundred writes, all of which its peer has."""
    for serial in range(100):
        a.put(b"old %d" % serial, b"1")
    a.close()
    shutil.copytree(a.folder, backup)
    a.open()
    for serial in range(50, 150):
        a.put(b"old %d" % serial, b"2")


def restore_it(a: LocalNode, peer: LocalNode, backup: Path) -> None:
    """Let `a` run on the old backup and write, without a connection."""
    restore_old_backup(a, backup)
    wait_in_sync(a, peer)
    a.close()
    shutil.rmtree(a.folder)
    shutil.copytree(backup, a.folder)
    a.servers = []
    a.open()
    for serial in range(20):
        a.put(b"new %d" % serial, b"3")
    a.put(b"old 0", b"3")


EXPECTED = (
    {b"old %d" % serial: b"2" if serial >= 50 else b"1" for serial in range(150)}
    | {b"new %d" % serial: b"3" for serial in range(20)}
    | {b"old 0": b"3"}
)


@pytest.mark.parametrize("seen", [True, False])
def test_a_restored_backup_with_peers_ahead(
    seen: bool, master: Make, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not seen:
        request.getfixturevalue("unseen")
    peer = master("peer")
    a = master("a", [peer.address])
    first_origin = a.origin
    restore_it(a, peer, tmp_path / "backup")
    assert (a.origin != first_origin) is seen
    peer.servers = [a.address]
    peer.close()
    peer.open()
    wait_until(lambda: a.origin != first_origin, "the new origin")
    wait_in_sync(a, peer)
    assert ("new_origin" in a.event_kinds()) is not seen
    assert close_and_compare(a, peer) == EXPECTED


@pytest.mark.usefixtures("unseen")
def test_an_unseen_restore_that_a_newcomer_reads_first(master: Make, tmp_path: Path) -> None:
    peer = master("peer")
    a = master("a", [peer.address])
    restore_it(a, peer, tmp_path / "backup")
    newcomer = master("newcomer", [a.address])
    wait_in_sync(a, newcomer)
    newcomer.servers = [a.address, peer.address]
    newcomer.close()
    newcomer.open()
    wait_in_sync(a, peer, newcomer)
    assert close_and_compare(a, peer, newcomer) == EXPECTED


@pytest.mark.usefixtures("unseen")
def test_duplicates_that_take_turns_at_a_third_node(master: Make, tmp_path: Path) -> None:
    """The two never meet; the third node recognizes by their histories that they are two nodes."""
    third = master("third")
    a = master("a", [third.address])
    a.put(b"key", b"1")
    wait_in_sync(a, third)
    a.close()
    shutil.copytree(a.folder, tmp_path / "duplicate")
    duplicate = None
    for turn in range(3):
        a.servers = [third.address]
        a.open()
        a.put(b"a %d" % turn, b"1")
        a.put(b"both", b"a %d" % turn)
        wait_in_sync(a, third)
        a.close()
        if duplicate is None:
            duplicate = master("duplicate", [third.address])
        else:
            duplicate.open()
        duplicate.put(b"duplicate %d" % turn, b"1")
        duplicate.put(b"both", b"duplicate %d" % turn)
        wait_in_sync(duplicate, third)
        duplicate.close()
    assert duplicate is not None
    a.open()
    duplicate.open()
    wait_in_sync(a, duplicate, third)
    expected = {b"%s %d" % (who, turn): b"1" for who in (b"a", b"duplicate") for turn in range(3)}
    assert close_and_compare(a, duplicate, third) == {**expected, b"key": b"1", b"both": b"duplicate 2"}
