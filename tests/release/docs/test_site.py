"""The site builds without a warning, and all that its pages show runs, in order, as it stands but for its ports."""

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import level_replicator as lrep
from tests.harness.browser import chromium
from tests.harness.ports import FreePorts

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
GENERATED = {"commands.md", "configuration.md"}
PAGES = [path for path in sorted(DOCS.glob("*.md")) if path.name not in GENERATED]
PYTHON, CONSOLE = "python", "console"
SAYS = {
    "tutorial": ["b'tree' b'oak'", "b'oak'", "rose", "b'flower': b'dahlia' stays, b'tulip' goes", "b'moss': b'green'"],
    "index": ["{b'farewell': b'Adeus', b'greeting': b'Guten Tag'}"],
    "howto": ["True", "b'value'", "100", "{b'a': b'1'}", "they are in sync"],
    "coming-from": ["b'value'", '{"text": "hello"}'],
}
"""What a page says that its programs print."""


SIDES = (1280, 390)
"""Widths of a laptop and of a phone in CSS pixels."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; the build fails on any warning."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "src", "packaging", "examples", "tests/conformance/protocol/transcripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("*.md"):
        shutil.copy(path, folder)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", "site"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "site"


@pytest.mark.xdist_group("site")
def test_it_has_pages_made_from_the_code(site: Path) -> None:
    assert "level-replicator doctor" in (site / "commands.html").read_text("utf-8")
    api = (site / "api.html").read_text("utf-8")
    assert 'id="level_replicator.Replica.wait_synced"' in api
    assert not re.findall(r'<(?:em|span class="pre"|strong)[^>]*>_[a-z]\w*', api), "a private name"
    configuration = (site / "configuration.html").read_text("utf-8")
    for field in dataclasses.fields(lrep.Config):
        assert f'<span class="pre">{field.name}</span>' in configuration


class _Links(HTMLParser):
    """The ids of a page, and the files and pages that it refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids.add(found.get("id") or "")
        self.targets += [found[name] or "" for name in ("href", "src") if name in found and tag != "base"]


@pytest.mark.xdist_group("site")
def test_no_link_or_anchor_is_broken(site: Path) -> None:
    pages: dict[Path, _Links] = {}
    for path in site.glob("*.html"):
        pages[path] = _Links()
        pages[path].feed(path.read_text("utf-8"))
    broken = []
    for path, links in pages.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = path.parent / unquote(parts.path) if parts.path else path
            known = pages[file].ids if file in pages else set()
            if not file.is_file() or (parts.fragment and unquote(parts.fragment) not in known):
                broken.append((path.name, target))
    assert sum(len(links.targets) for links in pages.values()) > 1000
    assert broken == []


@pytest.mark.slow
@pytest.mark.xdist_group("site")
def test_every_page_fits_a_laptop_and_a_phone(site: Path, tmp_path: Path) -> None:
    """Nothing but a table or a block of code scrolls sideways, and nothing is cut off."""
    cut_off = """
        return [...document.querySelectorAll('pre, .table-wrapper')].filter((each) => {
          const scrolls = ['auto', 'scroll'].includes(getComputedStyle(each).overflowX);
          return each.scrollWidth > each.clientWidth && !scrolls;
        }).length"""
    scrolled = (
        "return [...document.querySelectorAll('.highlight-python pre')].filter((e) => e.scrollWidth > e.clientWidth)"
    )
    faults = []
    with chromium(tmp_path / "profile") as browser:
        for path in sorted(site.glob("*.html")):
            for width in SIDES:
                browser.resize(width)
                browser.open(path.as_uri())
                if browser.overflow() or browser.run(cut_off) or browser.console():
                    faults.append((path.name, width))
                if width == SIDES[0] and browser.run(f"{scrolled}.length"):
                    faults.append((path.name, "the Python code is wider than the page"))
                broken = "return [...document.images].filter((image) => !image.naturalWidth).map((image) => image.src)"
                assert browser.run(broken) == []
    assert faults == []


def blocks(page: Path, ports: list[int]) -> list[tuple[str, str]]:
    text = page.read_text("utf-8")
    for port, free in zip((8000, 8001), ports, strict=True):
        text = re.sub(rf'((?:"port": |--port |:)){port}\b', rf"\g<1>{free}", text)
    return re.findall(rf"```({PYTHON}|{CONSOLE})\n(.*?)```", text, re.DOTALL)


@contextmanager
def pusher(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    server = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        assert server.stdout.readline().startswith("ready"), server.communicate()[1]
        yield
    finally:
        server.terminate()
        server.communicate(timeout=60)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_it_shows_runs(page: Path, tmp_path: Path, free_ports: FreePorts) -> None:
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    printed = ""
    with ExitStack() as stack:
        for kind, code in blocks(page, free_ports(2)):
            commands = [[sys.executable, "-c", code]]
            if kind == CONSOLE:
                commands = [shlex.split(line[2:]) for line in code.splitlines() if line.startswith("$ ")]
            for command in commands:
                if command[:2] == ["pip", "install"]:
                    continue  # tests/release/packaging
                if command[-1] == "&":
                    stack.enter_context(pusher(command[:-1], environment, tmp_path))
                    continue
                done = subprocess.run(
                    command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
                )
                assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
                printed += done.stdout
    for words in SAYS.get(page.stem, []):
        assert words in printed, printed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_settings_it_shows_are_taken(page: Path, tmp_path: Path, free_ports: FreePorts) -> None:
    for text in re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for port, free in zip(("8000", "9464"), free_ports(2), strict=True):
            text = re.sub(rf"(^port = |:){port}\b(?=\n|\"\n)", rf"\g<1>{free}", text, flags=re.MULTILINE)
        (tmp_path / "node.toml").write_text(text.replace("0.0.0.0", "127.0.0.1"), "utf-8")
        pems = lrep.generate_pems()
        (tmp_path / "pems.json").write_text(json.dumps(pems), "utf-8")
        (tmp_path / "trusted.txt").write_text(lrep.fingerprint(pems) + "\n", "utf-8")
        command = [sys.executable, "-m", "level_replicator.cli.main", "serve", "node", "--config", "node.toml"]
        with pusher(command, dict(os.environ), tmp_path):
            pass


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text("utf-8")
    named = set(index[index.index("{toctree}") :].split())
    assert {path.stem for path in PAGES} - {"index"} | {name.removesuffix(".md") for name in GENERATED} <= named
