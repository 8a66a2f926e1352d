"""Nothing on the import path needs POSIX. This is no test of Windows: only of not depending on these names."""

import subprocess
import sys
from pathlib import Path

from tests.integration.install import portability


def test_it_imports_and_replicates_without_posix(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", portability.__file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "replicated\n", "")
