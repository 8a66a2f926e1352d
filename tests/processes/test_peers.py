"""Peers that are wrong: their clocks, their copies, their addresses."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import plyvel
import pytest

import level_replicator as lrep
from tests.processes.cluster import check_directory, eventually
from tests.processes.nodes import Events, Wall, address, copy_directory, level, open_node, wait_for_state

EIGHT_HOURS_MS = 8 * 3_600_000


def test_a_clock_eight_hours_ahead_is_quarantined_and_recovers(tmp_path: Path) -> None:
    right, wrong = Wall(), Wall()
    events = Events("quarantined")
    wrong.shift_ms = EIGHT_HOURS_MS
    with open_node(tmp_path / "a", wall=right, on_peer=events) as a:
        a.put(b"a", b"1")
        with open_node(tmp_path / "b", address(a), wall=wrong) as b, open_node(tmp_path / "c", address(a)) as c:
            b.put(b"b", b"from the future")
            assert events.seen.wait(60)
            wait_for_state(b, "quarantined")
            assert any(event.kind == "quarantined" and "clock" in event.text for event in events)
            c.put(b"c", b"1")
            level(a, c)
            assert dict(a) == {b"a": b"1", b"c": b"1"}, "nothing of it was applied, and the others are served on"
            assert b.status()["origin"] not in a.status()["vector"]
            right.shift_ms = EIGHT_HOURS_MS
            eventually(lambda: a.get(b"b") is not None, a.status)
            assert a.get(b"b") == b"from the future"


def test_a_clock_that_went_back_or_stands_still(tmp_path: Path) -> None:
    back, frozen = Wall(), Wall()
    back.shift_ms = -EIGHT_HOURS_MS
    frozen.frozen_ms = frozen()
    with (
        open_node(tmp_path / "a", wall=back, max_clock_drift=10 * 3_600.0) as a,
        open_node(tmp_path / "b", address(a), wall=frozen) as b,
    ):
        for i in range(50):
            b.put(b"k", b"b%d" % i)
            level(a, b)
            a.put(b"k", b"a%d" % i)  # over what it has seen: it must win, whatever its clock says
            level(a, b)
            assert b.get(b"k") == b"a%d" % i


def test_the_year_2262(tmp_path: Path) -> None:
    wall = Wall()
    wall.frozen_ms = 9_223_372_036_855
    with open_node(tmp_path / "a", wall=wall) as a, open_node(tmp_path / "b", address(a), wall=wall) as b:
        a.put(b"k", b"v")
        level(a, b)
    with open_node(tmp_path / "b") as b, open_node(tmp_path / "c", address(b)) as c:
        wait_for_state(c, "quarantined")
        assert dict(c) == {}


@pytest.mark.parametrize("running", [False, True], ids=["closed", "while it runs"])
def test_a_copied_directory_goes_on_as_a_new_origin(tmp_path: Path, running: bool) -> None:
    a = open_node(tmp_path / "a")
    a.put(b"before", b"1")
    if not running:
        a.close()
    copy_directory(tmp_path / "a", tmp_path / "b", hidden=False)
    if not running:
        a = open_node(tmp_path / "a")
    with a, open_node(tmp_path / "b", address(a)) as b:
        assert a.status()["origin"] != b.status()["origin"]
        assert b.get(b"before") == b"1"
        a.put(b"a", b"2")
        b.put(b"b", b"3")
        level(a, b)
        assert len(dict(a)) == 3
    assert check_directory(tmp_path / "a") == check_directory(tmp_path / "b")


def test_two_live_nodes_of_one_origin_refuse_each_other_and_say_how_to_mend_it(tmp_path: Path) -> None:
    with open_node(tmp_path / "a") as a:
        a.put(b"before", b"1")
    copy_directory(tmp_path / "a", tmp_path / "b", hidden=True)
    with open_node(tmp_path / "a") as a:
        with open_node(tmp_path / "b", address(a)) as b:
            assert a.status()["origin"] == b.status()["origin"]
            wait_for_state(b, "refused")
            (peer,) = b.status()["peers"]
            assert "two live nodes" in peer["last_error"]
            assert "new_origin" in peer["last_error"]
            a.put(b"a", b"2")
            b.put(b"b", b"3")
        rs = plyvel.DB(str(tmp_path / "b" / "rs"))
        lrep.new_origin(rs)
        rs.close()
        with open_node(tmp_path / "b", address(a)) as b:
            b.put(b"b", b"3")
            level(a, b)
            assert dict(a) == {b"before": b"1", b"a": b"2", b"b": b"3"}


def test_two_nodes_of_one_origin_through_a_third(tmp_path: Path) -> None:
    with open_node(tmp_path / "a") as a:
        a.put(b"before", b"1")
    copy_directory(tmp_path / "a", tmp_path / "b", hidden=True)
    with open_node(tmp_path / "c") as c, open_node(tmp_path / "a", address(c)) as a:
        wait_for_state(a, "live")
        with open_node(tmp_path / "b", address(c)) as b:
            wait_for_state(b, "refused")
            (peer,) = b.status()["peers"]
            assert "two live nodes" in peer["last_error"]
            a.put(b"a", b"2")
            level(a, c)


@pytest.mark.parametrize("hidden", [False, True], ids=["noticed", "not noticed"])
@pytest.mark.parametrize("writes_first", [False, True], ids=["connects at once", "writes first"])
def test_a_restored_backup_with_peers_ahead_loses_nothing(tmp_path: Path, hidden: bool, writes_first: bool) -> None:
    events = Events("renewed")
    with open_node(tmp_path / "a") as a:
        a.put(b"1", b"before the backup")
    copy_directory(tmp_path / "a", tmp_path / "backup", hidden=False)
    with open_node(tmp_path / "a") as a:
        a.put(b"2", b"after the backup")
        with open_node(tmp_path / "b", address(a)) as b:
            level(a, b)
            b.put(b"3", b"of the peer")
    shutil.rmtree(tmp_path / "a")
    copy_directory(tmp_path / "backup", tmp_path / "a", hidden=hidden)
    with open_node(tmp_path / "b") as b:
        old = next(iter(set(b.status()["vector"]) - {b.status()["origin"]}))
        if writes_first:
            with open_node(tmp_path / "a") as a:
                pass
            a = open_node(tmp_path / "a", address(b), on_peer=events)
            a.put(b"4", b"after the restore")
        else:
            a = open_node(tmp_path / "a", address(b), on_peer=events)
        with a:
            if hidden:
                assert events.seen.wait(60)
            eventually(lambda: a.get(b"3") is not None, a.status)
            level(a, b)
            assert a.status()["origin"] != old
            assert len(dict(a)) == 3 + writes_first
    assert check_directory(tmp_path / "a") == check_directory(tmp_path / "b")


def test_a_server_that_is_oneself(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open_node(tmp_path / "a", f"localhost.localdomain:{port}", port=port) as a:
        wait_for_state(a, "refused")
        assert any("the node itself" in (peer["last_error"] or "") for peer in a.status()["peers"])


def test_a_name_is_resolved_at_each_dial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    where = ["127.0.0.9"]  # nobody listens there
    asked = []

    def resolver(host, *args, **kwargs):  # type: ignore[no-untyped-def]
        if host == "moving.example":
            asked.append(where[0])
            host = where[0]
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with open_node(tmp_path / "a") as a:
        assert a.address is not None
        a.put(b"k", b"v")
        with open_node(tmp_path / "b", f"moving.example:{a.address[1]}") as b:
            eventually(lambda: len(asked) >= 2, b.status)
            assert b.get(b"k") is None
            where[0] = "127.0.0.1"
            level(a, b)


def test_a_name_that_leads_off_loopback_is_not_dialled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolver(host, port, *args, **kwargs):  # type: ignore[no-untyped-def]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with open_node(tmp_path / "a", "elsewhere.example:8000", port=None) as a:
        eventually(lambda: "loopback" in str(a.status()["peers"][0]["last_error"]), a.status)


def test_peers_that_are_down_refuse_vanish_and_come_back(tmp_path: Path) -> None:
    with open_node(tmp_path / "b") as b:
        assert b.address is not None
        port, server = b.address[1], address(b)
    with open_node(tmp_path / "a", server, port=None) as a:
        wait_for_state(a, "waiting")
        a.put(b"1", b"v")
        for number in range(3):
            with open_node(tmp_path / "b", port=port) as b:
                b.put(b"b%d" % number, b"v")
                level(a, b)
        with socket.create_server(("127.0.0.1", port)) as mute:
            connection, _ = mute.accept()
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            wait_for_state(a, "refused")
            connection.close()
        with open_node(tmp_path / "b", port=port) as b:
            level(a, b)
            assert len(dict(b)) == 4
