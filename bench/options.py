"""The sizes of the measurements, and their directory."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

PEERS = Path(os.environ.get("BENCH_PEERS") or Path(__file__).parent.parent / "build" / "bench-peers")


@dataclass(frozen=True)
class Options:
    """The sizes of a full measurement. `directory`: for LevelDBs that are deleted afterwards; `peers`: where npm has
    installed what others are measured with. What is a tuple is a curve, its last value the one that goals are about."""

    directory: Path
    peers: Path = PEERS
    runs: int = 5
    puts: int = 100_000
    """Local writes."""
    synced_puts: int = 5_000
    keys: int = 100_000
    """That two nodes hold when something differs, or when disk space is looked at."""
    catch_up: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    large_values: int = 200_000
    """Entries with values of 1 KiB."""
    others: int = 100_000
    """Entries for PouchDB and Redis, and for us beside them."""
    latency_samples: int = 500
    fast_s: float = 3.0
    """Seconds of writing at 20,000 a second."""
    held: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    """Keys that a node holds while other costs are measured on it."""
    differ: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)
    """Keys in which two nodes differ."""
    value_bytes: tuple[int, ...] = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
    values_total: int = 20_000_000
    """Bytes of values that are written for each of these sizes, but at most `puts` of them."""
    overwrites: int = 100_000
    nodes: tuple[int, ...] = (2, 4, 8, 16)
    mesh_puts: int = 40_000
    """Puts of all nodes of a mesh together."""
    idle_s: float = 10.0
    idle_peers: int = 50
    origins: tuple[int, ...] = (10, 100, 1_000, 10_000)
    space: tuple[int, ...] = (100_000, 1_000_000)


def full(directory: Path) -> Options:
    return Options(directory)


def quick(directory: Path) -> Options:
    """Return sizes for a first impression, which do not support a claim."""
    return replace(
        Options(directory),
        runs=1,
        puts=20_000,
        synced_puts=500,
        keys=10_000,
        catch_up=(500, 5_000, 20_000),
        large_values=5_000,
        others=5_000,
        latency_samples=100,
        fast_s=0.5,
        held=(1_000, 5_000, 20_000),
        differ=(10, 100, 1_000),
        value_bytes=(10, 1_000, 100_000),
        values_total=2_000_000,
        overwrites=10_000,
        nodes=(2, 4, 8),
        mesh_puts=4_000,
        idle_s=1.0,
        idle_peers=20,
        origins=(10, 1_000, 10_000),
        space=(10_000,),
    )


def tiny(directory: Path) -> Options:
    """Return sizes that only show that the measurements work."""
    return replace(
        quick(directory), puts=500, synced_puts=20, keys=500, catch_up=(100, 200, 500), large_values=100, others=200,
        latency_samples=10, fast_s=0.1, held=(100, 200, 500), differ=(1, 10, 100), values_total=100_000,
        overwrites=1_000, nodes=(2, 3), mesh_puts=200, idle_s=0.2, idle_peers=2, origins=(10, 20, 50), space=(500,),
    )  # fmt: skip
