"""Reading small files of settings."""

import os
from pathlib import Path

import pytest

from level_replicator.core.errors import ConfigError
from level_replicator.security.small_file import read_small_file


def test_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert read_small_file(path, 10, "trusted") == b"x" * 10
    with pytest.raises(ConfigError, match=r"trusted: .* has more than 9 bytes"):
        read_small_file(path, 9, "trusted")


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="expected a regular file"):
        read_small_file(tmp_path / "pipe", 10, "pems")


@pytest.mark.parametrize("name", ["missing", "\0", "."])
def test_other_paths_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="pems: "):
        read_small_file(tmp_path / name, 10, "pems")
