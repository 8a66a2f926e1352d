"""Coverage-guided fuzzing of every decoder: `python -m tests.fuzz --seconds 3600`.

Needs atheris (pip install atheris), which is no dependency of the project: it has no wheels everywhere. What it finds
worth keeping goes to the corpus, which the tests replay; an input that breaks a target is shown, and kept as well.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile, rmtree

from tests.fuzz.seeds import CORPUS, name_of, seeds
from tests.fuzz.targets import TARGETS

WORK = Path(__file__).parents[2] / ".cache" / "fuzz"
MAX_INPUT_BYTES = 2_048
INPUT_TIMEOUT_S = 240
"""Of wall time: who runs at the lowest priority may wait long for its turn."""
MEMORY_MB = 1_024
SLICE_S = 60
LEAST_SHARE = 0.02
"""Of new features a second, relative to the best: so that a target that seems done has its turn now and then."""


_BREAKS = ("crash", "timeout", "oom")


@dataclass
class Tally:
    """Of one target. `gain`: features that it found in a second of its last slice."""

    target: str
    seconds: int = 0
    executions: int = 0
    edges: int = 0
    features: int = 0
    gain: float = float("inf")
    new: int = 0

    @property
    def findings(self) -> list[Path]:
        """Inputs that broke it, the shortest first. It is not gone on with until they have been taken away."""
        broken = [path for path in (WORK / self.target / "broken").iterdir() if path.name.startswith(_BREAKS)]
        return sorted(broken, key=lambda path: path.stat().st_size)


def main() -> int:
    """Exit status 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="in all, for the targets by what they still give")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this one; may be repeated")
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install atheris", file=sys.stderr)
        return 2
    tallies = [Tally(target) for target in arguments.target or TARGETS]
    for tally in tallies:
        _unpack(tally)
    left = arguments.seconds
    while left > 0 and not all(tally.findings for tally in tallies):
        tally = max((each for each in tallies if not each.findings), key=lambda each: each.gain)
        seconds = min(left, SLICE_S, max(1, arguments.seconds // len(tallies)))
        left -= _slice(tally, seconds)
        best = max(each.gain for each in tallies if each.gain != float("inf"))
        for each in tallies:  # who waits becomes the more interesting
            each.gain = max(each.gain, LEAST_SHARE * best) * (1 if each is tally else 1.1)
    for tally in tallies:
        _pack(tally)
        print(
            f"{tally.target:10} {tally.seconds:5} s {tally.executions:11,} executions {tally.edges:5} edges"
            f" {tally.features:6} features {tally.new:5} new inputs {len(tally.findings)} findings",
            flush=True,
        )
    return 1 if any(tally.findings for tally in tallies) else 0


def _unpack(tally: Tally) -> None:
    """The corpus that is kept, into a folder that the fuzzer may fill."""
    for name in ("found", "broken"):
        (WORK / tally.target / name).mkdir(parents=True, exist_ok=True)
    (CORPUS / tally.target).mkdir(parents=True, exist_ok=True)
    for path in (CORPUS / tally.target).iterdir():
        copyfile(path, WORK / tally.target / "found" / path.name)


def _slice(tally: Tally, seconds: int) -> int:
    """Fuzzes for a while. The seconds that it took."""
    folder = WORK / tally.target
    began = time.monotonic()
    said = _drive(
        tally.target, f"-max_total_time={seconds}", f"-artifact_prefix={folder / 'broken'}/", str(folder / "found")
    )
    took = max(1, round(time.monotonic() - began))
    tally.seconds += took
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
    tally.executions += int(runs[1]) if runs else 0
    seen = re.findall(r"(\w+)\s+cov: (\d+) ft: (\d+)", said)
    if seen:
        before = next((int(features) for what, _, features in seen if what == "INITED"), tally.features)
        tally.edges, tally.features = int(seen[-1][1]), int(seen[-1][2])
        tally.gain = (tally.features - before) / took
    print(f"{tally.target}: {took} s, {tally.edges} edges, {tally.features} features", flush=True)
    if tally.findings:
        print(f"  {tally.findings[0]}\n{said[-4000:]}", flush=True)
    elif not runs:
        print(said[-2000:], file=sys.stderr)
        raise SystemExit(f"the fuzzer did not run: {tally.target}")
    return took


def _pack(tally: Tally) -> None:
    """What is worth keeping, back into the corpus: the fewest inputs that reach all, and what broke something."""
    kept, least = CORPUS / tally.target, WORK / tally.target / "least"
    before = {path.name for path in kept.iterdir()}
    rmtree(least, ignore_errors=True)
    least.mkdir()
    _drive(tally.target, "-set_cover_merge=1", str(least), str(WORK / tally.target / "found"))
    inputs = [*least.iterdir(), *tally.findings]
    if not inputs:
        print(f"{tally.target}: nothing came of the merge, the corpus stays as it was", file=sys.stderr)
        return
    first = {name_of(data) for data in seeds().get(tally.target, [])}
    for path in kept.iterdir():
        if path.name not in first:  # these stay: of a decoder in C nobody sees what they reach
            path.unlink()
    for path in inputs:
        copyfile(path, kept / name_of(path.read_bytes()))
    tally.new = len({path.name for path in kept.iterdir()} - before)


def _drive(target: str, *options: str) -> str:
    """What libFuzzer said."""
    command = [sys.executable, "-m", "tests.fuzz.drive", target]
    fixed = [f"-max_len={MAX_INPUT_BYTES}", f"-timeout={INPUT_TIMEOUT_S}", f"-rss_limit_mb={MEMORY_MB}"]
    options = (*fixed, "-print_final_stats=1", "-verbosity=1", *options)
    done = subprocess.run([*command, *options], capture_output=True, text=True, errors="replace")
    return done.stderr + done.stdout[-2000:]  # Python tells there what broke


if __name__ == "__main__":
    sys.exit(main())
