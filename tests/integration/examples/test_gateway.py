"""The sensor gateway: measurements of an offline gateway reach the centre later."""

import sys
from pathlib import Path

import pytest

from tests.harness.ports import FreePorts
from tests.integration.examples.running import EXAMPLES, Program, running

pytestmark = pytest.mark.slow

FOLDER = EXAMPLES / "sensor_gateway"


def handed_on(centre: Program, count: int) -> list[str]:
    return sorted(" ".join(line.split()[::2]) for line in (centre.line() for _ in range(count)))


def test_measurements_of_an_offline_gateway_arrive_later(tmp_path: Path, free_ports: FreePorts) -> None:
    (port,) = free_ports(1)
    centre_command = [sys.executable, "centre.py", str(tmp_path / "centre"), str(port)]
    gateway_command = [sys.executable, "gateway.py", str(tmp_path / "gateway"), f"127.0.0.1:{port}"]
    with running(gateway_command, FOLDER, tmp_path / "errors of the gateway") as gateway:
        assert gateway.line() == "ready"
        for value in ("21.5", "21.7"):  # nobody is there yet
            gateway.tell(f"kitchen {value}")
            assert gateway.line().startswith("stored kitchen/")
        with running(centre_command, FOLDER, tmp_path / "errors of the centre") as centre:
            assert centre.line() == "ready"
            assert handed_on(centre, 2) == ["kitchen 21.5", "kitchen 21.7"]
            gateway.tell("cellar 12.0")
            assert gateway.line().startswith("stored cellar/")
            assert handed_on(centre, 1) == ["cellar 12.0"]
        gateway.tell("cellar 12.1")
        assert gateway.line().startswith("stored cellar/")
        with running(centre_command, FOLDER, tmp_path / "errors of the centre") as centre:
            assert centre.line() == "ready"
            while (told := handed_on(centre, 1)) != ["cellar 12.1"]:
                assert told == ["cellar 12.0"], "only the last one, which it may not have noted, comes again"
            gateway.finish()
            assert gateway.line() == "the centre has everything"
