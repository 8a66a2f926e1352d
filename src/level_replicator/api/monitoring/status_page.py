"""The status page of a node: one HTML file that polls `/status.json` and draws it.

The page loads nothing else. Its Content-Security-Policy names the one script and the one style sheet by their hashes
and forbids HTML from strings, so that a name or an error text of a peer can never become markup. Without JavaScript the
page shows a table of the state when it was sent, and reloads itself.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from html import escape
from importlib.resources import files

from level_replicator.api.status import Status

_LAST_STATE = "<!-- last state -->"
_COLUMNS = ("peer", "state", "entries that it lacks", "lag (s)", "bytes received", "bytes sent", "last error")


@cache
def _page() -> str:
    return files("level_replicator.api.monitoring").joinpath("status_page.html").read_text("utf-8")


@cache
def content_security_policy() -> str:
    """Return the value of the header: only the page's own script and style, and requests to the node itself."""
    hashes = {}
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", _page(), re.DOTALL)
        hashes[tag] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def render_status_page(status: Status) -> bytes:
    """Return the page, with `status` (see `Replica.status`) as a table for browsers without JavaScript."""
    return _page().replace(_LAST_STATE, "".join(_last_state(status))).encode("utf-8", "replace")


def _last_state(status: Status) -> Iterator[str]:
    yield (
        f"<p>Node <code>{escape(status['origin'])}</code>: {status['keys']:,} keys, {status['entries']:,} log entries, "
        f"{status['conflicts']:,} conflicts. Enable JavaScript for the live page.</p>"
    )
    if status["failed"]:
        yield f'<p class="error">No more writes are taken: {escape(status["failed"])}</p>'
    yield '<div class="card"><table><thead><tr>'
    yield from (f"<th>{column}</th>" for column in _COLUMNS)
    yield "</tr></thead><tbody>"
    for peer in status["peers"]:
        values = (
            peer["name"] or peer["address"],
            peer["state"],
            peer["behind"],
            peer["lag_s"],
            peer["bytes_in"],
            peer["bytes_out"],
            peer["last_error"],
        )
        yield "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in values) + "</tr>"
    yield "</tbody></table></div>"


def _cell(value: object) -> str:
    if isinstance(value, int | float):
        return f"{value:,}"
    return escape(str(value)) if value is not None else ""
