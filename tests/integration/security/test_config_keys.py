"""Combinations of settings. One that could admit unknown peers by mistake is an error before anything is opened."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import level_replicator as lrep
from tests.integration.security.keys import pems, print_of

A, B = print_of("A", "B")
KEYS = {"pems": pems("A")}
THERE = "10.0.0.2:8000"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"trusted": [A]}, "trusted: without `pems`"),
        ({"identify": print}, "identify: without `pems`"),
        ({"servers": {"127.0.0.1:1": {"fingerprint": A}}}, "cannot be checked without `pems`"),
        ({"servers": {"127.0.0.1:1": {"read_only": True}}, "port": 0}, "cannot be known when it dials"),
        ({"servers": {THERE: {}}}, "plain TCP is for loopback"),
        ({"servers": {"[2001:db8::1]:80": {}}}, "plain TCP is for loopback"),
        ({"host": "::", "port": 0}, "plain TCP is for loopback"),
        ({**KEYS, "servers": {THERE: {}}}, "nothing tells whether"),
        ({**KEYS, "port": 0}, "nobody would be accepted"),
        ({**KEYS, "trusted": [A], "insecure": True}, "insecure: with `pems`"),
        ({**KEYS, "trusted": [A], "servers": {THERE: {"read_only": True}}}, "is to be read_only: give its"),
        ({**KEYS, "servers": {THERE: {"fingerprint": "x"}}}, "hexadecimal digits"),
        ({**KEYS, "servers": {THERE: {"fingerprint": []}}}, "is an empty list"),
        ({**KEYS, "servers": {THERE: {"fingerprint": 5}}}, "is not a fingerprint"),
        ({**KEYS, "servers": {THERE: {"fingerprint": A, "read_only": 1}}}, "True or False"),
        ({**KEYS, "trusted": ["x"]}, "hexadecimal digits"),
        ({**KEYS, "trusted": 5}, "trusted: .*not a list of fingerprints"),
        ({**KEYS, "trusted": "/nowhere/trusted"}, "No such file"),
        ({**KEYS, "identify": "yes"}, "identify: 'yes' .*not a function"),
        ({"pems": 5}, "pems: .*int.* is not a key pair"),
        ({"pems": "/nowhere/pems.json", "trusted": [A]}, "No such file"),
        ({"pull_only": 1}, "pull_only: 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, config: dict[str, Any], says: str) -> None:
    with pytest.raises(lrep.ConfigError, match=says):
        lrep.open(tmp_path / "x", config)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"servers": {THERE: {"fingerprint": A}}},
        {"servers": {THERE: {"fingerprint": A}}, "port": 1, "host": "0.0.0.0"},
        {"servers": {THERE: {}}, "identify": print},
        {"servers": {THERE: {}}, "trusted": [A]},
        {"host": "::", "port": 1, "trusted": []},
        {"servers": {THERE: {"fingerprint": A, "read_only": True}}, "port": 1},
    ],
)
def test_settings_that_can_work_are_accepted(config: dict[str, Any]) -> None:
    lrep.Config.of({**KEYS, **config})


def test_without_keys_a_role_needs_a_server_that_is_dialled() -> None:
    lrep.Config(servers={"127.0.0.1:1": {"read_only": True}})


def test_a_trusted_file_with_a_mistake_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "trusted"
    path.write_text(f"{A}\n{B}0\n")
    with pytest.raises(lrep.ConfigError, match="line 2"):
        lrep.open(tmp_path / "x", {**KEYS, "trusted": path, "port": 0})
    path.write_bytes(b"#" * (5 * 1024 * 1024))
    with pytest.raises(lrep.ConfigError, match="more than"):
        lrep.open(tmp_path / "x", {**KEYS, "trusted": path, "port": 0})


def test_paths_in_a_toml_file_are_from_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        'port = 0\npems = "pems.json"\ntrusted = "trusted"\n'
        f'[servers]\n"10.0.0.2:1" = {{fingerprint = "{A}", read_only = true}}\n'
    )
    config = lrep.Config.from_toml(path)
    assert (config.pems, config.trusted) == (tmp_path / "pems.json", tmp_path / "trusted")
    assert config.servers["10.0.0.2:1"] == {"fingerprint": (A,), "read_only": True}
    with pytest.raises(lrep.ConfigError, match=str(tmp_path / "trusted")):
        lrep.open(tmp_path / "x", config)


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else works without the extra, and a setting that needs it names it."""
    for name in [each for each in sys.modules if each.startswith("level_replicator.security.")]:
        if name.endswith((".key_files", ".tls")):
            monkeypatch.delitem(sys.modules, name)
            monkeypatch.delattr(f"level_replicator.security.{name.rpartition('.')[2]}", raising=False)
    monkeypatch.setitem(sys.modules, "OpenSSL", None)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for call in (
        lambda: lrep.open(tmp_path / "x", {"pems": {}, "trusted": [A]}),
        lambda: lrep.generate_pems(),
        lambda: lrep.fingerprint("x"),
    ):
        with pytest.raises(lrep.ConfigError, match=r"pip install 'level-replicator\[tls\]'"):
            call()
    lrep.open(tmp_path / "y", {"port": 0}).close()


def test_the_package_is_imported_without_the_extra() -> None:
    code = "import sys; sys.modules['OpenSSL'] = sys.modules['cryptography'] = None; import level_replicator"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("setting", ["pems", "trusted"])
def test_a_pipe_in_place_of_a_file_does_not_block(tmp_path: Path, setting: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(lrep.ConfigError, match=f"{setting}: .* expected a regular file"):
        lrep.open(tmp_path / "x", {**KEYS, "trusted": [A], "port": 0, setting: tmp_path / "pipe"})
