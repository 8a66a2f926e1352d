"""The diagrams of the docs are drawn from the texts beside them."""

from pathlib import Path

import pytest

from docs.draw import BACKGROUND, DIAGRAMS, draw


@pytest.mark.parametrize("source", sorted(DIAGRAMS.glob("*.txt")), ids=lambda source: source.stem)
def test_each_svg_is_the_drawing_of_its_text(source: Path) -> None:
    assert source.with_suffix(".svg").read_text("utf-8") == draw(source.read_text("utf-8")), "run `make diagrams`"


@pytest.mark.parametrize("source", sorted(DIAGRAMS.glob("*.txt")), ids=lambda source: source.stem)
def test_each_svg_can_be_read_on_a_dark_page(source: Path) -> None:
    assert source.with_suffix(".svg").read_text("utf-8").splitlines()[1].strip() == BACKGROUND
