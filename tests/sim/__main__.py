"""python -m tests.sim --seeds 100000 [--mutant NAME]: prints each failing seed, and how many held."""

from __future__ import annotations

import argparse
import sys
import traceback
from contextlib import nullcontext

from tests.sim.mutants import MUTANTS, mutant
from tests.sim.world import World


def run_seed(seed: int) -> str | None:
    """None, or what went wrong."""
    try:
        World(seed).run()
    except AssertionError as error:
        return str(error) or traceback.format_exc()
    except Exception:
        return traceback.format_exc()
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", default="200", help="how many, or FIRST:LAST (last excluded)")
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="switch one rule off: seeds should fail")
    parser.add_argument("--most", type=int, default=5, help="stop after this many failures")
    options = parser.parse_args()
    first, _, last = options.seeds.rpartition(":")
    seeds = range(int(first or 0), int(last)) if options.seed is None else range(options.seed, options.seed + 1)
    failures = 0
    ran = 0
    with mutant(options.mutant) if options.mutant else nullcontext():
        for seed in seeds:
            ran += 1
            wrong = run_seed(seed)
            if wrong:
                failures += 1
                print(f"seed {seed}: {wrong}", flush=True)
                if failures >= options.most:
                    break
            if sys.stderr.isatty() and ran % 50 == 0:
                print(f"\r{ran} seeds", end="", file=sys.stderr)
    print(f"{ran - failures} seeds hold, {failures} fail")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
