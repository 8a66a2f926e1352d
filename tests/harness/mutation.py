"""A rule switched off in a process of its own, and the test that must notice."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_MISFIT = re.compile(r"\b(AttributeError|NameError|TypeError|ImportError|UnboundLocalError): ")
"""What a patch raises that uses names which the code does not have."""


def assert_caught(plugin: str, name: str, test: Path | str) -> None:
    """`plugin`: the module that switches off what MUTANT names. A mutant that does not fit the code catches nothing."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", plugin, "-p", "no:cacheprovider", str(test)]
    environment = os.environ | {"MUTANT": name, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stdout + done.stderr
    assert not _MISFIT.search(done.stdout + done.stderr), done.stdout + done.stderr
