"""How much is measured, and where."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """`directory`: for LevelDBs that are deleted afterwards. `latency_samples`: writes in each run."""

    runs: int
    puts: int
    catch_up: tuple[int, ...]
    latency_samples: int
    directory: Path


def full(directory: Path, runs: int | None) -> Options:
    return Options(runs or 3, 100_000, (100_000, 1_000_000), 500, directory)


def quick(directory: Path, runs: int | None) -> Options:
    return Options(runs or 1, 20_000, (50_000,), 100, directory)
