"""The command itself, on very little work."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_a_tiny_run_ends_with_a_table_and_results(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    command = [sys.executable, "-m", "bench", "--size", "tiny", "--only", "overwrites"]
    done = subprocess.run(
        [*command, "--output", str(output), "--directory", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    results = json.loads(output.read_text())
    assert "overwrites: entries in the log" in done.stdout
    verdicts = {goal["name"]: goal["verdict"] for goal in results["goals"]}
    assert verdicts["overwrites: entries in the log"] == "reached"
    assert verdicts["single puts, a peer connected"] == "not measured"
    assert all(len(series["samples"]) == 1 for series in results["series"])
    assert {"date", "machine", "runs"} <= results.keys()
