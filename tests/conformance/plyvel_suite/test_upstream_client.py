"""plyvel's own test-suite, on a client through a Unix socket. What cannot hold is in exceptions.toml, and must fail."""

from collections.abc import Iterator

import pytest

from tests.conformance.plyvel_suite.loading import load_upstream, read_exceptions
from tests.conformance.plyvel_suite.shim import close_all, make_client

EXCEPTIONS = read_exceptions("client")


@pytest.fixture(autouse=True)
def _close_what_is_left() -> Iterator[None]:
    yield
    close_all()


try:
    upstream = load_upstream(make_client, EXCEPTIONS)
    unavailable = None
except RuntimeError as error:
    upstream = {}
    unavailable = str(error)

# pytest collects what it finds in this module's namespace
globals().update(upstream)


def test_upstream_is_there_and_exceptions_name_its_tests() -> None:
    assert unavailable is None, unavailable
    assert "test_put" in upstream
    assert EXCEPTIONS.keys() <= upstream.keys()
