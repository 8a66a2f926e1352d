"""A headless Chromium that tests drive through its chromedriver. Tests without one are skipped, and say so."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
LOAD_TIMEOUT_S = 60


class Browser:
    """One tab. `run` evaluates the body of a function in the page and returns its value."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def open(self, url: str) -> None:
        self._driver.get(url)

    def run(self, script: str, *arguments: object) -> object:
        return self._driver.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector))

    def resize(self, width: int, height: int = 900) -> None:
        """Set the viewport in CSS pixels; a window could not be as narrow as a phone."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def set_dark(self, dark: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def set_scripts(self, enabled: bool) -> None:
        self._driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not enabled})

    def source(self) -> str:
        return str(self._driver.page_source)

    def visible_text(self, selector: str = "body") -> str:
        return str(self._driver.find_element("css selector", selector).text)

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the viewport."""
        return int(str(self.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")))

    def console(self) -> list[str]:
        """Return the errors and warnings of the console since the last call, as one line each."""
        return [f"{each['level']}: {each['message']}" for each in self._driver.get_log("browser")]


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Start Chromium with an empty profile in `profile`; skip the test where it is missing."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-proxy-server"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.set_page_load_timeout(LOAD_TIMEOUT_S)
        yield Browser(driver)
    finally:
        driver.quit()
