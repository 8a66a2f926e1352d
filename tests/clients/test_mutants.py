"""Each rule of clients switched off is caught by the test that is for it."""

from pathlib import Path

import pytest

from tests.clients.mutants import MUTANTS
from tests.mutation import assert_caught


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    assert_caught("tests.clients.mutants", name, Path(__file__).parent / MUTANTS[name][1])
