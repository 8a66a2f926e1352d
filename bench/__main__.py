"""Command line of the measurements."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import (
    catch_up,
    chart,
    differing,
    disk,
    goals,
    hostile,
    idle,
    latency,
    local_writes,
    machine,
    mesh,
    opening,
    origins,
    others,
    overwrites,
    plots,
    sizes,
    space,
    synced,
    table,
    tls,
)
from bench.figures import Series
from bench.options import PEERS, Options, full, quick, tiny

RESULTS = Path(__file__).parent / "results"
WORKLOADS: dict[str, Callable[[Options, Callable[[str], None]], list[Series]]] = {
    "local": local_writes.measure,
    "sync": synced.measure,
    "catch-up": catch_up.measure,
    "latency": latency.measure,
    "differ": differing.measure,
    "idle": idle.measure,
    "overwrites": overwrites.measure,
    "disk": disk.measure,
    "mesh": mesh.measure,
    "opening": opening.measure,
    "origins": origins.measure,
    "sizes": sizes.measure,
    "space": space.measure,
    "tls": tls.measure,
    "hostile": hostile.measure,
    "others": others.measure,
}
SIZES = {"full": full, "quick": quick, "tiny": tiny}


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.chart:
        chart.draw(RESULTS)
        _progress(f"drawn: {chart.CHART}")
        return 0
    began = datetime.now(UTC)
    series: list[Series] = []
    with TemporaryDirectory(prefix="lrep-bench-", dir=arguments.directory) as directory:
        options = replace(SIZES[arguments.size](Path(directory)), peers=arguments.peers)
        if arguments.runs:
            options = replace(options, runs=arguments.runs)
        about = machine.describe(options.peers)
        for name, measure in WORKLOADS.items():
            if not arguments.only or name in arguments.only:
                series += measure(options, _progress)
    judged = goals.judged(options, series)
    print(table.render({**about, "sizes": arguments.size, "runs": str(options.runs)}, series, judged))
    results = {
        "date": began.isoformat(timespec="seconds"),
        "machine": about,
        "sizes": arguments.size,
        "runs": options.runs,
        "series": [asdict(one) for one in series],
        "laws": [{**asdict(law), "law": law.word} for law in table.laws(series)],
        "goals": [asdict(goal) for goal in judged],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    _progress(f"written: {arguments.output}")
    drawn = plots.draw(series, arguments.output.with_suffix(""))
    where = arguments.output.with_suffix("")
    _progress(f"drawn: {len(drawn)} pictures in {where}" if drawn else "no pictures: pip install matplotlib")
    return 0


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _parser() -> argparse.ArgumentParser:
    latest = RESULTS / "latest.json"
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick",
        dest="size",
        action="store_const",
        const="quick",
        default="full",
        help="one run of less data: for a look, not for a claim",
    )
    parser.add_argument("--size", choices=list(SIZES), help="the same in one word (tiny: do the measurements work?)")
    parser.add_argument(
        "--chart", action="store_true", help="measure nothing; draw the chart of README.md from the stored results"
    )
    parser.add_argument("--only", action="append", choices=list(WORKLOADS), help="this workload; may be repeated")
    parser.add_argument("--runs", type=_positive, help="runs of each workload (5, or 1 with --quick)")
    parser.add_argument("--directory", type=Path, help="where the LevelDBs go (a temporary directory)")
    parser.add_argument(
        "--peers",
        type=Path,
        default=PEERS,
        help="where `make bench-peers` has put the node_modules of PouchDB (%(default)s; or $BENCH_PEERS)",
    )
    parser.add_argument(
        "--output", type=Path, default=latest, help="JSON for the results; pictures go into a directory beside it"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
