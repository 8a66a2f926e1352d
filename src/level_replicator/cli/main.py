"""The command line: `level-replicator COMMAND ...`, or `lrep` for short.

A command has a NAME, a HELP text, an EXAMPLE (which the tests run), `add_arguments(parser)` and `run(arguments)`, which
returns the exit status. COMMANDS lists all of them; `--help` and the documentation are made from this table.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from level_replicator import __version__
from level_replicator.cli.backup import Backup, Restore
from level_replicator.cli.data import Delete, Get, Put, Scan
from level_replicator.cli.demo import command as demo
from level_replicator.cli.doctor import Doctor
from level_replicator.cli.keys import Fingerprint, Keygen
from level_replicator.cli.log import Changes, Log, Truncate
from level_replicator.cli.maintenance import Adopt, Verify
from level_replicator.cli.output import UsageError
from level_replicator.cli.serve import Serve
from level_replicator.cli.status import Status, Top
from level_replicator.cli.target import FAILED, INTERRUPTED, INVALID_USAGE, READER_GONE
from level_replicator.core.errors import ReplicationError


class Command(Protocol):
    """One command: an object, or a module."""

    NAME: str
    HELP: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int: ...


COMMANDS: tuple[Command, ...] = (
    demo,
    Serve(),
    Status(),
    Top(),
    Doctor(),
    Get(),
    Put(),
    Delete(),
    Scan(),
    Changes(),
    Log(),
    Truncate(),
    Verify(),
    Adopt(),
    Backup(),
    Restore(),
    Keygen(),
    Fingerprint(),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status, one of those in target.py."""
    arguments = _parser().parse_args(argv)
    command: Command = arguments.command
    try:
        status = command.run(arguments)
        sys.stdout.flush()  # raises BrokenPipeError here, and not when the interpreter ends
        return status
    except ReplicationError as error:
        print(f"level-replicator {command.NAME}: {error}", file=sys.stderr)
        return INVALID_USAGE if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of the pipe is gone (`| head`); without this, Python reports the error once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="level-replicator", description="Master-master replication for LevelDB.")
    parser.add_argument("--version", action="version", version=f"level-replicator {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparser = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.HELP,
            epilog=f"example: {command.EXAMPLE}",
        )
        command.add_arguments(subparser)
        subparser.set_defaults(command=command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
