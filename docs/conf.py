"""Configuration of Sphinx. `make docs` builds the site into build/docs, and fails on any warning."""

import argparse
import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "src"))

from level_replicator import __version__  # noqa: E402
from level_replicator.cli.main import COMMANDS  # noqa: E402

project = "level-replicator"
author = "the level-replicator authors"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["build"]
html_theme = "alabaster"
html_theme_options = {"description": "Master-master replication for LevelDB", "fixed_sidebar": True}
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
default_role = "literal"


def _commands_page() -> str:
    """Return the page of the command line, generated from the parsers."""
    parts = [
        "# Command line",
        (
            "`level-replicator COMMAND …`, or `lrep` for short. Exit status: 0 done, 1 failed or found something "
            "wrong, 2 invalid usage, 3 key not found, 130 interrupted, 141 standard output was closed by its reader. "
            "Data goes to standard output, errors and progress to standard error."
        ),
    ]
    for command in COMMANDS:
        parser = argparse.ArgumentParser(
            prog=f"level-replicator {command.NAME}",
            formatter_class=lambda prog: argparse.HelpFormatter(prog, width=100, max_help_position=28),
        )
        command.add_arguments(parser)
        parts += [
            f"## {command.NAME}",
            command.HELP,
            f"```text\n{parser.format_help().rstrip()}\n```",
            f"For example: `{command.EXAMPLE}`",
        ]
    return "\n\n".join(parts) + "\n"


_TABLE = re.compile(r"\s|\S+( \S+)*  +\S")


def _keep_columns(_app: object, _what: str, _name: str, _of: object, _options: object, lines: list[str]) -> None:
    """Show the paragraphs of a docstring that are set in columns as literal blocks."""
    shown: list[str] = []
    for paragraph in "\n".join(lines).split("\n\n"):
        rows = paragraph.strip("\n").split("\n")
        if any(_TABLE.match(row) for row in rows):
            shown += ["::", "", *(f"    {row}" for row in rows), ""]
        else:
            shown += [*rows, ""]
    lines[:] = shown


def setup(app: Sphinx) -> None:
    (HERE / "commands.md").write_text(_commands_page(), "utf-8")
    app.connect("autodoc-process-docstring", _keep_columns)
