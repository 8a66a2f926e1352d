"""The command line: `level-replicator COMMAND ...`, or `lrep` for short.

A command gives NAME, HELP, an EXAMPLE (which the tests run), `add_arguments(parser)` and `run(arguments) -> exit
status`; adding one is writing it, in a module of its own or beside its like, and naming it in COMMANDS.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from level_replicator import __version__
from level_replicator.cli import backup, doctor, maintenance, restore, serve, verify
from level_replicator.cli.data import Delete, Get, Put, Scan
from level_replicator.cli.demo import command as demo
from level_replicator.cli.keys import Fingerprint, Keygen
from level_replicator.cli.log import Changes, Log, Truncate
from level_replicator.cli.status import Status, Top
from level_replicator.cli.target import ASKED_WRONGLY, FAILED, INTERRUPTED, READER_GONE, UsageError
from level_replicator.core.errors import ReplicationError


class Command(Protocol):
    """What a command's module has to offer."""

    NAME: str
    HELP: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int: ...


COMMANDS: tuple[Command, ...] = (
    demo,
    serve,
    Status(),
    Top(),
    doctor,
    Get(),
    Put(),
    Delete(),
    Scan(),
    Changes(),
    Log(),
    Truncate(),
    verify,
    maintenance,
    backup,
    restore,
    Keygen(),
    Fingerprint(),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status (see target.py)."""
    arguments = _parser().parse_args(argv)
    command: Command = arguments.command
    try:
        status = command.run(arguments)
        sys.stdout.flush()  # a reader that is gone shows here, not when the interpreter ends
        return status
    except ReplicationError as error:
        print(f"level-replicator {command.NAME}: {error}", file=sys.stderr)
        return ASKED_WRONGLY if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the pipe is gone (`| head`). Without this, Python complains again on exit.
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
