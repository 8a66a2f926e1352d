"""The commands that use a node: one that runs, and one that does not."""

import base64
import importlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

import level_replicator as lrep
from level_replicator import plyvel
from level_replicator.cli import log
from level_replicator.cli import main as cli
from tests.harness.waiting import wait_until

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main([str(each) for each in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(params=["running", "stopped"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The directory of a node."""
    folder = tmp_path / "node"
    with ExitStack() as stack:
        replica = stack.enter_context(lrep.open(folder, {"port": 0}))
        if request.param == "stopped":
            replica.close()
        yield folder


def test_put_get_scan_delete(run: Run, where: Path) -> None:
    assert run("put", where, "key", "value") == (0, "", "")
    assert run("put", where, "kez", "other", "--sync") == (0, "", "")
    assert run("get", where, "key") == (0, "value", "")
    assert run("scan", where) == (0, "key\tvalue\nkez\tother\n", "")
    assert run("scan", where, "--reverse", "--limit", "1", "--keys") == (0, "kez\n", "")
    assert run("scan", where, "--start", "kez", "--json")[1] == '{"key": "kez", "value": "other"}\n'
    assert run("scan", where, "--prefix", "key", "--keys", "--json")[1] == '{"key": "key"}\n'
    assert run("delete", where, "key", "nothing") == (0, "", "")
    code, out, err = run("get", where, "key")
    assert (code, out) == (3, "")
    assert err == "level-replicator get: there is no key key\n"
    assert run("get", where, b"\xff\n".decode("utf-8", "surrogateescape"))[2].endswith("no key \\xff\\n\n")


def test_a_key_as_scan_showed_it_gets_a_hint(run: Run, where: Path) -> None:
    run("put", where, "00ff", "76", "-e", "hex")
    shown = run("scan", where, "--keys")[1].strip()
    code, _, err = run("get", where, shown)
    assert code == 3
    assert "give -e hex for binary keys" in err


def test_what_is_not_text(run: Run, where: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = bytes(range(256))
    run("put", where, "00ff", blob.hex(), "--encoding", "hex")
    assert run("get", where, "AP8=", "-e", "base64")[1].strip() == base64.b64encode(blob).decode()
    assert run("get", where, "00ff", "-e", "hex", "-o", tmp_path / "out") == (0, "", "")
    assert (tmp_path / "out").read_bytes() == blob
    run("put", where, "file", "-i", tmp_path / "out")
    assert run("get", where, "file", "--json")[1] == (
        json.dumps({"key": "file", "value_base64": base64.b64encode(blob).decode()}) + "\n"
    )
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\0piped\n")))
    run("put", where, "piped", "-")
    out = run("scan", where)[1].splitlines()
    assert out[0].startswith("\\x00\\xff\t")
    assert out[2] == "piped\t\\x00piped\\n"
    for wrong in (("get", where, "xyz", "-e", "hex"), ("get", where, "?", "-e", "base64")):
        code, _, err = run(*wrong)
        assert code == 2
        assert "is not" in err


def test_status_log_changes_truncate(run: Run, where: Path, tmp_path: Path) -> None:
    for number in range(3):
        run("put", where, f"key {number}", "v" * 100)
    run("delete", where, "key 1")
    code, out, _ = run("status", where)
    assert code == 0
    assert "keys        2" in out
    assert "peers       none" in out
    assert json.loads(run("status", where, "--json")[1])["keys"] == 2
    lines = run("log", where, "-n", "2")[1].splitlines()
    assert "delete key 1" in lines[0]
    assert "put    key 2 = vvv" in lines[1]
    assert lines[1].endswith("…")
    told = [json.loads(line) for line in run("log", where, "--json", "--count", "0")[1].splitlines()]
    assert [entry["key"] for entry in told] == ["key 1", "key 2", "key 0"]
    assert [entry["value"] for entry in told] == [None, "v" * 100, "v" * 100]
    assert len(run("log", where, "--prefix", "key 0")[1].splitlines()) == 1
    cursor = tmp_path / "cursor"
    first = run("changes", where, "--cursor-file", cursor, "--json")[1].splitlines()
    assert [json.loads(line)["key"] for line in first] == ["key 0", "key 2", "key 1"]
    assert run("changes", where, "--cursor-file", cursor) == (0, "", "")
    run("put", where, "new", "1")
    assert "put    new = 1" in run("changes", where, "--cursor-file", cursor)[1]
    code, _, err = run("changes", where, "--since", cursor.read_text().strip())
    assert (code, err) == (0, f"cursor: {cursor.read_text()}")
    assert run("truncate", where) == (0, "removed 4 entries from the log\n", "")
    assert run("truncate", where, "--json", "--max-bytes", "1000")[1] == '{"entries": 0}\n'
    assert run("log", where)[1] == ""


@pytest.mark.parametrize("options", [[], ["--follow"]])
def test_what_was_not_shown_is_not_noted_as_read(
    run: Run, where: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """Ctrl-C between getting a change and showing it."""
    run("put", where, "a", "1")
    run("put", where, "b", "2")
    cursor = tmp_path / "cursor"
    show = log._show

    def interrupted(item: lrep.Change, arguments: object) -> None:
        if item.key == b"b":
            raise KeyboardInterrupt
        show(item, arguments)

    with monkeypatch.context() as patch:
        patch.setattr(log, "_show", interrupted)
        assert run("changes", where, "--cursor-file", cursor, *options)[0] == (0 if options else 130)
    again = run("changes", where, "--cursor-file", cursor)[1]
    assert "put    b = 2" in again
    assert ("put    a = 1" in again) == (not options)


def test_verify_and_backup_and_restore(run: Run, where: Path, tmp_path: Path) -> None:
    run("put", where, "key", "value")
    assert run("verify", where)[0] == 0
    code, out, _ = run("backup", where, tmp_path / "copy")
    assert (code, out) == (0, f"1 key copied to {tmp_path / 'copy'}\n")
    run("put", where, "later", "value")
    code, out, _ = run("restore", tmp_path / "copy", tmp_path / "restored")
    assert code == 0
    assert out.startswith("1 key restored")
    with lrep.open(tmp_path / "restored", {}) as replica, lrep.open(tmp_path / "copy", {}) as copy:
        assert dict(replica) == dict(copy) == {b"key": b"value"}
        assert replica.origin != copy.origin


def test_restore_over_what_is_there(run: Run, tmp_path: Path) -> None:
    with lrep.open(tmp_path / "node", {}) as replica:
        replica.put(b"key", b"value")
        replica.backup(tmp_path / "copy")
        replica.put(b"key", b"later")
        code, _, err = run("restore", tmp_path / "copy", tmp_path / "node")
        assert code == 2
        assert "--replace" in err
        code, _, err = run("restore", tmp_path / "copy", tmp_path / "node", "--replace")
        assert code == 1
        assert "in use" in err
        assert replica.get(b"key") == b"later"
    assert run("restore", tmp_path / "copy", tmp_path / "node", "--replace")[0] == 0
    with lrep.open(tmp_path / "node", {}) as replica:
        assert replica.get(b"key") == b"value"
    with lrep.open(tmp_path / "node.before-restore", {}) as replica:
        assert replica.get(b"key") == b"later"
    code, _, err = run("restore", tmp_path / "copy", tmp_path / "node", "--replace")
    assert code == 2
    assert "before-restore" in err
    assert run("restore", tmp_path, tmp_path / "x")[0] == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("node.") and path.is_dir()] == [
        "node.before-restore"
    ]


def test_a_live_directory_is_not_restored(run: Run, tmp_path: Path) -> None:
    with lrep.open(tmp_path / "node", {}) as replica:
        replica.put(b"key", b"value")
        code, out, err = run("restore", tmp_path / "node", tmp_path / "new")
        assert (code, out) == (1, "")
        assert "level-replicator backup" in err
    assert not (tmp_path / "new").exists()


def test_a_leveldb_with_its_replication_set_elsewhere(run: Run, tmp_path: Path) -> None:
    with lrep.open(tmp_path / "node", {}) as replica:
        replica.put(b"key", b"value")
    db, rs = tmp_path / "node" / "db", tmp_path / "node" / "rs"
    code, _, err = run("status", db)
    assert code == 2
    assert "--rs" in err
    assert run("status", db, "--rs", rs)[0] == 0
    assert run("get", db, "key", "--rs", rs) == (0, "value", "")
    assert run("put", db, "other", "value", "--rs", rs) == (0, "", "")
    assert run("scan", db, "--rs", rs, "--keys")[1] == "key\nother\n"
    assert "put    other = value" in run("log", db, "--rs", rs)[1]


def test_new_origin(run: Run, tmp_path: Path) -> None:
    with lrep.open(tmp_path / "node", {"socket": False}) as replica:
        replica.put(b"key", b"value")
        before = replica.origin
        assert run("new-origin", tmp_path / "node")[0] == 1
    code, out, _ = run("new-origin", tmp_path / "node", "--json")
    assert code == 0
    with lrep.open(tmp_path / "node", {}) as replica:
        assert replica.origin == json.loads(out)["origin"] != before
        assert replica.get(b"key") == b"value"
    assert run("new-origin", tmp_path / "nowhere")[0] == 2


def test_the_counts_agree(run: Run, where: Path) -> None:
    for key in ("a", "b"):
        run("put", where, key, "value")
    run("delete", where, "a")
    assert run("verify", where)[1] == "1 key and 1 tombstone checked\nsound\n"
    assert "log         2 entries, still in the write buffer" in run("status", where)[1]


def test_top_in_a_pipe_shows_whole_addresses(run: Run, tmp_path: Path) -> None:
    name = "a-host-with-quite-a-long-name.of-a-data-centre.example:8000"
    with lrep.open(tmp_path / "node", {"servers": {name: {}}, "insecure": True}):
        assert name in run("top", tmp_path / "node", "--times", "1")[1]


def test_top(run: Run, where: Path) -> None:
    code, out, _ = run("top", where, "--every", "0.01", "--times", "3")
    assert code == 0
    assert "log: 0 entries" in out


def test_a_stopped_node_is_shown_as_stopped(run: Run, where: Path) -> None:
    stopped = not (where / "lrep.sock").exists()
    notice = "the node is not running; this is its data on disk\n"
    assert run("status", where)[1].startswith(notice) == stopped
    assert run("top", where, "--times", "1")[1].startswith(notice) == stopped
    assert json.loads(run("status", where, "--json")[1])["running"] != stopped


def test_top_ends_well_by_ctrl_c(run: Run, where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("level_replicator.cli.status.time.sleep", interrupt)
    code, out, err = run("top", where)
    assert (code, err) == (0, "")
    assert "log: 0 entries" in out


def test_verify_with_a_peer(run: Run, tmp_path: Path) -> None:
    with (
        lrep.open(tmp_path / "a", {"port": 0}) as a,
        lrep.open(tmp_path / "b", {"servers": {"{}:{}".format(*a.address or ()): {"name": "a"}}}) as b,
    ):
        a.put(b"key", b"value")
        assert b.wait_synced(30)
        assert run("verify", tmp_path / "b", "--peer", "a") == (0, "equal\n", "")
        found = json.loads(run("verify", tmp_path / "b", "--peer", "a", "--json")[1])
        assert found == {"equal": True, "only_here": 0, "only_there": 0, "differing": 0, "examples": []}
        assert run("verify", tmp_path / "b", "--peer", "c")[0] in (1, 2)
        assert run("verify", tmp_path / "b", "--peer", "a", "--repair")[0] == 2


@pytest.mark.parametrize(
    ("status", "wrong"),
    [
        (2, ("status", "/nowhere/at all")),
        (1, ("status", "127.0.0.1:1")),
        (2, ("status", "10.9.8.7:8000")),
        (2, ("status", "host:port")),
        (2, ("get", ".", "key")),
        (2, ("put", ".", "key")),
        (2, ("put", ".", "key", "value", "-i", "file")),
        (2, ("put", ".", "key", "-i", "/no such file")),
        (2, ("status", "127.0.0.1:1", "--rs", "rs")),
        (2, ("scan", ".", "--prefix", "a", "--start", "b")),
        (2, ("scan", ".", "--limit", "-1")),
        (2, ("log", ".", "--count", "-1")),
        (2, ("top", ".", "--every", "0")),
        (2, ("changes", ".", "--since", "nonsense", "--now")),
        (2, ("changes", ".", "--cursor-file", ".")),
    ],
)
def test_mistakes_end_in_a_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, wrong: tuple[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*wrong)
    assert (code, out) == (status, "")
    assert err.startswith(f"level-replicator {wrong[0]}: ")
    assert len(err.splitlines()) == 1


def test_at_a_node_with_keys(run: Run, tmp_path: Path) -> None:
    pems = tmp_path / "pems.json"
    run("keygen", pems)
    print_ = run("fingerprint", pems)[1].strip()
    with lrep.open(tmp_path / "node", {"port": 0, "pems": pems, "trusted": [print_]}) as replica:
        address = "{}:{}".format(*replica.address or ())
        assert run("put", address, "key", "value", "--pems", pems, "--fingerprint", print_) == (0, "", "")
        assert replica.get(b"key") == b"value"
        assert run("get", address, "key")[0] == 1
    assert "certificate" not in run("status", address)[1]


# -- doctor


def doctor(run: Run, *nodes: object) -> tuple[int, str]:
    code, out, err = run("doctor", *nodes)
    assert err == ""
    return code, out


def test_two_that_are_well(run: Run, tmp_path: Path) -> None:
    with (
        lrep.open(tmp_path / "a", {"port": 0}) as a,
        lrep.open(tmp_path / "b", {"port": 0, "servers": {"{}:{}".format(*a.address or ()): {}}}) as b,
    ):
        a.put(b"key", b"value")
        assert b.wait_synced(30)
        wait_until(lambda: a.status()["vector"] == b.status()["vector"], "level")
        code, out = doctor(run, tmp_path / "a", tmp_path / "b")
        assert code == 0
        assert "they are in sync" in out
        assert "wrong" not in out
        assert doctor(run, tmp_path / "a", "{}:{}".format(*a.address or ()))[1].count("name the same node") == 1


def test_the_same_data_without_a_connection(run: Run, tmp_path: Path) -> None:
    with lrep.open(tmp_path / "a", {"port": 0}), lrep.open(tmp_path / "b", {"port": 0}):
        code, out = doctor(run, tmp_path / "a", tmp_path / "b")
    assert code == 0
    assert "they are in sync" not in out
    assert out.splitlines()[-2:] == ["note  they hold the same data, but are not connected", "no problems found"]
    assert out.count("add the address of one node to `servers` of the other") == out.count("→") == 1
    code, out = doctor(run, tmp_path / "a", tmp_path / "b")
    assert code == 1
    assert out.splitlines()[-1] == "2 problems found"
    assert out.count("start it") == 1


def test_a_node_with_keys_names_the_options(run: Run, tmp_path: Path) -> None:
    pems = lrep.generate_pems()
    with lrep.open(tmp_path / "a", {"port": 0, "pems": pems, "trusted": [lrep.fingerprint(pems)]}) as a:
        address = "{}:{}".format(*a.address or ())
        code, out = doctor(run, address)
        assert code == 1
        assert f"→ give --pems FILE and --fingerprint {address}=SHA256\n" in out
        assert "start it" not in out
        code, _, err = run("status", address)
        assert code == 1
        assert "give --pems and --fingerprint" in err


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["status", "127.0.0.1:99999"], "the port of '127.0.0.1:99999' is out of range: expected 1 to 65535"),
        (["status", ":8000"], "':8000' is not host:port: expected "),
        (["backup", "127.0.0.1:8000", "x"], "127.0.0.1:8000: a node writes files only for commands on its own machine"),
    ],
)
def test_an_address_that_cannot_be_used(run: Run, command: list[str], says: str) -> None:
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    assert err.startswith(f"level-replicator {command[0]}: {says}")


@pytest.mark.parametrize("command", ["status", "serve", "get"])
def test_a_file_is_not_a_node(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("afile").write_bytes(b"")
    code, out, err = run(command, "afile", *(["key"] if command == "get" else []))
    assert (code, out) == (2, "")
    assert err == f"level-replicator {command}: afile is a file: expected a directory\n"


def test_one_that_does_not_run(run: Run, tmp_path: Path) -> None:
    with lrep.open(tmp_path / "a", {"servers": {"127.0.0.1:1": {"name": "the other"}}}) as a:
        wait_until(lambda: a.status()["peers"][0]["last_error"] is not None, "a failure to connect")
        assert a.status()["peers"][0]["last_error_code"] == "unreachable"
        code, out = doctor(run, tmp_path / "a", tmp_path / "b")
        assert code == 1
        assert "start it" in out
        assert "the other" in out
        assert "it cannot be reached from this machine either" in out
    with lrep.open(tmp_path / "a", {}):
        assert "no peers" in doctor(run, tmp_path / "a")[1]


def test_keys_that_do_not_fit(run: Run, tmp_path: Path) -> None:
    pems = [lrep.generate_pems(), lrep.generate_pems()]
    prints = [lrep.fingerprint(each) for each in pems]
    with lrep.open(tmp_path / "a", {"port": 0, "pems": pems[0], "trusted": [prints[0]]}) as a:
        server = {"{}:{}".format(*a.address or ()): {"fingerprint": prints[0]}}
        with lrep.open(tmp_path / "b", {"servers": server, "pems": pems[1]}) as b:
            wait_until(lambda: b.status()["peers"][0]["state"] == "refused", "a refusal")
            code, out = doctor(run, tmp_path / "a", tmp_path / "b")
            assert code == 1
            assert f"add the fingerprint of {tmp_path / 'b'} to `trusted` of the peer" in out
            assert prints[1] in out
        server = {"{}:{}".format(*a.address or ()): {}}
        with lrep.open(tmp_path / "e", {"servers": server, "pems": pems[1], "trusted": [prints[1]]}) as e:
            wait_until(lambda: e.status()["peers"][0]["state"] == "refused", "a refusal")
            out = doctor(run, tmp_path / "e")[1]
            assert f"add its fingerprint to `trusted` of {tmp_path / 'e'}: {prints[0]}" in out
            assert prints[1] not in out
        server = {"{}:{}".format(*a.address or ()): {"fingerprint": prints[1]}}
        with lrep.open(tmp_path / "f", {"servers": server, "pems": pems[1]}) as f:
            wait_until(lambda: f.status()["peers"][0]["state"] == "refused", "a refusal")
            assert f"it shows {prints[0]}" in doctor(run, tmp_path / "f")[1]
        with lrep.open(tmp_path / "c", {}):
            assert "has keys, the other has none" in doctor(run, tmp_path / "a", tmp_path / "c")[1]
        with lrep.open(tmp_path / "d", {"servers": {"{}:{}".format(*a.address or ()): {}}}) as d:
            wait_until(lambda: "pems" in (d.status()["peers"][0]["last_error"] or ""), "a failure")
            code, out = doctor(run, tmp_path / "d")
            assert code == 1
            assert "set `pems` on both, or on neither" in out
            assert "firewall" not in out


def test_two_nodes_with_keys_have_a_fingerprint_each(run: Run, tmp_path: Path) -> None:
    pems = [tmp_path / "0.json", tmp_path / "1.json"]
    for file in pems:
        run("keygen", file)
    prints = [lrep.fingerprint(file) for file in pems]
    with (
        lrep.open(tmp_path / "a", {"port": 0, "pems": pems[0], "trusted": prints}) as a,
        lrep.open(tmp_path / "b", {"port": 0, "pems": pems[1], "trusted": prints}) as b,
    ):
        nodes = ["{}:{}".format(*each.address or ()) for each in (a, b)]
        named = [f"{node}={print_}" for node, print_ in zip(nodes, prints, strict=True)]
        for given in (prints, named):
            options = ["--pems", pems[0], "--fingerprint", given[0], "--fingerprint", given[1]]
            code, out = doctor(run, *nodes, *options)
            assert code == 0, out
        swapped = [f"{nodes[0]}={prints[1]}", f"{nodes[1]}={prints[0]}"]
        options = ["--pems", pems[0], "--fingerprint", swapped[0], "--fingerprint", swapped[1]]
        assert doctor(run, *nodes, *options)[0] == 1
        code, _, err = run("doctor", *nodes, "--pems", pems[0], "--fingerprint", f"other={prints[0]}")
        assert code == 2
        assert "other is not one of the nodes" in err


def test_clocks_apart(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("level_replicator.install")
    now = module._wall_ms
    monkeypatch.setattr(module, "_wall_ms", lambda: now() + 3_600_000)
    with lrep.open(tmp_path / "a", {"port": 0}) as a:
        monkeypatch.undo()
        with lrep.open(tmp_path / "b", {"servers": {"{}:{}".format(*a.address or ()): {}}}) as b:
            a.put(b"key", b"value")
            wait_until(lambda: b.status()["peers"][0]["state"] == "quarantined", "the quarantine")
            code, out = doctor(run, tmp_path / "a", tmp_path / "b")
            assert code == 1
            assert "3600" in out or "3599" in out
            assert "set the clocks" in out
            assert "compare the clocks" in out


def test_a_peer_of_which_nothing_comes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot give a value, which is damaged on its disk; then it can."""
    monkeypatch.setattr("level_replicator.replication.stall_detector.STALL_MS", 200)
    with lrep.open(tmp_path / "a", {}) as a:
        a.put(b"key", b"value")
        a.put(b"other", b"value")
        a.truncate()
    with closing(plyvel.DB(str(tmp_path / "a" / "db"))) as database:
        database.put(b"key", b"damaged")
    with lrep.open(tmp_path / "a", {"port": 0, "heartbeat": 1}) as a:
        config: dict[str, Any] = {"servers": {"{}:{}".format(*a.address or ()): {}}, "heartbeat": 1, "metrics": 0}
        with lrep.open(tmp_path / "b", config) as b:
            # the second attempt still counts as progress, later ones change nothing
            wait_until(lambda: b.status()["peers"][0]["stalled"] and b.status()["peers"][0]["waiting_s"] > 2, "a stall")
            assert b.status()["bulk_load_incomplete"]
            reason = "the peer could not send damaged entries (run verify with repair on the peer)"
            # between two retries; it says something else while one is under way
            wait_until(lambda: reason in run("status", tmp_path / "b")[1], "the reason")
            out = run("status", tmp_path / "b")[1]
            assert "bulk load   incomplete" in out
            assert "  waits, for " in out
            code, out = doctor(run, tmp_path / "b")
            assert code == 1
            assert "no change of it was applied for" in out
            assert "a bulk load of" in out
            assert b.metrics_address is not None
            with urllib.request.urlopen("http://{}:{}/metrics".format(*b.metrics_address), timeout=30) as answer:
                metrics = answer.read().decode()
            assert 'level_replicator_peer_stalled{peer="127.0.0.1' in metrics
            assert re.search(r"^level_replicator_peer_stalled\{.*\} 1\.0$", metrics, re.MULTILINE)
            assert "level_replicator_bulk_load_incomplete 1.0" in metrics
            assert a.verify(repair=True).lost
            assert a.verify(repair=True).given_up
            wait_until(lambda: b.get(b"key") is not None and not b.status()["peers"][0]["stalled"], "the end of it")
            wait_until(lambda: b.status()["peers"][0]["waiting_for"] is None, "an end of waiting")
            assert b.status()["peers"][0]["waiting_s"] == 0
            assert not b.status()["bulk_load_incomplete"]
            assert "waits" not in run("status", tmp_path / "b")[1]


def test_findings_for_machines(run: Run, tmp_path: Path) -> None:
    with lrep.open(tmp_path / "a", {}):
        found = json.loads(run("doctor", tmp_path / "a", "--json")[1])
        assert [each["grade"] for each in found] == ["ok", "note"]


# -- every command


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        cli.main(["--version"])
    assert (exited.value.code, capsys.readouterr().out) == (0, f"level-replicator {lrep.__version__}\n")


@pytest.mark.parametrize("command", [["scan"], ["log", "-n", "0"], ["changes"], ["scan", "--json"]])
def test_a_reader_that_has_seen_enough(tmp_path: Path, command: list[str]) -> None:
    """`| head -1`, of more than a pipe holds."""
    with lrep.open(tmp_path / "node", {}) as replica, replica.write_batch() as batch:
        for number in range(2_000):
            batch.put(b"%06d" % number, bytes(100))
    name, *options = command
    process = subprocess.Popen(
        [sys.executable, "-m", "level_replicator.cli.main", name, str(tmp_path / "node"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), errors) == (141, b"")


def test_what_nobody_reads_is_not_noted_as_read(run: Run, tmp_path: Path) -> None:
    """Also when all of it has room in the buffer of standard output."""
    with lrep.open(tmp_path / "node", {}) as replica:
        replica.put(b"key", b"value")
    reading, writing = os.pipe()
    os.close(reading)
    cursor = tmp_path / "cursor"
    command = [sys.executable, "-m", "level_replicator.cli.main", "changes"]
    done = subprocess.run(
        [*command, str(tmp_path / "node"), "--cursor-file", str(cursor)],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
    )
    assert (done.returncode, done.stderr) == (141, b"")
    assert not cursor.exists()
    command[-1] = "status"
    done = subprocess.run(
        [*command, str(tmp_path / "node")],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_every_example_works(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `--help` shows it, but in a directory of this test."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").mkdir()
    plain = plyvel.DB(str(tmp_path / "notes" / "db"), create_if_missing=True)
    plain.put(b"key", b"value")
    plain.close()
    examples = {command.NAME: command.EXAMPLE for command in cli.COMMANDS}
    order = [*("put", "keygen", "backup"), *(name for name in examples if name not in ("put", "keygen", "backup"))]
    with lrep.open(tmp_path / "lrep-0", {"port": 0}), lrep.open(tmp_path / "lrep-1", {"port": 0}):
        for name in order:
            if name in ("serve", "demo", "completion"):
                continue  # tests/integration/cli/test_serve.py, tests/unit/cli/demo, tests/unit/cli/test_main.py
            program, *arguments = shlex.split(examples[name].replace("/tmp/", f"{tmp_path}/"))
            assert program == "level-replicator"
            if name == "get":
                run("put", tmp_path / "lrep-0", "some-key", "some-value")
            code, _, err = run(*arguments)
            assert code == 0, (name, err)


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.NAME)
def test_help(command: cli.Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        cli.main([command.NAME, "--help"])
    assert exited.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert " ".join(command.EXAMPLE.split()) in out
    assert sys.argv is not None
