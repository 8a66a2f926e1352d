"""What a configuration may say, and what is said about what it may not."""

from pathlib import Path
from typing import Any

import pytest

import level_replicator as lrep


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"prot": 8000}, "unknown key 'prot'"),
        ({"port": -1}, "port: -1"),
        ({"port": 65_536}, "port: 65536"),
        ({"port": "8000"}, "port: '8000'"),
        ({"port": True}, "port: True"),
        ({"servers": ["127.0.0.1:1"]}, "servers"),
        ({"servers": {"127.0.0.1": {}}}, "is not host:port"),
        ({"servers": {"127.0.0.1:x": {}}}, "is not host:port"),
        ({"servers": {"127.0.0.1:0": {}}}, "no port"),
        ({"servers": {"127.0.0.1:99999": {}}}, "no port"),
        ({"servers": {":8000": {}}}, "is not host:port"),
        ({"servers": {"::1:8000": {}}}, "is not host:port"),
        ({"servers": {8000: {}}}, "is not host:port"),
        ({"servers": {"127.0.0.1:8001": None}}, "a dict is wanted"),
        ({"servers": {"127.0.0.1:8001": {"pin": "x"}}}, "unknown metadata 'pin'"),
        ({"servers": {"127.0.0.1:8001": {"name": 1}}}, "a str is wanted"),
        ({"servers": {"127.0.0.1:8000": {}}, "port": 8000}, "is this node itself"),
        ({"servers": {"localhost:8000": {}}, "port": 8000}, "is this node itself"),
        ({"servers": {"10.0.0.2:8000": {}}}, "plain TCP is for loopback"),
        ({"host": "0.0.0.0", "port": 8000}, "plain TCP is for loopback"),
        ({"host": "", "port": 8000}, "host: empty"),
        ({"sync": 1}, "sync: 1"),
        ({"heartbeat": 0}, "heartbeat: 0"),
        ({"max_clock_drift": float("nan")}, "max_clock_drift: nan"),
        ({"log_max_bytes": -1}, "log_max_bytes: -1"),
        ({"log_max_bytes": 1.5}, "log_max_bytes: 1.5"),
        ({"log_max_age": 0}, "log_max_age: 0"),
        ({"log_max_age": "1 day"}, "log_max_age: '1 day'"),
        ({"tombstone_ttl": -1}, "tombstone_ttl: -1"),
        ({"tombstone_ttl": float("nan")}, "tombstone_ttl: nan"),
        ({"on_peer": 1}, "on_peer"),
        ("port=8000", "a dict or a Config is wanted"),
    ],
)
def test_what_cannot_work_is_told(tmp_path: Path, config: Any, says: str) -> None:
    with pytest.raises(lrep.ConfigError, match=says):
        lrep.open(tmp_path / "x", config)
    assert not (tmp_path / "x").exists(), "nothing is made for a configuration that cannot work"


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
    path.write_text("prot = 1")
    with pytest.raises(lrep.ConfigError, match="unknown key"):
        lrep.Config.from_toml(path)
    with pytest.raises(lrep.ConfigError, match="No such file"):
        lrep.Config.from_toml(tmp_path / "missing.toml")
