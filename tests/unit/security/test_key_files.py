"""Key files: writing, reading and replacing them. (tests/integration/security/test_pems.py has the invalid ones.)"""

import json
import stat
from pathlib import Path

import pytest

from level_replicator.core.errors import ConfigError
from level_replicator.security.key_files import (
    PemsFile,
    certificate_fingerprint,
    generate_pems,
    load_pems,
    write_pems,
)
from tests.integration.security.keys import pems


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pems.json"


def test_only_the_owner_can_read_a_written_file(path: Path) -> None:
    write_pems(path, pems("A"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == pems("A")


def test_a_key_is_never_overwritten(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ConfigError, match="never overwritten"):
        write_pems(path, pems("A"))
    assert path.read_text() == "precious"


def test_a_dict_and_a_file_give_the_same_key(path: Path) -> None:
    write_pems(path, pems("A"))
    assert load_pems(path) == load_pems(pems("A"))


def test_neither_key_nor_certificate_is_shown() -> None:
    assert repr(load_pems(pems("A"))) == "Pems()"


def test_a_reload_returns_only_changes(path: Path) -> None:
    path.write_text(json.dumps(pems("A")))
    path.chmod(0o600)
    file = PemsFile(path)
    assert file.load().fingerprint == certificate_fingerprint(pems("A"))
    assert file.reload() is None
    path.write_text(json.dumps(pems("B")))
    changed = file.reload()
    assert changed is not None
    assert changed.fingerprint == certificate_fingerprint(pems("B"))


def test_a_broken_file_is_an_error_until_it_is_repaired(path: Path) -> None:
    path.write_text(json.dumps(pems("A")))
    path.chmod(0o600)
    file = PemsFile(path)
    file.load()
    path.write_text("{")
    for _ in range(2):
        with pytest.raises(ConfigError, match="not a JSON file"):
            file.reload()
    path.write_text(json.dumps(pems("A")))
    assert file.reload() is None  # the key of the last successful load


def test_a_file_that_others_can_read_is_reported(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text(json.dumps(pems("A")))
    path.chmod(0o640)
    PemsFile(path).load()
    assert "run chmod 600" in caplog.text


def test_a_fingerprint_needs_no_private_key(path: Path) -> None:
    expected = load_pems(pems("A")).fingerprint
    assert certificate_fingerprint({"cert": pems("A")["cert"]}) == expected
    path.write_text(pems("A")["cert"])
    assert certificate_fingerprint(path) == expected


@pytest.mark.parametrize("days", [float("inf"), float("nan"), 1e9, "1"])
def test_dates_that_no_certificate_has(days: float) -> None:
    with pytest.raises(ConfigError, match="days: "):
        generate_pems(days=days)
