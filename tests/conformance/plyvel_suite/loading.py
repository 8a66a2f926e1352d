"""The tests of plyvel or plyvel_next, as a namespace of functions that pytest collects."""

import importlib.util
import os
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.conformance.plyvel_suite.fetch import fetch_tests
from tests.conformance.plyvel_suite.shim import MakeDatabase, close_all, make_shim
from tests.harness.bindings import import_binding, is_installed, reason


def build_suite(binding: str, make: MakeDatabase) -> dict[str, Any]:
    """The namespace of a test module that runs the tests of `binding` on the databases of `make`.

    Skips the module when the binding is not installed."""
    if not is_installed(binding):
        pytest.skip(reason(binding), allow_module_level=True)
    exceptions = _read_exceptions(binding)
    unavailable = None
    upstream: dict[str, Any] = {}
    try:
        upstream = _load_upstream(binding, make, exceptions)
    except RuntimeError as error:
        unavailable = str(error)

    @pytest.fixture(autouse=True)
    def _close_what_is_left() -> Iterator[None]:
        yield
        close_all()

    def test_upstream_is_there_and_exceptions_name_its_tests() -> None:
        assert unavailable is None, unavailable
        assert "test_put" in upstream
        assert exceptions.keys() <= upstream.keys()

    return upstream | {
        "_close_what_is_left": _close_what_is_left,
        "test_upstream_is_there_and_exceptions_name_its_tests": test_upstream_is_there_and_exceptions_name_its_tests,
    }


def _read_exceptions(binding: str) -> dict[str, str]:
    """Name → reason: the common exceptions, and those for root if root runs this."""
    listed = tomllib.loads(Path(__file__).with_name("exceptions.toml").read_text("utf-8"))
    found: dict[str, str] = {name: reason for name, reason in listed.items() if isinstance(reason, str)}
    if os.geteuid() == 0:
        found |= listed.get(f"{binding}-root", {})
    return found


def _load_upstream(binding: str, make: Callable[..., Any], exceptions: dict[str, str]) -> dict[str, Any]:
    """The tests and fixtures of upstream's module, imported with our `plyvel`; those excepted must fail.

    Raises RuntimeError when they cannot be downloaded."""
    spec = importlib.util.spec_from_file_location(f"{binding}_upstream_tests", fetch_tests(binding))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, {binding: make_shim(import_binding(binding), make)}):
        spec.loader.exec_module(module)
    found = {name: value for name, value in vars(module).items() if name.startswith(("test_", "db"))}
    for name, cause in exceptions.items():
        if name in found:
            found[name] = pytest.mark.xfail(reason=cause, strict=True)(found[name])
    return found
