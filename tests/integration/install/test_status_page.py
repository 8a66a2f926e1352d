"""The status page in a real browser, with real nodes behind it."""

import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

import level_replicator as lrep
from tests.harness.browser import Browser, chromium
from tests.harness.ports import FreePorts
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.slow
HOSTILE = '<img src=x onerror="window.owned=1"><script>window.owned=2</script>\u202e gnol' + "x" * 200
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


def page_of(replica: lrep.Replica) -> str:
    assert replica.metrics_address is not None
    return "http://{}:{}/".format(*replica.metrics_address)


def lag_of(browser: Browser, peer: int = 0) -> float:
    cell = "return Number(document.querySelectorAll('#peers .lag')[arguments[0]].dataset.seconds)"
    return float(str(browser.run(cell, peer)))


def test_a_peer_goes_down_and_comes_back(browser: Browser, tmp_path: Path, free_ports: FreePorts) -> None:
    (port,) = free_ports(1)
    there = {"port": port}
    here = {"port": 0, "metrics": 0, "servers": {f"127.0.0.1:{port}": {"name": "the other node"}}}
    with lrep.open(tmp_path / "a", here) as a:
        b = lrep.open(tmp_path / "b", there)
        try:
            a.put(b"key", b"value")
            assert a.wait_synced(60)
            browser.resize(WIDTHS[0])
            browser.open(page_of(a))
            wait_until(lambda: browser.text("#health") == "Healthy", browser.source)
            assert browser.text("#title") == "{}:{}".format(*a.address or ())
            assert browser.text("#peers .main.name") == "the other node"
            assert browser.text("#peers .pill") == "In sync"
            assert browser.text("#tile-keys .value") == "1"
            labels = browser.run("return [...document.querySelectorAll('#graph .box-name')].map((e) => e.textContent)")
            assert labels == ["{}:{}".format(*a.address or ()), "the other node"]
        finally:
            b.close()
        a.put(b"key", b"newer")
        wait_until(lambda: browser.text("#peers .pill") == "Down" and lag_of(browser) > 0, browser.source)
        assert browser.text("#health") == "1 of 1 peer down"
        assert browser.text("#graph .peer .box-state").startswith("Down · lag")
        assert "cannot connect" in browser.text("#peers .error")
        before = lag_of(browser)
        wait_until(lambda: lag_of(browser) > before + 1, browser.source)
        with lrep.open(tmp_path / "b", there):
            wait_until(lambda: browser.text("#health") == "Healthy", browser.source)
            wait_until(lambda: lag_of(browser) == 0, browser.source)
        assert browser.console() == []
    wait_until(lambda: browser.text("#health") == "No answer", browser.source)
    assert "has not answered" in browser.text("#notes")
    browser.open("about:blank")
    browser.console()  # the failed requests


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("peers", [0, 1, 5, 60])
def test_any_number_of_peers_with_hostile_names_fits(
    browser: Browser, tmp_path: Path, width: int, dark: bool, peers: int
) -> None:
    with lrep.open(tmp_path / "a", {"port": 0, "metrics": 0, "servers": {"127.0.0.1:1": {}}}) as a:
        status = a.status()
        (peer,) = status["peers"]
        states = [peer | {"state": each} for each in ("live", "reconciling", "refused", "connecting", "gone")]
        states = [each | {"last_error": HOSTILE, "waiting_for": HOSTILE, "waiting_s": 99.0} for each in states]
        status["peers"] = [
            states[number % len(states)]
            | dict.fromkeys(("name", "address"), f"{number} {HOSTILE}")
            | {"stalled": number == 1, "behind": number}
            for number in range(peers)
        ]
        status |= {"failed": HOSTILE, "lost": 2, "bulk_load_incomplete": True, "keys": 10**12, "log_bytes": 10**13}
        with mock.patch.object(a._metrics, "_status", return_value=status):
            browser.set_dark(dark)
            browser.resize(width)
            browser.open(page_of(a))
            wait_until(lambda: browser.text("#health") == "Failed", browser.source)
            browser.run("document.querySelector('details').open = true")
            time.sleep(0.2)  # what an event handler would do by now
            assert browser.overflow() == 0
            assert browser.run("return window.owned ?? 0") == 0
            assert browser.run("return document.images.length + document.scripts.length") == 1
            assert browser.run("return document.querySelectorAll('#peers tbody tr').length") == peers
            if peers:
                assert browser.text("#peers .main.name") == f"0 {HOSTILE}"
            outside = """
                const all = document.querySelector('#graph').getBoundingClientRect();
                return [...document.querySelectorAll('#graph text')].filter((text) => {
                  const box = text.getBoundingClientRect();
                  const room = text.parentNode.querySelector('rect').getBoundingClientRect();
                  return box.right > room.right || box.left < room.left || box.bottom > all.bottom;
                }).map((text) => text.textContent)"""
            assert browser.run(outside) == []
            assert browser.console() == []


def test_without_javascript_the_last_state_is_a_table(browser: Browser, tmp_path: Path) -> None:
    config = {"metrics": 0, "servers": {"127.0.0.1:1": {"name": HOSTILE}}}
    with lrep.open(tmp_path / "a", config) as a:
        browser.resize(WIDTHS[1])
        browser.set_scripts(False)
        try:
            browser.open(page_of(a))
            shown = browser.visible_text("main")
        finally:
            browser.set_scripts(True)
        assert a.origin in shown
        assert HOSTILE[:40] in shown
        assert browser.overflow() == 0
