"""python -m tests.simulation --seeds 100000 [--mutant NAME]: prints each failing seed, the number of seeds that hold,
the simulated time and the faults."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field

from tests.simulation.mutants import MUTANTS, mutant
from tests.simulation.world import World


@dataclass
class Tally:
    """Amount of simulation: virtual milliseconds, and faults by kind."""

    ms: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items())) or "none"
        return f"{self.ms / 3_600_000:.1f} simulated hours; faults: {faults}"


def run_seed(seed: int, tally: Tally | None = None) -> str | None:
    """Run a seed. Return the failure, or None. Adds time and faults to `tally`."""
    world = World(seed)
    try:
        world.run()
    except AssertionError as error:
        return str(error) or traceback.format_exc()
    except Exception:
        return traceback.format_exc()
    finally:
        if tally is not None:
            tally.ms += world.now_ms
            tally.faults += world.faults
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="200", help="how many, or FIRST:LAST (last excluded)")
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="switch one rule off: seeds should fail")
    parser.add_argument("--most", type=int, default=5, help="stop after this many failures")
    options = parser.parse_args()
    first, _, last = options.seeds.rpartition(":")
    seeds = range(int(first or 0), int(last)) if options.seed is None else range(options.seed, options.seed + 1)
    failures = 0
    ran = 0
    tally = Tally()
    with mutant(options.mutant) if options.mutant else nullcontext():
        for seed in seeds:
            ran += 1
            wrong = run_seed(seed, tally)
            if wrong:
                failures += 1
                print(f"seed {seed}: {wrong}", flush=True)
                if failures >= options.most:
                    break
            if sys.stderr.isatty() and ran % 50 == 0:
                print(f"\r{ran} seeds", end="", file=sys.stderr)
    print(f"{ran - failures} seeds hold, {failures} fail; {tally}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
