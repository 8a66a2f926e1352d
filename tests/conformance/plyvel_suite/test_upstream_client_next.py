"""The test suite of plyvel_next, on a client through a Unix socket. The tests in exceptions.toml must fail."""

from tests.conformance.plyvel_suite.loading import build_suite
from tests.conformance.plyvel_suite.shim import make_client

# pytest collects the tests and fixtures in this module's namespace
globals().update(build_suite("plyvel_next", make_client))
