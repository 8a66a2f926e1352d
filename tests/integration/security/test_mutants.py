"""Each rule has a test that fails when the rule is switched off."""

from pathlib import Path

import pytest

from tests.harness.mutation import assert_caught
from tests.integration.security.mutants import MUTANTS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    assert_caught("tests.integration.security.mutants", name, Path(__file__).parent / MUTANTS[name][1])
