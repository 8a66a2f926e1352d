"""Each rule switched off is caught by the tests that are for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.secure.mutants import MUTANTS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    _, test = MUTANTS[name]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "tests.secure.mutants", "-p", "no:cacheprovider"]
    environment = os.environ | {"MUTANT": name, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run(
        [*command, str(HERE / test)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1, done.stdout + done.stderr
