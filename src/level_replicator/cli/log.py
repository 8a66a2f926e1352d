"""`level-replicator log`, `changes` and `truncate`."""

import argparse
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from level_replicator.cli.target import (
    UsageError,
    add_encoding,
    add_keys,
    add_where,
    reached,
    to_bytes,
    to_json,
    to_text,
)
from level_replicator.core.errors import ConfigError
from level_replicator.core.records import Change, Item

_MOST_SHOWN = 60
"""Characters of a value in a line for people."""


def _line(key: bytes, value: bytes | None, origin: str, stamp: int, encoding: str) -> str:
    when = datetime.fromtimestamp((stamp >> 16) / 1000, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    text = "" if value is None else to_text(value[: 2 * _MOST_SHOWN], encoding)
    cut = "…" if len(text) > _MOST_SHOWN or (value is not None and len(value) > 2 * _MOST_SHOWN) else ""
    what = f"delete {to_text(key, encoding)}" if value is None else f"put    {to_text(key, encoding)}"
    return f"{when}Z {origin} {what}" + ("" if value is None else f" = {text[:_MOST_SHOWN]}{cut}")


def _object(key: bytes, value: bytes | None, origin: str, stamp: int, encoding: str) -> dict[str, Any]:
    return {
        **to_json("key", key, encoding),
        **to_json("value", value, encoding),
        "origin": origin,
        "stamp": stamp,
        "time_ms": stamp >> 16,
    }


class Log:
    NAME = "log"
    HELP = (
        "The change log, newest entries first: when (UTC), who, what. What was overwritten or truncated is not there."
    )
    EXAMPLE = "level-replicator log /tmp/lrep-0 -n 20"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_where(parser)
        parser.add_argument("-n", "--count", type=int, default=20, metavar="N", help="how many (default: 20; 0: all)")
        parser.add_argument("--prefix", metavar="KEY", default="", help="of keys that begin so")
        add_encoding(parser)
        parser.add_argument("--json", action="store_true", help="a JSON object a line, values whole")
        add_keys(parser)

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        if arguments.count < 0:
            raise UsageError(f"--count: {arguments.count} is no number from 0")
        left = arguments.count or sys.maxsize
        prefix = to_bytes(arguments.prefix, arguments.encoding, "--prefix")
        before: tuple[int, int] | None = None
        with reached(arguments) as database:
            while left > 0:
                entries, before = database.history(before, prefix=prefix, most=min(left, 1_000))
                for entry in entries:
                    if arguments.json:
                        print(json.dumps(_object(*entry, arguments.encoding)))
                    else:
                        print(_line(*entry, arguments.encoding))
                left -= len(entries)
                if before is None:
                    break
        return 0


class Changes:
    NAME = "changes"
    HELP = (
        "The changes feed: the latest change of each key, a line each, and the cursor to go on from. With --follow it "
        "waits for more, until Ctrl-C."
    )
    EXAMPLE = "level-replicator changes /tmp/lrep-0 --cursor-file /tmp/cursor"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_where(parser)
        parser.add_argument("-f", "--follow", action="store_true", help="wait for more")
        parser.add_argument("--since", metavar="CURSOR", help="what this cursor does not cover")
        parser.add_argument("--now", action="store_true", help="only what comes from here on")
        parser.add_argument(
            "--cursor-file",
            type=Path,
            metavar="FILE",
            help="begin where this file says, and note there how far it came",
        )
        parser.add_argument("--prefix", metavar="KEY", default="", help="of keys that begin so")
        add_encoding(parser)
        parser.add_argument("--json", action="store_true", help="a JSON object a line, values whole")
        add_keys(parser)

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        since = arguments.since
        file: Path | None = arguments.cursor_file
        if file is not None and since is None and file.exists():
            since = _noted(file)
        if since is not None and arguments.now:
            raise UsageError("--now: not together with a cursor")
        prefix = to_bytes(arguments.prefix, arguments.encoding, "--prefix")
        with reached(arguments) as database:
            feed = database.changes(since, prefix=prefix, live=arguments.follow, now=arguments.now)
            before = signal.signal(signal.SIGTERM, signal.default_int_handler)
            # not feed.cursor: whoever is interrupted may have been given a change, and not shown it
            cursor = feed.cursor
            try:
                for item in feed:
                    _show(item, arguments)
                    cursor = feed.cursor
                    if file is not None and arguments.follow:
                        _note(file, cursor)
                cursor = feed.cursor
            except KeyboardInterrupt:
                if not arguments.follow:
                    raise
            finally:
                signal.signal(signal.SIGTERM, before)
                feed.close()
            sys.stdout.flush()  # what nobody reads any more is not noted as read
            if file is not None:
                _note(file, cursor)
            else:
                print(f"cursor: {cursor}", file=sys.stderr)
        return 0


def _noted(file: Path) -> str | None:
    try:
        return file.read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {getattr(error, 'strerror', None) or error}") from error


def _note(file: Path, cursor: str) -> None:
    """Whole or not at all, whenever we are killed. Raises ConfigError."""
    new = file.with_name(file.name + ".new")
    try:
        new.write_text(cursor + "\n", "utf-8")
        new.replace(file)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from error


def _show(item: Item, arguments: argparse.Namespace) -> None:
    if isinstance(item, Change):
        entry = (item.key, item.value, item.origin, item.stamp)
        shown = _object(*entry, arguments.encoding) if arguments.json else _line(*entry, arguments.encoding)
    elif arguments.json:
        shown = {"rescan": "complete" if item.complete else "partial"}
    else:
        shown = "rescan: " + (
            "everything there is follows, and what you have besides is gone" if item.complete else "from the index"
        )
    print(json.dumps(shown) if arguments.json else shown, flush=arguments.follow)


class Truncate:
    NAME = "truncate"
    HELP = "Shortens the change log; without bounds to nothing. Nothing is lost by it: peers compare indexes then."
    EXAMPLE = "level-replicator truncate /tmp/lrep-0 --max-age 3600"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_where(parser, rs=True)
        parser.add_argument("--max-bytes", type=int, metavar="N", help="bytes that it may take on the disk afterwards")
        parser.add_argument("--max-age", type=float, metavar="SECONDS", help="entries that are older leave")
        parser.add_argument("--json", action="store_true", help="the number of entries as JSON")
        add_keys(parser)

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        with reached(arguments) as database:
            count = database.truncate(max_bytes=arguments.max_bytes, max_age=arguments.max_age)
        print(json.dumps({"entries": count}) if arguments.json else f"{count:,} entries left the log")
        return 0
