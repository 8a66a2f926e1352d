"""Run a test in a process in which a rule is switched off: the test must fail."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_MISFIT = re.compile(r"\b(AttributeError|NameError|TypeError|ImportError|UnboundLocalError): ")
"""The exceptions of a patch that uses names which the code does not have."""


def assert_caught(plugin: str, name: str, test: Path | str) -> None:
    """Assert that `test` fails under the mutant `name` of the pytest plugin `plugin`.

    A failure because the mutant does not fit the code any more does not count."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", plugin, "-p", "no:cacheprovider", str(test)]
    environment = os.environ | {"MUTANT": name, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stdout + done.stderr
    assert not _MISFIT.search(done.stdout + done.stderr), done.stdout + done.stderr
