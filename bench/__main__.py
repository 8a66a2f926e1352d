"""Command line of the measurements."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import catch_up, floors, hostile, latency, local_writes, machine, space, table, tls
from bench.figures import Series
from bench.options import Options, full, quick

LATEST = Path(__file__).parent / "results" / "latest.json"
WORKLOADS: dict[str, Callable[[Options, Callable[[str], None]], list[Series]]] = {
    "local": local_writes.measure,
    "catch-up": catch_up.measure,
    "latency": latency.measure,
    "space": space.measure,
    "tls": tls.measure,
    "hostile": hostile.measure,
}


def main() -> int:
    arguments = _parser().parse_args()
    about = machine.describe()
    series: list[Series] = []
    with TemporaryDirectory(prefix="lrep-bench-", dir=arguments.directory) as directory:
        make = quick if arguments.quick else full
        options = make(Path(directory), arguments.runs)
        for name, measure in WORKLOADS.items():
            if not arguments.only or name in arguments.only:
                series += measure(options, _progress)
    compared = floors.compare(series)
    print(table.render(about, series, compared))
    results = {
        "machine": about,
        "runs": options.runs,
        "series": [asdict(one) for one in series],
        "floors": [asdict(floor) for floor in compared],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    _progress(f"written: {arguments.output}")
    return 0


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one run of less data: for a look, not for a claim")
    parser.add_argument("--only", action="append", choices=list(WORKLOADS), help="this workload; may be repeated")
    parser.add_argument("--runs", type=_positive, help="runs of each workload (3, or 1 with --quick)")
    parser.add_argument("--directory", type=Path, help="where the LevelDBs go (a temporary directory)")
    parser.add_argument("--output", type=Path, default=LATEST, help="JSON file for the results (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
