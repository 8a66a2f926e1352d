"""Settings and fixtures of all tests."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import settings

from tests.harness.ports import FreePorts, Reservation

# A loaded machine must not fail a test: no test judges how long something took.
settings.register_profile("default", deadline=None, print_blob=True)
settings.load_profile("default")


@pytest.fixture
def free_ports() -> Iterator[FreePorts]:
    """Returns so many ports of loopback on which nobody listens; they stay reserved until the end of the test."""
    with ExitStack() as stack:

        def reserve(count: int) -> list[int]:
            reservation = Reservation(count)
            stack.callback(reservation.close)
            return reservation.ports

        yield reserve
