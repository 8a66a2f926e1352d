"""Configuration of Sphinx. `make docs` builds the site into build/docs, and fails on any warning."""

import argparse
import dataclasses
import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "src"))

from level_replicator import Config, __version__  # noqa: E402
from level_replicator.cli.main import COMMANDS  # noqa: E402

project = "level-replicator"
author = "the level-replicator authors"
project_project_copyright = author
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["build"]
html_theme = "furo"
pygments_style, pygments_dark_style = "tango", "github-dark"
html_title = "level-replicator"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/logo.svg"
html_logo = "_static/logo.svg"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#4059d6", "color-brand-content": "#4059d6"},
    "dark_css_variables": {"color-brand-primary": "#8ea2ff", "color-brand-content": "#8ea2ff"},
}
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = "$ "
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
add_module_names = False
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


_SETTINGS = re.compile(r"^ {4}(\w+(?:, \w+)*) {2,}(\S.*)((?:\n {8,}\S.*)*)", re.MULTILINE)


def _configuration_page() -> str:
    """Return the page of the settings, generated from the docstring and the fields of Config.

    Raises ValueError if a field is not described, or a description has no field."""
    described = {
        name: " ".join([first, *rest.split()])
        for names, first, rest in _SETTINGS.findall(Config.__doc__ or "")
        for name in names.split(", ")
    }
    fields = {field.name: field for field in dataclasses.fields(Config)}
    if described.keys() != fields.keys():
        raise ValueError(f"Config describes other settings than it has: {described.keys() ^ fields.keys()}")
    rows = ["| setting | meaning |", "|---|---|"]
    for name, text in described.items():
        meaning = text[0].upper() + text[1:].replace("|", r"\|")
        rows.append(f"| `{name}` | {meaning}. *Default:* {_default_text(name, fields[name].default)} |")
    return _CONFIGURATION + "\n".join(rows) + "\n"


def _default_text(name: str, default: object) -> str:
    if default is dataclasses.MISSING:
        return "`{}`"
    if isinstance(default, bool) or not isinstance(default, int | float):
        return f"`{default}`"
    if "bytes" in name:
        return f"`{default}` ({default / 2**30:g} GiB)"
    return f"`{default:.0f}` ({default / 86_400:g} days)" if default > 86_400 else f"`{default:g}`"


_CONFIGURATION = """\
# Configuration

The settings of `install` and `open`, as a dict or a `Config`. `Config.from_toml` and `lrep serve --config FILE` read
the same names from a TOML file, where `inf` is used for `None` of the limits. Durations are in seconds. A setting that
cannot work raises `ConfigError` before anything is opened.

"""

_COLUMNS = re.compile(r"([\w*]+(?:, [\w*]+)*) {2,}(\S.*)")


def _list_columns(_app: object, _what: str, _name: str, _of: object, _options: object, lines: list[str]) -> None:
    """Turn paragraphs of a docstring that are set in two columns, names and their meaning, into definition lists."""
    shown: list[str] = []
    for paragraph in "\n".join(lines).split("\n\n"):
        rows = paragraph.strip("\n").split("\n")
        if _COLUMNS.fullmatch(rows[0]) and all(row.startswith(" ") or _COLUMNS.fullmatch(row) for row in rows):
            for row in rows:
                found = _COLUMNS.fullmatch(row)
                shown += [f"`{found[1]}`", f"    {found[2]}"] if found else [f"    {row.strip()}"]
            shown.append("")
        elif rows[0].startswith("    "):
            shown += ["::", "", *(f"    {row}" for row in rows), ""]
        else:
            shown += [*rows, ""]
    lines[:] = shown


_PRIVATE = re.compile(r", _\w+(?:: [^=,]+)?=(?:<[^>]*>|[^,)]*)")


def _hide_private_arguments(
    _app: object, _what: str, _name: str, _of: object, _options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    return (None if signature is None else _PRIVATE.sub("", signature)), returns


def _hide_private_fields(_app: object, _domain: str, _kind: str, content: nodes.Element) -> None:
    for name in list(content.findall(nodes.field_name)):
        if name.astext().partition(" ")[2].startswith("_"):
            name.parent.parent.remove(name.parent)


_PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "examples/README.md": "examples.md",
}
"""Files of the repository that are pages of the site."""
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)#]*)(#[^)]*)?\)")


def _link_pages(_app: object, path: Path, _parent: str, content: list[str]) -> None:
    """Point the links of an included file of the repository to pages of the site; a link to any other file becomes
    its text."""
    folder = (HERE / path).resolve().parent.relative_to(HERE.parent)

    def replace(link: re.Match[str]) -> str:
        image, text, target, anchor = link.groups()
        inside = (folder / target).as_posix()
        page = _PAGES.get(inside) or (inside.removeprefix("docs/") if inside.startswith("docs/") else None)
        shown = "" if text == target else text  # the title of the page
        return f"{image}[{shown}]({page}{anchor or ''})" if page else text

    content[0] = _LINK.sub(replace, content[0])


def setup(app: Sphinx) -> None:
    (HERE / "configuration.md").write_text(_configuration_page(), "utf-8")
    app.connect("include-read", _link_pages)
    (HERE / "commands.md").write_text(_commands_page(), "utf-8")
    app.connect("autodoc-process-docstring", _list_columns)
    app.connect("autodoc-process-signature", _hide_private_arguments)
    app.connect("object-description-transform", _hide_private_fields)
