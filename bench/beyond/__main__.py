"""The comparison of bench/BEYOND.md: builds the prototypes, checks what they leave behind, and measures."""

import argparse
import importlib.util
import json
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import machine
from bench.beyond import build, check, runs, tables
from bench.beyond.subjects import APPLY, BARE, CODEC, LOCAL, NEEDS, PACKAGE, PAIR, PAIR_BARE, TWO
from bench.figures import Collector, Series
from bench.processes import Worker

COUNT, LARGE = 100_000, 1_000_000
SEEDS = 5
RESULTS = Path(__file__).parents[1] / "results" / "beyond.json"


def main() -> int:
    arguments = _parser().parse_args()
    missing = build.build()
    if importlib.util.find_spec("rocksdict") is None:
        missing["rocksdict"] = "not installed; it needs: pip install rocksdict"
    for name, problem in missing.items():
        _say(f"without {name}: {problem}")
    there = [name for name in LOCAL if NEEDS.get(name) not in missing]
    with TemporaryDirectory(prefix="lrep-beyond-", dir=arguments.directory) as directory:
        _check([name for name in (CODEC, PAIR) if name in there], Path(directory))
        series: list[Series] = []
        for count in arguments.counts:
            series += _measure(there, count, arguments.runs, directory)
    about = machine.describe() | _modules()
    print(tables.render(about, series))
    results = {"machine": about, "runs": arguments.runs, "series": [asdict(one) for one in series]}
    arguments.output.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    _say(f"written: {arguments.output}")
    return 0


def _check(prototypes: list[str], directory: Path) -> None:
    """Raises AssertionError where one leaves other bytes than the package."""
    for seed in range(SEEDS):
        paths = {name: directory / f"check-{seed}-{number}" for number, name in enumerate([PACKAGE, *prototypes])}
        counts = {}
        for name, path in paths.items():
            path.mkdir()
            with Worker() as worker:
                counts[name] = worker.call(check.scramble, name=name, path=str(path), seed=seed)
        for name in prototypes:
            found = check.differences(name, paths[name], paths[PACKAGE])
            if found or counts[name] != counts[PACKAGE]:
                raise AssertionError(f"seed {seed}: {found}, counts {counts}")
    if prototypes:
        _say(f"{', '.join(prototypes)}: after {SEEDS} random histories all bytes as the package leaves them")


def _measure(there: list[str], count: int, how_often: int, directory: str) -> list[Series]:
    kinds = [(runs.local, "batches of 1,000", list(LOCAL)), (runs.apply, "frames of 1,024", [BARE, *APPLY])]
    works = [
        (function, Collector(f"{what}, {keys}, {count:,}"), [name for name in names if name in there], keys)
        for keys in (runs.NEW, runs.OVER)
        for function, what, names in kinds
        if keys == runs.NEW or count < LARGE
    ]
    beside = Collector(f"batches of 1,000, {runs.NEW}, {count:,}, beside another thread of Python")
    for run in range(how_often):
        _say(f"{count:,} entries, run {run + 1} of {how_often}")
        bare: dict[str, float] = {}
        for function, collector, names, keys in works:
            for name in names:
                if function is runs.apply and name == BARE:
                    collector.add(BARE, "entries/s", bare[keys])
                    continue
                figures = _run(function, directory, name=name, count=count, over=keys == runs.OVER)
                if name == BARE:
                    bare[keys] = count / figures["seconds"]
                _collect(collector, name, figures, count)
        if count < LARGE:
            _measure_beside([name for name in (BARE, PACKAGE, CODEC, PAIR) if name in there], beside, count, directory)
    return [each for _, collector, _, _ in works for each in collector.series()] + beside.series()


def _measure_beside(names: list[str], collector: Collector, count: int, directory: str) -> None:
    for name in names:
        figures = _run(runs.beside, directory, name=name, count=count, busy=False)
        collector.add(f"{name}: the thread naps, and wakes so late (median)", "ms", figures["late_ms"])
        collector.add(f"{name}: the same, 99th percentile", "ms", figures["latest_ms"])
        figures = _run(runs.beside, directory, name=name, count=count, busy=True)
        collector.add(f"{name}: the thread computes", "entries/s", count / figures["seconds"])
        collector.add(f"{name}: and has of its speed alone", "share", figures["share"])


def _run(function: Any, directory: str, **arguments: Any) -> dict[str, Any]:
    with TemporaryDirectory(dir=directory) as path, Worker() as worker:
        figures: dict[str, Any] = worker.call(function, path=path, **arguments)
    count = arguments["count"]
    if figures["counts"] and figures["counts"] != [count, count]:
        raise AssertionError(f"{arguments}: {figures['counts']}")
    return figures


def _collect(collector: Collector, name: str, figures: dict[str, Any], count: int) -> None:
    collector.add(name, "entries/s", count / figures["seconds"], baseline=None if name == BARE else BARE)
    if figures["written_s"]:
        rest = figures["seconds"] - figures["written_s"]
        collector.add(f"{name}: writing the batches", "µs/entry", figures["written_s"] / count * 1e6)
        collector.add(f"{name}: all else", "µs/entry", rest / count * 1e6)
    if "growth_mib" in figures:
        collector.add(f"{name}: growth of memory", "MiB", figures["growth_mib"])
    if name not in (BARE, TWO, PAIR_BARE):
        collector.add(f"{name}: on the disk", "MiB", figures["disk_mib"])


def _modules() -> dict[str, str]:
    about = {f"{path.name}": f"{path.stat().st_size:,} bytes" for path in sorted(build.TARGET.glob(f"*{build.SUFFIX}"))}
    if importlib.util.find_spec("rocksdict") is not None:
        about["rocksdict"] = version("rocksdict")
    return about


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.beyond", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each (%(default)s)")
    parser.add_argument("--counts", type=int, nargs="+", default=[COUNT, LARGE], help="entries (%(default)s)")
    parser.add_argument("--directory", type=Path, help="where the LevelDBs go (a temporary directory)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file for the results (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
