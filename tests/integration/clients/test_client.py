"""A database used from another process: tests beyond plyvel's own suite (tests/conformance/plyvel_suite)."""

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator.core.limits import MAX_CLIENT_SNAPSHOTS, PAGE_BYTES, PAGE_ENTRIES
from level_replicator.protocol.client_messages import Do
from tests.integration.clients.conftest import Connect

MANY = 2 * PAGE_ENTRIES + 10


def fill(database: lrep.Replica, count: int = MANY) -> list[tuple[bytes, bytes]]:
    pairs = [(b"%06d" % i, b"value %d" % i) for i in range(count)]
    with database.write_batch() as batch:
        for key, value in pairs:
            batch.put(key, value)
    return pairs


def test_what_a_client_writes_is_a_write_of_the_node(replica: lrep.Replica, client: lrep.Client) -> None:
    client.put(b"key", b"value")
    assert replica.get(b"key") == b"value"
    client.delete(b"key")
    assert replica.get(b"key") is None
    assert replica.status()["vector"][replica.origin] > 0
    assert replica.status()["clients"] == 1


def test_an_iterator_of_many_pages_is_of_one_moment(replica: lrep.Replica, client: lrep.Client) -> None:
    pairs = fill(replica)
    found = client.iterator()
    backwards = client.iterator(reverse=True)
    for key, _ in pairs[::2]:
        replica.delete(key)
    replica.put(b"zzz", b"later")
    assert list(found) == pairs
    assert list(backwards) == pairs[::-1]


def test_an_iterator_goes_to_and_fro_over_the_ends_of_pages(replica: lrep.Replica, client: lrep.Client) -> None:
    pairs = fill(replica)
    theirs, ours = replica.iterator(), client.iterator()
    for edge in (0, PAGE_ENTRIES, 2 * PAGE_ENTRIES, MANY - 1):
        for target in (edge - 1, edge, edge + 1):
            sought = b"%06d" % max(target, 0)
            for each in (theirs, ours):
                each.seek(sought)
            for step in ("next", "prev", "prev", "next", "next", "prev"):
                moves = [getattr(each, "__next__" if step == "next" else step) for each in (theirs, ours)]
                assert _step(moves[0]) == _step(moves[1])
    ours.seek_to_stop()
    assert ours.prev() == pairs[-1]
    ours.seek_to_start()
    assert next(ours) == pairs[0]


def _step(move: object) -> object:
    try:
        return move()  # type: ignore[operator]
    except StopIteration:
        return "the end"


def test_values_larger_than_a_page(client: lrep.Client) -> None:
    large = {b"%d" % i: os.urandom(PAGE_BYTES + i) for i in range(4)}
    for key, value in large.items():
        client.put(key, value)
    assert dict(client) == large
    assert client.get(b"3") == large[b"3"]


def test_a_snapshot_is_as_it_was_and_goes_with_its_handle(replica: lrep.Replica, client: lrep.Client) -> None:
    client.put(b"key", b"old")
    for _ in range(MAX_CLIENT_SNAPSHOTS + 10):  # dropped ones are given back
        snapshot = client.snapshot()
    client.put(b"key", b"new")
    assert snapshot.get(b"key") == b"old"
    assert dict(snapshot) == {b"key": b"old"}
    snapshot.close()
    with pytest.raises(lrep.ClosedError):
        snapshot.get(b"key")


def test_only_so_many_snapshots(client: lrep.Client) -> None:
    held = [client.snapshot() for _ in range(MAX_CLIENT_SNAPSHOTS)]
    with pytest.raises(lrep.LimitError, match="snapshots"):
        client.snapshot()
    held.pop()
    client.snapshot()


def test_a_batch_is_written_whole_or_not_at_all(replica: lrep.Replica, client: lrep.Client) -> None:
    batch = client.write_batch()
    batch.put(b"one", b"1")
    batch.put(b"x" * (1024 * 1024 + 1), b"a key above the limit")
    with pytest.raises(lrep.LimitError):
        batch.write()
    assert dict(replica) == {}


def test_a_request_above_the_limit_is_refused_here(client: lrep.Client) -> None:
    batch = client.write_batch()
    for i in range(3):
        batch.put(b"%d" % i, bytes(30 * 1024 * 1024))
    with pytest.raises(lrep.LimitError, match="in parts"):
        batch.write()
    client.put(b"goes", b"on")


def test_many_threads(replica: lrep.Replica, client: lrep.Client) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        for i in range(100):
            key = b"%d %d" % (number, i)
            client.put(key, key)
            if client.get(key) != key:
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(dict(replica)) == 800


def test_a_synced_write_beside_others(replica: lrep.Replica, client: lrep.Client) -> None:
    client.put(b"key", b"value", sync=True)
    with client.write_batch(sync=True) as batch:
        batch.put(b"other", bytes(100_000))
    assert sorted(dict(replica)) == [b"key", b"other"]


def test_maintenance_commands(replica: lrep.Replica, client: lrep.Client, tmp_path: Path) -> None:
    fill(replica, 10)
    assert client.status()["keys"] == 10
    assert client.wait_synced(1)
    assert client.verify().sound
    entries, onward = client.history(most=3)
    assert [key for key, *_ in entries] == [b"000009", b"000008", b"000007"]
    assert client.history(onward, most=100)[0][-1][0] == b"000000"
    assert client.truncate() == 10
    assert client.history()[0] == []
    assert client.get_property(b"leveldb.stats") is not None
    client.compact_range(start=b"0", stop=b"1")
    assert client.approximate_sizes((b"0", b"1"), (b"1", b"2"))[1] == 0
    with pytest.raises(lrep.ConfigError, match="nobody"):
        client.verify("nobody:1")
    with pytest.raises(lrep.ConfigError, match="has no command"):
        client._backend.call(Do(0, "format_the_disk"))


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        ("truncate", {"max_bytes": "many"}, "max_bytes: 'many' (str) is not valid: expected int or None"),
        ("truncate", {"max_age": b"x"}, "max_age: b'x' (bytes) is not valid: expected int, float or None"),
        ("property", {"name": 5}, "name: 5 (int) is not valid: expected bytes"),
        ("property", {"name": "n" * 500}, f"name: '{'n' * 99}… (str) is not valid: expected bytes"),
        ("status", {"color": 5}, "color: unknown argument: does the client have a later version?"),
    ],
)
def test_an_error_of_a_wrong_argument_names_it(
    client: lrep.Client, command: str, arguments: dict[str, object], text: str
) -> None:
    with pytest.raises(lrep.ConfigError) as caught:
        client._backend.call(Do(0, command, arguments))
    assert str(caught.value) == text


def test_history_is_bounded(replica: lrep.Replica, client: lrep.Client) -> None:
    fill(replica, PAGE_ENTRIES + 1)
    for database in (replica, client):
        entries, before = database.history(most=10**9)
        assert len(entries) == PAGE_ENTRIES
        assert len(database.history(before, most=10**9)[0]) == 1
        assert len(database.history(most=-1)[0]) == 1


def test_a_relative_path_of_a_backup_is_relative_to_the_client(replica: lrep.Replica, tmp_path: Path) -> None:
    """The client is a process with another working directory than that of the node."""
    fill(replica, 10)
    (tmp_path / "here").mkdir()
    program = "import sys, level_replicator as lrep; lrep.connect(sys.argv[1]).backup('copy')"
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "node")], cwd=tmp_path / "here", check=True, timeout=60
    )
    with lrep.open(tmp_path / "here" / "copy") as copy:
        assert len(dict(copy)) == 10
    assert not Path("copy").exists()


def test_a_backup_needs_the_unix_socket(replica: lrep.Replica, tmp_path: Path) -> None:
    fill(replica, 10)
    told: list[int] = []
    with lrep.connect(tmp_path / "node") as client:
        assert client.backup(tmp_path / "copy", progress=told.append) == 10
    with lrep.open(tmp_path / "copy", {}) as copy:
        assert len(dict(copy)) == 10
    with lrep.connect("{}:{}".format(*replica.address or ())) as client, pytest.raises(lrep.ReadOnlyError):
        client.backup(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("access", ["read-only", "none"])
def test_what_clients_of_the_port_may_do(tmp_path: Path, access: str) -> None:
    with lrep.open(tmp_path / "node", {"port": 0, "clients": access}) as replica:
        replica.put(b"key", b"value")
        address = "{}:{}".format(*replica.address or ())
        if access == "none":
            with pytest.raises(lrep.ReplicationError, match="accepts no clients"):
                lrep.connect(address)
        else:
            with lrep.connect(address) as client:
                assert dict(client) == {b"key": b"value"}
                for refused in (
                    lambda: client.put(b"key", b"other"),
                    lambda: client.delete(b"key"),
                    client.truncate,
                    client.compact_range,
                    lambda: client.verify(repair=True),
                    lambda: client.disconnect("anybody"),
                ):
                    with pytest.raises(lrep.ReadOnlyError):
                        refused()
        assert dict(replica) == {b"key": b"value"}
        with lrep.connect(tmp_path / "node") as local:
            local.put(b"key", b"by the owner of the files")
        assert replica.get(b"key") == b"by the owner of the files"


def test_a_node_that_takes_no_writes_of_its_own(tmp_path: Path) -> None:
    node = tmp_path / "node"
    with lrep.open(node, {"pull_only": True}), lrep.connect(node) as client, pytest.raises(lrep.ReadOnlyError):
        client.put(b"key", b"value")


def test_when_the_node_stops_and_comes_back(tmp_path: Path) -> None:
    replica = lrep.open(tmp_path / "node", {"port": None})
    client = lrep.connect(tmp_path / "node")
    replica.put(b"key", b"value")
    found = client.iterator()
    snapshot = client.snapshot()
    replica.close()
    with pytest.raises(lrep.ConnectionLostError):
        client.get(b"key")
    with pytest.raises(lrep.ConnectionLostError, match="Does the node run"):
        client.put(b"key", b"other")
    with lrep.open(tmp_path / "node", {"port": None}) as replica:
        assert client.get(b"key") == b"value"
        client.put(b"key", b"other")
        assert next(found) == (b"key", b"value")  # it was read when the iterator was made
        with pytest.raises(lrep.ClosedError):
            snapshot.get(b"key")
        assert replica.get(b"key") == b"other"
        client.close()


def test_the_socket_is_for_its_owner_only_and_goes_with_the_node(tmp_path: Path) -> None:
    replica = lrep.open(tmp_path / "node", {})
    path = tmp_path / "node" / "lrep.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    replica.close()
    assert not path.exists()


def test_a_socket_that_a_killed_node_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    path = tmp_path / "node" / "lrep.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(lrep.ConnectionLostError):
        lrep.connect(tmp_path / "node")
    with lrep.open(tmp_path / "node", {}), lrep.connect(tmp_path / "node") as client:
        assert client.get(b"key") is None


def test_no_socket(tmp_path: Path) -> None:
    with lrep.open(tmp_path / "node", {"socket": False}):
        assert not (tmp_path / "node" / "lrep.sock").exists()
    long = tmp_path / ("x" * 120)
    with lrep.open(long, {}):
        assert not (long / "lrep.sock").exists()
    with pytest.raises(lrep.ConfigError, match="socket"):
        lrep.open(tmp_path / "node", {"socket": long / "socket"})
    (tmp_path / "file").write_text("")
    with pytest.raises(lrep.ConfigError, match="socket: cannot listen"):
        lrep.open(tmp_path / "node", {"socket": tmp_path / "file"})
    assert (tmp_path / "file").exists()


def test_the_error_for_a_locked_directory_names_connect(tmp_path: Path) -> None:
    with lrep.open(tmp_path / "node", {}), pytest.raises(lrep.LockedError, match=r"connect\("):
        lrep.open(tmp_path / "node", {})


def test_wrong_addresses(tmp_path: Path) -> None:
    for wrong in (8000, b"x:1", None):
        with pytest.raises(lrep.ConfigError):
            lrep.connect(wrong)  # type: ignore[arg-type]
    for wrong in ("10.0.0.1:99999", "host:", "10.0.0.1:8000"):
        with pytest.raises(lrep.ConfigError):
            lrep.connect(wrong)
    with pytest.raises(lrep.ConnectionLostError):
        lrep.connect(tmp_path)
    with pytest.raises(lrep.ConfigError, match="fingerprint"):
        lrep.connect("127.0.0.1:1", pems=lrep.generate_pems())
    with pytest.raises(lrep.ConfigError, match="pems"):
        lrep.connect("127.0.0.1:1", fingerprint="sha256:" + "0" * 64)


def test_a_server_that_is_no_node() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as stranger:
                stranger.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                stranger.recv(1000)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(lrep.ReplicationError):
            lrep.connect(f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()


def test_a_silent_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(lrep.ConnectionLostError, match="in time"):
        lrep.connect(f"127.0.0.1:{server.getsockname()[1]}", timeout=0.2)


def test_a_forked_child_has_a_connection_of_its_own(replica: lrep.Replica, connect: Connect) -> None:
    client = connect(replica)
    client.put(b"key", b"value")
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if client.get(b"key") == b"value" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.get(b"key") == b"value"


def test_after_close(client: lrep.Client) -> None:
    feed = client.changes()
    batch = client.write_batch()
    client.close()
    client.close()
    for refused in (
        lambda: client.get(b"key"),
        lambda: client.put(b"key", b""),
        client.iterator,
        client.snapshot,
        client.status,
        client.changes,
        batch.write,
    ):
        with pytest.raises(lrep.ClosedError):
            refused()
    feed.close()
    assert client.closed
    assert "closed" in repr(client)
