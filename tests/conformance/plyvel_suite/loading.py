"""plyvel's own tests, as a namespace of functions that pytest collects."""

import importlib.util
import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.conformance.plyvel_suite.fetch import fetch_tests
from tests.conformance.plyvel_suite.shim import make_shim


def read_exceptions(table: str) -> dict[str, str]:
    """Those of everybody, of root if it runs this, and of a table: name → reason."""
    listed = tomllib.loads(Path(__file__).with_name("exceptions.toml").read_text("utf-8"))
    found: dict[str, str] = {name: reason for name, reason in listed.items() if isinstance(reason, str)}
    if os.geteuid() == 0:
        found |= listed.get("root", {})
    return found | listed.get(table, {})


def load_upstream(make: Callable[..., Any], exceptions: dict[str, str]) -> dict[str, Any]:
    """The tests and fixtures of upstream's module, imported with our `plyvel`; those excepted must fail.

    Raises RuntimeError when they cannot be had."""
    spec = importlib.util.spec_from_file_location("plyvel_upstream_tests", fetch_tests())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, {"plyvel": make_shim(make)}):
        spec.loader.exec_module(module)
    found = {name: value for name, value in vars(module).items() if name.startswith(("test_", "db"))}
    for name, reason in exceptions.items():
        if name in found:
            found[name] = pytest.mark.xfail(reason=reason, strict=True)(found[name])
    return found
