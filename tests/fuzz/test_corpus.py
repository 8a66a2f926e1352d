"""What the fuzzer found worth keeping goes through its decoder again."""

import pytest

from tests.fuzz import corpus_files
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_holds(target: str) -> None:
    inputs = corpus_files.load(target)
    assert inputs
    for data in inputs:
        TARGETS[target](data)
