"""make finds a supported Python, also when the first ones on PATH do not work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed")


def _script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _chosen(home: Path) -> str:
    assert MAKE is not None
    done = subprocess.run(
        [MAKE, "-s", "--eval", "chosen: ; @echo '$(PYTHON)' ; :", "chosen"],
        cwd=ROOT,
        env={"PATH": str(home / "bin"), "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


def test_a_pyenv_version_is_found_behind_shims_that_do_not_work(tmp_path: Path) -> None:
    for name in ("python", "python3", "python3.12", "python3.13"):
        _script(tmp_path / "bin" / name, f"echo 'pyenv: {name}: command not found' >&2; exit 127")
    python = tmp_path / ".pyenv" / "versions" / "3.13.0" / "bin" / "python"
    _script(python, f'exec {sys.executable} "$@"')
    assert _chosen(tmp_path) == str(python)


def test_an_unsupported_version_is_not_chosen(tmp_path: Path) -> None:
    refuse_the_check = "import sys; sys.version_info = (3, 99, 0)"
    _script(tmp_path / "bin" / "python3", f'[ "$1" = -c ] && exec {sys.executable} -c "{refuse_the_check}; $2"')
    assert _chosen(tmp_path) == ""


def test_an_explicit_python_is_taken(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    assert MAKE is not None
    command = [MAKE, "-s", "PYTHON=/some/python", "--eval", "chosen: ; @echo '$(PYTHON)' ; :", "chosen"]
    env = os.environ | {"PATH": str(tmp_path / "bin")}
    assert (
        subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60).stdout
        == "/some/python\n"
    )
