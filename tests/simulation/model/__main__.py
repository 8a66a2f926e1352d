"""python -m tests.simulation.model --schedules 1000000 [--off RULE] prints each schedule that breaks a promise.

It runs the reference alone; with --both the real stores beside it, which is much slower."""

from __future__ import annotations

import argparse
import sys

from tests.simulation.model.duet import Unlike, play
from tests.simulation.model.reference import OLD_FAULT, RULES
from tests.simulation.model.schedules import random_schedule
from tests.simulation.model.solo import play_solo


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.model", description=__doc__)
    parser.add_argument("--schedules", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--off", choices=[*RULES, OLD_FAULT], help="switch a rule off: schedules should fail")
    parser.add_argument("--both", action="store_true", help="with the real stores")
    parser.add_argument("--most", type=int, default=5, help="stop after this many failures")
    options = parser.parse_args()
    if options.both and options.off:
        parser.error("--off is for the reference alone: the real code has mutants, see tests/simulation/mutants.py")
    failures = ran = 0
    for seed in range(options.first, options.first + options.schedules):
        ran += 1
        nodes, steps = random_schedule(seed)
        try:
            wrong = play(nodes, steps) if options.both else play_solo(nodes, steps, options.off)
        except Unlike as unlike:
            wrong = str(unlike)
        if wrong:
            failures += 1
            print(f"seed {seed}: {wrong}", flush=True)
            if failures >= options.most:
                break
    print(f"{ran - failures} schedules hold, {failures} fail")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
