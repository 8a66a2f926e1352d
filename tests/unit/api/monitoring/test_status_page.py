"""The status page without a browser: its policy, and the table of the last state."""

import base64
import hashlib
import re
import string
from html import escape
from typing import Any

from level_replicator.api.monitoring.status_page import content_security_policy, render_status_page

HOSTILE = '<img src=x onerror="alert(1)">\'&amp;</noscript><script>alert(2)</script>'


def status(**changes: Any) -> dict[str, Any]:
    peer = {
        "address": "127.0.0.1:1",
        "name": None,
        "state": "waiting",
        "behind": None,
        "lag_s": None,
        "bytes_in": 1234,
        "bytes_out": 0,
        "last_error": None,
    }
    return {
        "origin": "0" * 16,
        "keys": 12_345,
        "entries": 3,
        "conflicts": 0,
        "failed": None,
        "peers": [{**peer, **changes}],
    }


def test_the_policy_names_the_script_and_the_style_that_are_sent() -> None:
    page = render_status_page(status()).decode()
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in content_security_policy()


def test_nothing_is_loaded_from_elsewhere_and_nothing_becomes_html() -> None:
    page = render_status_page(status()).decode()
    addresses = set(re.findall(r"\w+://[\w./]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", " onclick="):
        assert word not in page


def test_the_last_state_without_javascript() -> None:
    page = render_status_page(status()).decode()
    assert "12,345 keys" in page
    assert "<td>127.0.0.1:1</td><td>waiting</td><td></td><td></td><td>1,234</td>" in page


def test_a_hostile_name_and_error_stay_text() -> None:
    plain = render_status_page(status()).decode()
    for changes in ({"name": HOSTILE}, {"address": HOSTILE}, {"last_error": HOSTILE}):
        page = render_status_page(status(**changes)).decode()
        assert page.count("<script>") == plain.count("<script>") == 1
        assert "<img" not in page
        assert escape(HOSTILE) in page
    assert escape(HOSTILE) in render_status_page(status() | {"failed": HOSTILE}).decode()
    assert render_status_page(status(name="\udc80" + string.printable))
