"""The monitoring port: metrics, health, and connections that misbehave."""

import json
import re
import socket
import struct
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import level_replicator as lrep
from level_replicator.core.limits import MAX_METRICS_CONNECTIONS
from tests.harness.ports import FreePorts
from tests.harness.waiting import wait_until

ROOT = Path(__file__).parents[3]


def ask(replica: lrep.Replica, path: str) -> tuple[int, str]:
    assert replica.metrics_address is not None
    try:
        with urllib.request.urlopen("http://{}:{}".format(*replica.metrics_address) + path, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def samples(replica: lrep.Replica) -> dict[tuple[str, ...], float]:
    code, text = ask(replica, "/metrics")
    assert code == 200
    return {
        (sample.name.removeprefix("level_replicator_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_a_pair_tells(tmp_path: Path) -> None:
    with lrep.open(tmp_path / "a", {"port": 0, "metrics": 0}) as a:
        server = "{}:{}".format(*a.address or ())
        with lrep.open(tmp_path / "b", {"servers": {server: {"name": "the first"}}, "metrics": 0}) as b:
            for number in range(10):
                a.put(b"%d" % number, b"of a")
            assert b.wait_synced(60)
            a.put(b"live", b"1")
            wait_until(lambda: b.get(b"live") == b"1", "a live change")
            wait_until(lambda: b.status()["peers"][0]["clock_ahead_s"] is not None, "a look at the clock of a")
            b.truncate()
            found = samples(b)
            assert found["keys",] == 11
            assert found["log_entries",] == 0
            assert found["failed",] == 0
            assert found["floor_timestamp_seconds",] == pytest.approx(a.status()["time_ms"] / 1000, abs=60)
            assert found["peer_state", "the first", "live"] == 1
            assert found["peer_state", "the first", "quarantined"] == 0
            assert found["peer_behind_entries", "the first"] == 0
            assert found["peer_lag_seconds", "the first"] == 0
            assert abs(found["peer_clock_ahead_seconds", "the first"]) < 60
            assert found["peer_received_entries_total", "the first"] >= 11
            assert found["peer_received_bytes_total", "the first"] > 100
            assert ask(b, "/healthz") == ask(b, "/readyz") == (200, "ok\n")
            assert ask(b, "/else")[0] == 404


def test_a_peer_that_is_away_lags(tmp_path: Path) -> None:
    """In entries, and in the age of the oldest that it lacks; one that has all lags by nothing, however long ago."""
    with lrep.open(tmp_path / "a", {"port": 0, "metrics": 0}) as a:
        server = "{}:{}".format(*a.address or ())
        with lrep.open(tmp_path / "b", {"servers": {server: {}}}) as b:
            a.put(b"key", b"1")
            assert b.wait_synced(60)
        wait_until(lambda: a.status()["peers"][0]["state"] == "gone", "its end")
        (peer,) = a.status()["peers"]
        assert (peer["behind"], peer["lag_s"]) == (0, 0.0)
        a.put(b"key", b"2")
        a.put(b"other", b"1")
        wait_until(lambda: a.status()["peers"][0]["lag_s"] > 0.02, "time to pass")
        assert a.status()["peers"][0]["behind"] == 2
        found = samples(a)
        (name,) = {labels[1] for labels in found if labels[0] == "peer_lag_seconds"}
        assert found["peer_lag_seconds", name] > 0.02
        assert found["peer_state", name, "gone"] == 1


def test_the_lag_of_a_peer_is_known_whoever_dialled_the_last_connection(tmp_path: Path, free_ports: FreePorts) -> None:
    """Two nodes that dial each other keep one of the two connections, so one of them was dialled by the peer."""
    ports = free_ports(2)
    with ExitStack() as stack:
        a, b = (
            stack.enter_context(
                lrep.open(tmp_path / str(me), {"port": ports[me], "servers": {f"127.0.0.1:{ports[1 - me]}": {}}})
            )
            for me in range(2)
        )
        a.put(b"key", b"1")
        assert a.wait_synced(60)
        assert b.wait_synced(60)
        for each in (a, b):
            wait_until(lambda each=each: each.status()["peers"][0]["state"] == "live", "a connection")
        visited = [bool(each._node.coordinator.visitors) for each in (a, b)]
        stays, leaves = (a, b) if visited[0] else (b, a)
        leaves.close()
        wait_until(lambda: stays.status()["peers"][0]["state"] == "waiting", "its end")
        stays.put(b"key", b"2")
        (peer,) = stays.status()["peers"]
        assert peer["behind"] == 1
        assert peer["lag_s"] is not None


def test_a_peer_that_dials_us_has_the_same_label_whenever_it_comes_back(tmp_path: Path) -> None:
    with lrep.open(tmp_path / "a", {"port": 0, "metrics": 0}) as a:
        server = "{}:{}".format(*a.address or ())
        for _ in range(2):
            with lrep.open(tmp_path / "b", {"servers": {server: {}}}) as b:
                assert b.wait_synced(60)
                wait_until(lambda: a.status()["peers"][0]["state"] == "live", "it to be live")
                found = samples(a)
                assert {labels[1] for labels in found if labels[0].startswith("peer_")} == {b.origin}
                assert found["peer_state", b.origin, "live"] == 1
            wait_until(lambda: a.status()["peers"][0]["state"] == "gone", "its end")


def test_conflicts_are_counted_whether_or_not_anybody_listens(tmp_path: Path, free_ports: FreePorts) -> None:
    (port,) = free_ports(1)
    with lrep.open(tmp_path / "a", {"port": port, "metrics": 0}) as a:
        with lrep.open(tmp_path / "b", {"metrics": 0}) as b:
            a.put(b"key", b"of a")
            b.put(b"key", b"of b")
            b.put(b"other", b"no conflict")
        with lrep.open(tmp_path / "b", {"servers": {f"127.0.0.1:{port}": {}}, "metrics": 0}) as b:
            assert b.wait_synced(60)
            wait_until(lambda: dict(a) == dict(b), "level")
            # by whoever had one of the two when the other came
            found = [samples(a)["conflicts_total",], b.status()["conflicts"]]
            assert found in ([1, 1], [0, 1], [1, 0])


def test_not_well(tmp_path: Path) -> None:
    with lrep.open(tmp_path / "a", {"metrics": 0}) as a:
        status = a.status()
        busy = {**status, "peers": [{"name": None, "address": "x:1", "dialled": True, "state": "reconciling"}]}
        server = a._metrics
        assert server is not None
        with mock.patch.object(server, "_status", return_value=status | {"failed": "the disk is full"}):
            assert ask(a, "/healthz") == (503, "no writes are taken: the disk is full\n")
        with mock.patch.object(server, "_status", return_value=busy):
            assert ask(a, "/healthz")[0] == 200
            assert ask(a, "/readyz") == (503, "catching up with x:1\n")
        with mock.patch.object(server, "_check_alive", mock.Mock(side_effect=TimeoutError)):
            assert ask(a, "/healthz") == (503, "the event loop does not answer\n")


def test_the_status_for_programs_and_for_people(tmp_path: Path) -> None:
    with lrep.open(tmp_path / "a", {"port": 0, "metrics": 0}) as a:
        assert a.metrics_address is not None
        url = "http://{}:{}/".format(*a.metrics_address)
        with urllib.request.urlopen(url + "status.json", timeout=30) as answer:
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.headers["Cache-Control"] == "no-store"
            assert "Access-Control-Allow-Origin" not in answer.headers
            shown = json.load(answer)
        now = a.status()
        assert shown.keys() == now.keys()
        assert (shown["origin"], shown["address"]) == (a.origin, now["address"])
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'sha256-")
            assert "unsafe" not in policy
            assert a.origin in answer.read().decode()
        assert "/status.json" in ask(a, "/else")[1]


def test_an_event_loop_that_stands_still_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("level_replicator.api.replica._ALIVE_WITHIN_S", 0.1)
    go_on = threading.Event()
    with lrep.open(tmp_path / "a", {"metrics": 0}) as a:
        a._node._loop.call_soon_threadsafe(go_on.wait)
        try:
            assert ask(a, "/healthz") == (503, "the event loop does not answer\n")
        finally:
            go_on.set()
        assert ask(a, "/healthz")[0] == 200


@pytest.mark.parametrize("wrong", [-1, 65_536, True, "nonsense", "host:", 1.5])
def test_places_that_cannot_be(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(lrep.ConfigError, match="metrics"):
        lrep.open(tmp_path / "a", {"metrics": wrong})
    assert not (tmp_path / "a").exists()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(lrep.ConfigError, match=f"metrics: cannot listen on 127.0.0.1:{port}"):
            lrep.open(tmp_path / "a", {"metrics": f"127.0.0.1:{port}"})
    with lrep.open(tmp_path / "a", {"metrics": f"127.0.0.1:{port}"}) as a:
        assert a.metrics_address == ("127.0.0.1", port)
        with pytest.raises(lrep.ConfigError, match="cannot listen"):
            lrep.open(tmp_path / "b", {"port": port, "metrics": 0})


def test_without_the_extra(tmp_path: Path) -> None:
    with (
        mock.patch.dict("sys.modules", {"prometheus_client": None}),
        pytest.raises(lrep.ConfigError, match=r"level-replicator\[metrics\]"),
    ):
        lrep.open(tmp_path / "a", {"metrics": 0})


def test_what_is_documented_is_what_there_is(tmp_path: Path) -> None:
    """Each metric in the table, and no other; and for each one an alert that fires on it, and on nothing else."""
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    table = page[page.index("| metric `level_replicator_…`") : page.index("## Clocks")]
    cells = [row.split("|")[1] for row in table.splitlines()[2:] if row.startswith("|")]
    named = {re.sub(r"\{.*", "", name) for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    (group,) = yaml.safe_load((ROOT / "packaging" / "alerts.yml").read_text("utf-8"))["groups"]
    alerts = group["rules"]
    assert all(alert["annotations"]["summary"] and alert["labels"]["severity"] for alert in alerts)
    assert len({alert["alert"] for alert in alerts}) == len(alerts)
    watched = {name for alert in alerts for name in re.findall(r"level_replicator_(\w+)", alert["expr"])}
    assert watched == named
    with (
        lrep.open(tmp_path / "a", {"port": 0, "metrics": 0}) as a,
        lrep.open(tmp_path / "b", {"servers": {"{}:{}".format(*a.address or ()): {}}}) as b,
    ):
        b.put(b"key", b"value")
        wait_until(lambda: a.get(b"key") is not None, "a change")
        b.put(b"key", b"live")
        wait_until(lambda: a.get(b"key") == b"live", "a live change")
        found = {labels[0] for labels in samples(a)}
    assert found <= named
    assert named - found <= {"peer_clock_ahead_seconds"}


def test_one_that_opens_connections_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who have waited longest make place: there are never many threads, and honest monitoring gets its answer."""
    monkeypatch.setattr("level_replicator.api.monitoring.server._Handler.timeout", 600)
    with lrep.open(tmp_path / "node", {"metrics": 0}) as replica, ExitStack() as stack:
        assert replica.metrics_address is not None
        before = threading.active_count()
        silent = [
            stack.enter_context(socket.create_connection(replica.metrics_address, 30))
            for _ in range(3 * MAX_METRICS_CONNECTIONS)
        ]
        for each in silent[: 2 * MAX_METRICS_CONNECTIONS]:
            assert each.recv(1) == b""
        assert ask(replica, "/healthz") == (200, "ok\n")
        wait_until(lambda: threading.active_count() <= before + MAX_METRICS_CONNECTIONS, lambda: threading.enumerate())


def test_a_connection_that_is_reset_leaves_no_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="level_replicator.metrics")
    with lrep.open(tmp_path / "node", {"metrics": 0}) as replica:
        assert replica.metrics_address is not None
        with socket.create_connection(replica.metrics_address, 30) as client:
            client.sendall(b"GET /healthz")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_until(lambda: "ended before its request" in caplog.text, "the log of the reset")
        assert ask(replica, "/healthz") == (200, "ok\n")
    assert "Traceback" not in capfd.readouterr().err
