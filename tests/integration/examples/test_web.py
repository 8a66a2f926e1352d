"""The web applications, started as in their READMEs."""

import os
import signal
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.harness.ports import FreePorts
from tests.harness.waiting import DEADLINE_S, wait_until
from tests.integration.examples.running import EXAMPLES, ask, running

pytestmark = pytest.mark.slow

GUNICORN = [sys.executable, "-m", "gunicorn", "--workers", "4", "--bind"]


def texts(url: str) -> list[str]:
    return [entry["text"] for entry in ask(url + "/entries") or []]


def test_two_flask_sites_on_four_workers_each(tmp_path: Path, free_ports: FreePorts) -> None:
    """The worker that holds the database is killed, and another one takes over."""
    node, *ports = free_ports(3)
    folder = EXAMPLES / "flask_site"
    sites = [f"http://127.0.0.1:{port}" for port in ports]
    commands = [[*GUNICORN, site.removeprefix("http://"), "app:app"] for site in sites]
    first = {"SITE_DIR": str(tmp_path / "a"), "SITE_PORT": str(node)}
    second = {"SITE_DIR": str(tmp_path / "b"), "SITE_SERVERS": f"127.0.0.1:{node}"}
    with (
        running(commands[0], folder, tmp_path / "errors a", **first),
        running(commands[1], folder, tmp_path / "errors b", **second),
    ):
        for site in sites:
            wait_until(lambda site=site: ask(site + "/entries") == [], "an answer")
        assert ask(sites[0] + "/entries", "POST", {"text": "hello <b>"})["key"]
        wait_until(lambda: texts(sites[1]) == ["hello <b>"], "the entry on the other site")
        with urllib.request.urlopen(sites[1], timeout=DEADLINE_S) as page:
            assert "hello &lt;b&gt;" in page.read().decode()

        def holder() -> int | None:
            status = ask(sites[0] + "/status")
            return int(status["pid"]) if status and status["holder"] else None

        wait_until(lambda: holder() is not None, "the holder to be asked")
        held = holder()
        while held is None:
            held = holder()
        os.kill(held, signal.SIGKILL)
        wait_until(lambda: ask(sites[0] + "/entries", "POST", {"text": "again"}) is not None, "another holder")
        wait_until(lambda: texts(sites[1])[:1] == ["again"], "its entry on the other site")
        for entry in ask(sites[1] + "/entries"):
            assert ask(f"{sites[1]}/entries/{entry['key']}", "DELETE") == ""
        wait_until(lambda: texts(sites[0]) == [], "the deletes")


def test_two_fastapi_sites_and_a_stream(tmp_path: Path, free_ports: FreePorts) -> None:
    node, *ports = free_ports(3)
    folder = EXAMPLES / "fastapi_site"
    sites = [f"http://127.0.0.1:{port}" for port in ports]
    commands = [[sys.executable, "-m", "uvicorn", "--port", str(port), "app:app"] for port in ports]
    first = {"SITE_DIR": str(tmp_path / "a"), "SITE_PORT": str(node)}
    second = {"SITE_DIR": str(tmp_path / "b"), "SITE_SERVERS": f"127.0.0.1:{node}"}
    with (
        running(commands[0], folder, tmp_path / "errors a", **first),
        running(commands[1], folder, tmp_path / "errors b", **second),
    ):
        for site in sites:
            wait_until(lambda site=site: ask(site + "/todos") == {}, "an answer")
        name = ask(sites[0] + "/todos?text=milk", "POST")["name"]
        wait_until(lambda: name in ask(sites[1] + "/todos"), "it on the other site")
        with urllib.request.urlopen(sites[1] + "/changes", timeout=DEADLINE_S) as stream:
            lines = [stream.readline().decode() for _ in range(3)]
            assert f'"name": "{name}"' in lines[1]
            cursor = lines[0].removeprefix("id: ").strip()
        assert ask(f"{sites[1]}/todos/{name}?done=true", "PUT") == {"text": "milk", "done": True}
        wait_until(lambda: ask(sites[0] + "/todos")[name]["done"], "it done on the first site")
        with urllib.request.urlopen(f"{sites[0]}/changes?cursor={cursor}", timeout=DEADLINE_S) as stream:
            assert '"done": true' in [stream.readline().decode() for _ in range(2)][1]
        assert ask(f"{sites[0]}/todos/nothing?done=true", "PUT") is None
