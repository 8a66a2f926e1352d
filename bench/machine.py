"""A description of the machine of the measurements."""

import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import plyvel

from bench import pouchdb, redis


def describe(peers: Path) -> dict[str, str]:
    """Describe the machine and its versions. `peers`: the directory where PouchDB may be installed."""
    about = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "plyvel": f"{version('plyvel')} with LevelDB {plyvel.__leveldb_version__}",
        "msgspec": version("msgspec"),
        "level-replicator": f"{version('level-replicator')}, commit {_commit()}",
        "memory": _memory(),
    }
    return about | {name: found for name in (pouchdb.NAME, redis.NAME) if (found := _VERSIONS[name](peers))}


_VERSIONS: dict[str, Callable[[Path], str | None]] = {pouchdb.NAME: pouchdb.version, redis.NAME: redis.version}


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.1f} GiB"
    except (OSError, ValueError):
        return "unknown"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _commit() -> str:
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--", "../src"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + (" with changes in src" if changed.stdout.strip() else "")
