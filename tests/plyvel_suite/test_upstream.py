"""plyvel's own test-suite, on our database. What cannot hold is in exceptions.toml, and must fail."""

import importlib.util
import os
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.plyvel_suite.fetch import fetch_tests
from tests.plyvel_suite.shim import close_all, make_shim


def read_exceptions() -> dict[str, str]:
    listed = tomllib.loads(Path(__file__).with_name("exceptions.toml").read_text("utf-8"))
    for_root = listed.pop("root", {})
    return listed | for_root if os.geteuid() == 0 else listed


EXCEPTIONS = read_exceptions()


def load_upstream(path: Path) -> dict[str, Any]:
    """The tests and fixtures of upstream's module, imported with our `plyvel`."""
    spec = importlib.util.spec_from_file_location("plyvel_upstream_tests", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, {"plyvel": make_shim()}):
        spec.loader.exec_module(module)
    return {name: value for name, value in vars(module).items() if name.startswith(("test_", "db"))}


def expect_failure(name: str, test: Callable[..., None]) -> Callable[..., None]:
    return pytest.mark.xfail(reason=EXCEPTIONS[name], strict=True)(test)


@pytest.fixture(autouse=True)
def _close_what_is_left() -> Iterator[None]:
    yield
    close_all()


try:
    upstream = load_upstream(fetch_tests())
    unavailable = None
except RuntimeError as error:
    upstream = {}
    unavailable = str(error)

# pytest collects what it finds in this module's namespace
globals().update(
    {name: expect_failure(name, value) if name in EXCEPTIONS else value for name, value in upstream.items()}
)


def test_upstream_is_there_and_exceptions_name_its_tests() -> None:
    assert unavailable is None, unavailable
    assert "test_put" in upstream
    assert EXCEPTIONS.keys() <= upstream.keys()
