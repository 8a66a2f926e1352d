"""Takes the tests of a binding from the source distribution of the installed version; never copied here."""

import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

CACHE = Path(__file__).parents[3] / ".cache" / "plyvel-sdist"


def fetch_tests(binding: str) -> Path:
    """The path of upstream's test_plyvel.py, downloaded once; `binding` is "plyvel" or "plyvel_next".

    Raises RuntimeError, with the remedy, when the download fails."""
    wanted = version(binding)
    tests = CACHE / f"test_{binding}-{wanted}.py"
    if not tests.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            archive = _download(binding, wanted, Path(scratch), tests)
            found = Path(scratch) / "tests.py"
            with tarfile.open(archive) as sdist:
                member = sdist.extractfile(f"{binding}-{wanted}/test/test_plyvel.py")
                if member is None:
                    raise RuntimeError(f"{archive.name} holds no test/test_plyvel.py")
                found.write_bytes(member.read())
            os.replace(found, tests)  # whole or absent, also when two runs fetch at once
    return tests


def _download(binding: str, wanted: str, directory: Path, tests: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", binding, "--dest", str(directory), f"{binding}=={wanted}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = list(directory.glob(f"{binding}-*.tar.gz"))
    if done.returncode or not archives:
        raise RuntimeError(
            f"the tests of {binding} {wanted} could not be downloaded; put test/test_plyvel.py of its sdist at "
            f"{tests}, or fix the error that pip reports:\n{done.stderr.strip()}"
        )
    return archives[0]
