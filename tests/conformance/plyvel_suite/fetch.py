"""Takes plyvel's own tests from the source distribution of the installed version; never copied here."""

import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

CACHE = Path(__file__).parents[3] / ".cache" / "plyvel-sdist"


def fetch_tests() -> Path:
    """The path of upstream's test_plyvel.py, downloaded once. RuntimeError says what to do about it."""
    wanted = version("plyvel")
    tests = CACHE / f"test_plyvel-{wanted}.py"
    if not tests.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            archive = _download(wanted, Path(scratch))
            found = Path(scratch) / "tests.py"
            with tarfile.open(archive) as sdist:
                member = sdist.extractfile(f"plyvel-{wanted}/test/test_plyvel.py")
                if member is None:
                    raise RuntimeError(f"{archive.name} holds no test/test_plyvel.py")
                found.write_bytes(member.read())
            os.replace(found, tests)  # whole or absent, also when two runs fetch at once
    return tests


def _download(wanted: str, directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", "plyvel", "--dest", str(directory), f"plyvel=={wanted}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = list(directory.glob("plyvel-*.tar.gz"))
    if done.returncode or not archives:
        raise RuntimeError(
            f"plyvel {wanted}'s own tests could not be fetched; put its sdist's test/test_plyvel.py at "
            f"{CACHE / f'test_plyvel-{wanted}.py'}, or mend what pip says:\n{done.stderr.strip()}"
        )
    return archives[0]
