"""The configuration: which values it takes, and the messages for those that it refuses."""

import dataclasses
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import level_replicator as lrep

REFUSED: list[tuple[Any, str]] = [
    ({"prot": 8000}, "unknown key 'prot': did you mean 'port'?"),
    ({"xyz": 1}, "unknown key 'xyz': expected one of clients, heartbeat, host, identify,"),
    ({8000: 1}, "unknown key 8000: expected one of"),
    ({"port": -1}, "port: -1 (int) is not a port: expected an integer from 0 to 65535, or None to only dial out"),
    ({"port": 65_536}, "port: 65536 (int) is not a port"),
    ({"port": "abc"}, "port: 'abc' (str) is not a port: expected an integer from 0 to 65535, or None to only dial out"),
    ({"port": True}, "port: True (bool) is not a port"),
    ({"port": 8000.0}, "port: 8000.0 (float) is not a port"),
    ({"servers": ["127.0.0.1:1"]}, "servers: ['127.0.0.1:1'] (list) is not a dict of servers: expected addresses and"),
    ({"servers": {"127.0.0.1": {}}}, "servers: '127.0.0.1' is not host:port: expected "),
    ({"servers": {"127.0.0.1:x": {}}}, "is not host:port"),
    ({"servers": {"127.0.0.1:0": {}}}, "servers: the port of '127.0.0.1:0' is out of range: expected 1 to 65535"),
    ({"servers": {"127.0.0.1:99999": {}}}, "out of range"),
    ({"servers": {":8000": {}}}, "is not host:port"),
    ({"servers": {"::1:8000": {}}}, "is not host:port"),
    ({"servers": {8000: {}}}, "is not host:port"),
    ({"servers": {"127.0.0.1:8001": None}}, "the metadata of 127.0.0.1:8001 is of type NoneType: expected a dict"),
    ({"servers": {"127.0.0.1:8001": {"nmae": "x"}}}, "has unknown metadata 'nmae': did you mean 'name'?"),
    ({"servers": {"127.0.0.1:8001": {"pin": "x"}}}, "unknown metadata 'pin': expected one of fingerprint, name, read_"),
    (
        {"servers": {"127.0.0.1:8001": {"name": 1}}},
        "servers: name of 127.0.0.1:8001: 1 (int) is not a name: expected a",
    ),
    ({"servers": {"127.0.0.1:8001": {"read_only": 1}}}, "1 (int) is not a bool: expected True or False"),
    ({"servers": {"127.0.0.1:8001": {"fingerprint": []}}}, "fingerprint of 127.0.0.1:8001 is an empty list"),
    ({"servers": {"127.0.0.1:8001": {"fingerprint": 7}}}, "this value (int, not shown: it may be a key) is not a fing"),
    ({"servers": {"127.0.0.1:8000": {}}, "port": 8000}, "is this node itself"),
    ({"servers": {"localhost:8000": {}}, "port": 8000}, "is this node itself"),
    ({"servers": {"[::1]:8000": {}}, "port": 8000, "host": "localhost"}, "is this node itself"),
    ({"servers": {"127.0.1.2:8000": {}}, "port": 8000, "host": "127.0.1.2"}, "is this node itself"),
    ({"servers": {"127.0.1.2:8000": {}}, "port": 8000, "host": "0.0.0.0", "insecure": True}, "is this node itself"),
    ({"servers": {"10.0.0.2:8000": {}}}, "plain TCP is for loopback"),
    ({"host": "0.0.0.0", "port": 8000}, "plain TCP is for loopback"),
    ({"host": ""}, "host: '' (str) is not a host: expected a host name or an IP address"),
    ({"host": b"::1"}, "host: b'::1' (bytes) is not a host"),
    ({"sync": 1}, "sync: 1 (int) is not a bool: expected True or False"),
    ({"heartbeat": 0}, "heartbeat: 0 (int) is not a number of seconds: expected a number from 0.05 to 3600"),
    ({"heartbeat": True}, "heartbeat: True (bool) is not a number of seconds"),
    ({"max_clock_drift": float("nan")}, "max_clock_drift: nan (float) is not a number of seconds"),
    ({"max_clock_drift": float("inf")}, "max_clock_drift: inf (float) is not a number of seconds"),
    ({"log_max_bytes": -1}, "log_max_bytes: -1 (int) is not a number of bytes: expected an integer from 0, or None"),
    ({"log_max_bytes": 1.5}, "log_max_bytes: 1.5 (float)"),
    ({"log_max_bytes": "1XB"}, "log_max_bytes: '1XB' is not a size: expected bytes, or a number with B, kB, MB"),
    ({"log_max_age": 0}, "log_max_age: 0 (int)"),
    ({"log_max_age": "1 moon"}, "log_max_age: '1 moon' is not a duration: expected seconds, or a number with ms"),
    ({"tombstone_ttl": -1}, "tombstone_ttl: -1 (int)"),
    ({"tombstone_ttl": float("nan")}, "tombstone_ttl: nan (float)"),
    ({"clients": "all"}, "clients: 'all' (str) is not an access right: expected one of read-write, read-only, none"),
    ({"clients": "none\n"}, "clients: 'none\\n' (str)"),
    (
        {"socket": True},
        "socket: True (bool) is not the path of a Unix socket: expected a path, False for no socket, or",
    ),
    ({"metrics": True}, "metrics: True (bool) is not an address"),
    ({"metrics": 70_000}, "metrics: 70000 (int) is not an address"),
    ({"metrics": "9100"}, "metrics: '9100' is not host:port"),
    ({"on_peer": 1}, "on_peer: 1 (int) is not a function: expected something that can be called, or None"),
    ({"identify": "yes"}, "identify: 'yes' (str) is not a function"),
    (
        {"pems": 1},
        "pems: this value (int, not shown: it may be a key) is not a key pair: expected a dict with `private`",
    ),
    ({"trusted": 1}, "trusted: this value (int, not shown: it may be a key) is not a list of fingerprints"),
    ({"trusted": [1], "pems": {}}, "trusted: this value (list, not shown: it may be a key)"),
    ({"log_max_bytes": "9" * 400}, "log_max_bytes: '999"),
    ({"log_max_age": "9" * 400}, "log_max_age: '999"),
    ({"heartbeat": 16**5000}, "heartbeat: this value (int) is not a number of seconds"),
    ({"sync": "\udcff"}, "sync: '\\udcff' (str) is not a bool"),
    ({"servers": range(5)}, "servers: range(0, 5) (range) is not a dict of servers"),
    ({"heartbeat": Decimal("sNaN")}, "heartbeat: Decimal('sNaN') (Decimal) is not a number of seconds"),
    ("port=8000", "config: this is of type str: expected a Config, a dict or None"),
]


@pytest.mark.parametrize(("config", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_a_setting_that_cannot_work_is_refused(tmp_path: Path, config: Any, message: str) -> None:
    with pytest.raises(lrep.ConfigError) as raised:
        lrep.open(tmp_path / "x", config)
    assert message in str(raised.value)
    assert not (tmp_path / "x").exists(), "nothing is created for a configuration that cannot work"


def test_a_key_is_never_shown() -> None:
    for pems in (["SECRET"], b"SECRET", {1: "SECRET"}):
        with pytest.raises(lrep.ConfigError) as raised:
            lrep.Config(pems=pems)  # type: ignore[arg-type]
        assert "SECRET" not in str(raised.value)
    for text in ("-----BEGIN PRIVATE KEY-----\nSECRET", '{"private": "-----BEGIN PRIVATE KEY-----\\nSECRET"}'):
        with pytest.raises(lrep.ConfigError, match="path of a key file") as raised:
            lrep.install(None, None, {"pems": text, "trusted": []})  # type: ignore[arg-type]
        assert "SECRET" not in str(raised.value)
    assert "SECRET" not in repr(lrep.Config(pems={"private": "SECRET"}, trusted=[]))


def test_a_long_value_is_cut() -> None:
    with pytest.raises(lrep.ConfigError) as raised:
        lrep.Config(port="8" * 10_000)  # type: ignore[arg-type]
    assert len(str(raised.value)) < 300


class Seconds(float):
    """Like numpy.float64, a subclass of float."""


def test_values_are_kept_as_they_were_given(tmp_path: Path) -> None:
    config = lrep.Config(heartbeat=5, log_max_age=Seconds(60.0), socket=tmp_path / "socket", clients="read-only")
    assert (type(config.heartbeat), type(config.log_max_age)) == (int, Seconds)
    assert (config.socket, config.clients) == (tmp_path / "socket", "read-only")


def test_configs_are_compared_by_value_and_copied_with_replace() -> None:
    config = lrep.Config(port=0, servers={"127.0.0.1:8001": {"name": "other"}})
    assert config == lrep.Config.of({"port": 0, "servers": {"127.0.0.1:8001": {"name": "other"}}})
    assert dataclasses.replace(config, port=1) == lrep.Config(port=1, servers=config.servers)
    with pytest.raises(lrep.ConfigError, match="port: 'x'"):
        dataclasses.replace(config, port="x")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        lrep.Config({})  # type: ignore[misc]


def test_what_can_work_is_taken() -> None:
    servers = {"[::1]:8001": {}, "localhost:8002": {"name": "the other"}, "some.host.example:8003": {}}
    config = lrep.Config.of({"servers": servers, "port": 8000})
    assert config.port == 8000
    assert lrep.Config.of(config) is config
    assert lrep.Config.of(None).port is None
    assert lrep.Config(host="0.0.0.0", port=1, servers={"10.0.0.2:1": {}}, insecure=True).insecure


def test_space_is_bounded_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    bounds = ("log_max_bytes", "log_max_age", "tombstone_ttl")
    assert all(getattr(lrep.Config(), name) is not None for name in bounds)
    assert all(getattr(lrep.Config.of({name: None}), name) is None for name in bounds)
    path = tmp_path / "config.toml"
    path.write_text("".join(f"{name} = inf\n" for name in bounds))
    assert all(getattr(lrep.Config.from_toml(path), name) is None for name in bounds)


def test_a_config_is_frozen() -> None:
    config = lrep.Config(servers={"127.0.0.1:8001": {}})
    with pytest.raises(AttributeError):
        config.port = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.servers["127.0.0.1:8002"] = {}  # type: ignore[index]


def test_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('port = 8000\nsync = true\n[servers]\n"127.0.0.1:8001" = {}\n"127.0.0.1:8002" = {name = "b"}\n')
    config = lrep.Config.from_toml(path)
    assert (config.port, config.sync, list(config.servers)) == (8000, True, ["127.0.0.1:8001", "127.0.0.1:8002"])
    path.write_text("port = ")
    with pytest.raises(lrep.ConfigError, match="is not TOML"):
        lrep.Config.from_toml(path)
    for damaged in ("[" * 5_000, "a = " + "[" * 5_000, "port = " + "9" * 5_000, b"\xff"):
        path.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
        with pytest.raises(lrep.ConfigError, match="is not TOML"):
            lrep.Config.from_toml(path)
    path.write_text("prot = 1")
    with pytest.raises(lrep.ConfigError, match="unknown key"):
        lrep.Config.from_toml(path)
    with pytest.raises(lrep.ConfigError, match="No such file"):
        lrep.Config.from_toml(tmp_path / "missing.toml")


def test_hosts_of_loopback_with_the_same_port_are_different_nodes() -> None:
    others = {"127.0.1.2:8000": {}, "127.0.1.3:8000": {}, "localhost:8000": {}, "[::1]:8000": {}}
    config = lrep.Config(servers=others, host="127.0.1.1", port=8000)
    assert set(config.servers) == set(others)


def test_sizes_and_durations_may_have_units_in_a_dict_and_in_toml(tmp_path: Path) -> None:
    given: dict[str, Any] = {"log_max_bytes": "1MB", "log_max_age": "30d", "tombstone_ttl": "60 d", "heartbeat": "2s"}
    expected = lrep.Config(log_max_bytes=10**6, log_max_age=30 * 86_400.0, tombstone_ttl=60 * 86_400.0, heartbeat=2.0)
    assert lrep.Config.of(given) == expected
    file = tmp_path / "config.toml"
    file.write_text("".join(f'{name} = "{value}"\n' for name, value in given.items()))
    assert lrep.Config.from_toml(file) == expected
    with pytest.raises(
        lrep.ConfigError, match="log_max_age: '30 moons' is not a duration: expected seconds, or a number"
    ):
        lrep.Config.of({"log_max_age": "30 moons"})
