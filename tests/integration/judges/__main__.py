"""`python -m tests.integration.judges --faults kill --seconds 60 --runs 5`: longer runs; each outcome is printed."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

from level_replicator.testing.process import ProcessError
from tests.integration.judges.faults import KINDS
from tests.integration.judges.run import Run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.integration.judges", description=__doc__)
    parser.add_argument("--faults", choices=[*KINDS, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the faults of each run last")
    parser.add_argument("--runs", type=int, default=1, help="of each kind of fault")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each later run takes the next one")
    options = parser.parse_args()
    ran = failed = 0
    for name in KINDS if options.faults == "all" else [options.faults]:
        kind = KINDS[name]
        if kind.missing:
            print(f"{name}: skipped: {kind.missing}")
            continue
        for seed in range(options.seed, options.seed + options.runs):
            with (
                tempfile.TemporaryDirectory() as folder,
                contextlib.closing(Run(Path(folder), seed, **kind.options)) as run,
            ):
                try:
                    run.start()
                    kind.play(run, time.monotonic() + options.seconds)
                    verdict = run.judge()
                    holds, text = verdict.holds, str(verdict)
                except (AssertionError, ProcessError) as error:
                    holds, text = False, repr(error)
            ran += 1
            failed += not holds
            print(f"{name}, seed {seed}: {'holds' if holds else 'FAILS'}: {text}", flush=True)
    print(f"{ran - failed} of {ran} runs hold, {failed} fail")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
