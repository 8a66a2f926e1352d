"""`level-replicator log`, `changes` and `truncate`."""

import argparse
import json
import signal
import sys
from pathlib import Path

from level_replicator.cli.output import (
    UsageError,
    change_to_json,
    change_to_text,
    counted,
    duration,
    make_console,
    print_result,
    size,
    styled,
    to_bytes,
)
from level_replicator.cli.target import DONE, NodeCommand, reached
from level_replicator.core.errors import ConfigError
from level_replicator.core.records import Change, Item

_PAGE_ENTRIES = 1_000


class Log(NodeCommand):
    NAME = "log"
    HELP = (
        "Show the change log, newest entries first: time (UTC), origin, operation. Entries that were overwritten or "
        "truncated are not in the log."
    )
    EXAMPLE = "level-replicator log /tmp/lrep-0 -n 20"
    JSON = "a JSON object in each line, with whole values"
    ENCODED = True

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "-n", "--count", type=int, default=20, metavar="N", help="number of entries (default: 20; 0: all)"
        )
        _add_prefix(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        if arguments.count < 0:
            raise UsageError(f"--count: {arguments.count} is negative: expected a number from 0")
        left = arguments.count or sys.maxsize
        prefix = to_bytes(arguments.prefix, arguments.encoding, "--prefix")
        before: tuple[int, int] | None = None
        with reached(arguments) as database:
            while left > 0:
                entries, before = database.history(before, prefix=prefix, most=min(left, _PAGE_ENTRIES))
                for entry in entries:
                    _show(entry, arguments)
                left -= len(entries)
                if before is None:
                    break
        return DONE


class Changes(NodeCommand):
    NAME = "changes"
    HELP = (
        "Show the changes feed: the latest change of each key, one in a line, and the cursor after them. With --follow "
        "the command waits for further changes until Ctrl-C."
    )
    EXAMPLE = "level-replicator changes /tmp/lrep-0 --cursor-file /tmp/cursor"
    JSON = "a JSON object in each line, with whole values"
    ENCODED = True

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("-f", "--follow", action="store_true", help="wait for further changes")
        parser.add_argument("--since", metavar="CURSOR", help="begin after this cursor")
        parser.add_argument("--now", action="store_true", help="only changes from now on")
        parser.add_argument(
            "--cursor-file",
            type=Path,
            metavar="FILE",
            help="begin after the cursor in this file, if it exists, and store the new cursor in it",
        )
        _add_prefix(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        since = arguments.since
        file: Path | None = arguments.cursor_file
        if file is not None and since is None and file.exists():
            since = _read_cursor(file)
        if since is not None and arguments.now:
            raise UsageError("--now: cannot be combined with a cursor")
        prefix = to_bytes(arguments.prefix, arguments.encoding, "--prefix")
        with reached(arguments) as database:
            feed = database.changes(since, prefix=prefix, live=arguments.follow, now=arguments.now)
            before = signal.signal(signal.SIGTERM, signal.default_int_handler)
            # an interrupt may come between receiving a change and showing it, so feed.cursor is ahead of this one
            cursor = feed.cursor
            try:
                for item in feed:
                    _show(item, arguments)
                    cursor = feed.cursor
                    if file is not None and arguments.follow:
                        _store_cursor(file, cursor)
                cursor = feed.cursor
            except KeyboardInterrupt:
                if not arguments.follow:
                    raise
            finally:
                signal.signal(signal.SIGTERM, before)
                feed.close()
            sys.stdout.flush()  # raises if the reader is gone: then the cursor is not stored
            if file is not None:
                _store_cursor(file, cursor)
            else:
                print(f"cursor: {cursor}", file=sys.stderr)
        return DONE


class Truncate(NodeCommand):
    NAME = "truncate"
    HELP = (
        "Remove entries from the change log, oldest first; without bounds all of them. No data is lost: a peer that "
        "lacks removed entries compares its index with that of the node instead."
    )
    EXAMPLE = "level-replicator truncate /tmp/lrep-0 --max-age 3600"
    JSON = "the number of entries as JSON"

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--max-bytes", type=size, metavar="SIZE", help="size that the log may have on the disk, such as 64MiB"
        )
        parser.add_argument(
            "--max-age", type=duration, metavar="TIME", help="remove entries that are older: seconds, or 30d, 1h"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        with reached(arguments) as database:
            count = database.truncate(max_bytes=arguments.max_bytes, max_age=arguments.max_age)
        print_result(arguments, {"entries": count}, f"removed {counted(count, 'entry', 'entries')} from the log")
        return DONE


def _add_prefix(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prefix", metavar="KEY", default="", help="only keys with this prefix")


def _show(item: Item, arguments: argparse.Namespace) -> None:
    line = _json_line(item, arguments.encoding) if arguments.json else _text_line(item, arguments.encoding)
    console = None if arguments.json else make_console()
    if console is None:
        print(line, flush=getattr(arguments, "follow", False))
    elif isinstance(item, Change):
        time, origin, operation = line.split(" ", 2)
        style = "red" if item.value is None else "green"
        verb, rest = operation[:6], operation[6:]
        styled(console, (f"{time} ", "dim"), (f"{origin} ", "cyan"), (verb, style), rest)
    else:
        styled(console, (line, "yellow"))


def _json_line(item: Item, encoding: str) -> str:
    if isinstance(item, Change):
        return json.dumps(change_to_json(*item, encoding))
    return json.dumps({"rescan": "complete" if item.complete else "partial"})


def _text_line(item: Item, encoding: str) -> str:
    if isinstance(item, Change):
        return change_to_text(*item, encoding)
    if item.complete:
        return "rescan: all keys of the node follow; other keys that you have were deleted"
    return "rescan: the changes that follow come from the index"


def _read_cursor(file: Path) -> str | None:
    try:
        return file.read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {getattr(error, 'strerror', None) or error}") from error


def _store_cursor(file: Path, cursor: str) -> None:
    """Replace the file atomically, so that a kill leaves the old cursor or the new one. Raises ConfigError."""
    new = file.with_name(file.name + ".new")
    try:
        new.write_text(cursor + "\n", "utf-8")
        new.replace(file)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from error
