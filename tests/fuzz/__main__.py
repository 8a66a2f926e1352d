"""Coverage-guided fuzzing of every decoder: `python -m tests.fuzz --seconds 3600`.

Needs atheris (pip install atheris), which is no dependency of the project: it has no wheels everywhere. What it finds
worth keeping goes to the corpus, which the tests replay; an input that breaks a target is printed, and kept as well.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz import corpus_files
from tests.fuzz.targets import TARGETS

MAX_INPUT_BYTES = 4_096


def main() -> int:
    """Exit status 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="in all, shared equally by the targets")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this one; may be repeated")
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install atheris", file=sys.stderr)
        return 2
    targets = arguments.target or list(TARGETS)
    found = 0
    for target in targets:
        found += _fuzz(target, max(1, arguments.seconds // len(targets)))
    return 1 if found else 0


def _fuzz(target: str, seconds: int) -> int:
    """Number of findings."""
    with tempfile.TemporaryDirectory() as directory:
        corpus, minimal, findings = (Path(directory) / name for name in ("corpus", "minimal", "findings"))
        for folder in (corpus, minimal, findings):
            folder.mkdir()
        corpus_files.unpack(target, corpus)
        said = _drive(target, f"-max_total_time={seconds}", f"-artifact_prefix={findings}/", str(corpus))
        _drive(target, "-merge=1", f"-artifact_prefix={directory}/", str(minimal), str(corpus))
        broken = [path.read_bytes() for path in findings.iterdir() if path.name.startswith(("crash", "timeout", "oom"))]
        corpus_files.store(target, [*(path.read_bytes() for path in minimal.iterdir()), *broken])
        kept = len(corpus_files.load(target))
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
    coverage = re.findall(r"cov: (\d+) ft: (\d+)", said)
    edges, features = coverage[-1] if coverage else ("?", "?")
    print(
        f"{target:10} {seconds:5} s {int(runs[1]) if runs else 0:12,} executions, {edges} edges, {features} features,"
        f" corpus {kept}, {len(broken)} findings",
        flush=True,
    )
    for data in broken:
        print(f"  {data!r}\n{said[-3000:]}", flush=True)
    return len(broken)


def _drive(target: str, *options: str) -> str:
    """What libFuzzer said."""
    command = [sys.executable, "-m", "tests.fuzz.drive", target]
    fixed = [f"-max_len={MAX_INPUT_BYTES}", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=1"]
    return subprocess.run([*command, *fixed, *options], capture_output=True, text=True, errors="replace").stderr


if __name__ == "__main__":
    sys.exit(main())
