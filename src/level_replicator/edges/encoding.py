"""Keys and values on a command line: text, or what is not text as hexadecimal digits or Base64."""

import argparse
import base64
import binascii
import os
from typing import Any

from level_replicator.edges.exits import UsageError

TEXT, HEX, BASE64 = "text", "hex", "base64"


def add_encoding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-e",
        "--encoding",
        choices=(TEXT, HEX, BASE64),
        default=TEXT,
        help="of keys and values, as they are given and as they are shown (default: text)",
    )


def to_bytes(text: str, encoding: str, what: str) -> bytes:
    """What was typed. Raises UsageError."""
    try:
        if encoding == HEX:
            return bytes.fromhex(text)
        if encoding == BASE64:
            return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise UsageError(f"{what}: {text!r} is not {encoding}: {error}") from None
    return os.fsencode(text)


def to_text(data: bytes, encoding: str) -> str:
    """For people: one line, without control characters."""
    if encoding == HEX:
        return data.hex()
    if encoding == BASE64:
        return base64.b64encode(data).decode()
    text = data.decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def to_json(name: str, data: bytes | None, encoding: str) -> dict[str, Any]:
    """One member: text under the name, where it is none under name_base64; hex and Base64 always say what they are."""
    if data is None:
        return {name: None}
    if encoding == HEX:
        return {f"{name}_hex": data.hex()}
    if encoding == TEXT:
        try:
            return {name: data.decode("utf-8")}
        except UnicodeDecodeError:
            pass
    return {f"{name}_base64": base64.b64encode(data).decode()}
