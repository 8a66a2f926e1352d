"""`make diagrams` draws each docs/diagrams/*.txt as an SVG beside it, by svgbob. Text in quotes is drawn as it is."""

from pathlib import Path

from sphinxcontrib.svgbob._svgbob import to_svg

DIAGRAMS = Path(__file__).parent / "diagrams"
BACKGROUND = '<rect class="backdrop" width="100%" height="100%"></rect>'


def draw(text: str) -> str:
    """Return the SVG of a diagram in svgbob's notation."""
    fonts = "DejaVu Sans Mono, Menlo, Consolas, monospace"
    svg = to_svg(text, font_size=14, font_family=fonts, background_color="white")
    # a background of its own: the lines are black, and the page may be dark
    svg = svg.replace("\n", f"\n  {BACKGROUND}\n", 1)
    return svg.rstrip("\n") + "\n"


def main() -> None:
    for source in sorted(DIAGRAMS.glob("*.txt")):
        source.with_suffix(".svg").write_text(draw(source.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
