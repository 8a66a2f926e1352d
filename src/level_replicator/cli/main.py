"""The command line: `level-replicator COMMAND ...`, or `lrep` for short.

A command gives NAME, HELP, an EXAMPLE (which the tests run), `add_arguments(parser)` and `run(arguments) -> exit
status`; adding one is writing it, in a module of its own or beside its like, and naming it in COMMANDS.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from level_replicator import __version__
from level_replicator.cli import backup, doctor, maintenance, restore, serve, verify
from level_replicator.cli.data import Delete, Get, Put, Scan
from level_replicator.cli.demo import command as demo
from level_replicator.cli.keys import Fingerprint, Keygen
from level_replicator.cli.log import Changes, Log, Truncate
from level_replicator.cli.status import Status, Top
from level_replicator.cli.target import ASKED_WRONGLY, FAILED, INTERRUPTED, READER_GONE, UsageError
from level_replicator.core.errors import ConfigError, ReplicationError


class Command(Protocol):
    """What a command's module has to offer."""

    NAME: str
    HELP: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int: ...


class Completion:
    NAME = "completion"
    HELP = "print a completion script for a shell"
    EXAMPLE = "level-replicator completion bash"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("shell", choices=("bash", "zsh", "fish"))
        parser.add_argument(
            "--program", choices=_PROGRAMS, default="lrep", help="the name that is completed (default: lrep)"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        try:
            shtab = importlib.import_module("shtab")
        except ImportError as error:
            raise ConfigError("completion needs shtab: pip install 'level-replicator[cli]'") from error
        parser = _parser()
        parser.prog = arguments.program
        _complete_paths(parser, shtab.FILE)
        print(shtab.complete(parser, arguments.shell))
        return 0


_PROGRAMS = ("lrep", "level-replicator")
_PATHS = {"WHERE", "OTHER"}
"""Metavars of arguments that may be paths, beside those whose type is Path."""


def _complete_paths(parser: argparse.ArgumentParser, files: Any) -> None:
    """Let the shell complete file names where an argument is a path."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                _complete_paths(subparser, files)
        elif action.type is Path or action.metavar in _PATHS:
            vars(action)["complete"] = files  # the attribute that shtab reads


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
    Completion(),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status (see target.py)."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if "command" not in arguments:
        parser.print_help()
        return 0
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
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
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
