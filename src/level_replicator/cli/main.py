"""The command line: `level-replicator COMMAND ...`, or `lrep` for short.

A command has a NAME, a HELP text, an EXAMPLE (which the tests run), `add_arguments(parser)` and `run(arguments)`, which
returns the exit status. COMMANDS lists all of them; `--help` and the documentation are made from this table.
"""

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn, Protocol

from level_replicator import __version__
from level_replicator.cli.backup import Backup, Restore
from level_replicator.cli.data import Delete, Get, Put, Scan
from level_replicator.cli.demo import command as demo
from level_replicator.cli.doctor import Doctor
from level_replicator.cli.keys import Fingerprint, Keygen
from level_replicator.cli.log import Changes, Log, Truncate
from level_replicator.cli.maintenance import Adopt, NewOrigin, Verify
from level_replicator.cli.serve import Serve
from level_replicator.cli.status import Status, Top
from level_replicator.cli.target import FAILED, INTERRUPTED, INVALID_USAGE, READER_GONE
from level_replicator.core.errors import ConfigError, ReplicationError


class Command(Protocol):
    """One command: an object, or a module."""

    NAME: str
    HELP: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int: ...


class Completion:
    NAME = "completion"
    HELP = "Print a completion script for a shell."
    EXAMPLE = "level-replicator completion bash"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("shell", choices=("bash", "zsh", "fish"))
        parser.add_argument(
            "--program", choices=_PROGRAMS, default="lrep", help="the command to complete (default: lrep)"
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
    NewOrigin(),
    Keygen(),
    Fingerprint(),
    Completion(),
)


class CommandParser(argparse.ArgumentParser):
    """The parser of one command. Options may stand anywhere between the positional arguments.

    argparse itself gives an optional positional argument up at the first option: `put DIR KEY --sync VALUE` fails."""

    _intermixed = False
    _unknown = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, but report unknown arguments with the usage of this command."""
        if self._intermixed:  # called by parse_known_intermixed_args, of which this is a part
            return super().parse_known_args(args, namespace)
        self._intermixed = True
        self._unknown = any(map(self._is_unknown, takewhile(lambda each: each != "--", args or ())))
        try:
            found, rest = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixed = False
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest

    def error(self, message: str) -> NoReturn:
        """Exit with the message. It gets a hint if the argument may have been meant as a key or value."""
        takes_keys = any(action.metavar == "KEY" and not action.option_strings for action in self._actions)
        hint = ": put `--` before keys and values that begin with `-`" if self._unknown and takes_keys else ""
        super().error(message + hint)

    def _is_unknown(self, argument: str) -> bool:
        """Return whether the argument looks like an option, but is none."""
        return argument[:1] == "-" != argument and argument.partition("=")[0] not in self._option_string_actions


_USAGE_ERRNOS = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EINVAL,
    errno.EADDRNOTAVAIL,
}


def exit_status_of(error: ReplicationError) -> int:
    """Return the exit status for an error: INVALID_USAGE for wrong arguments and settings, which include missing files
    that were named; FAILED for a right command that failed."""
    if not isinstance(error, ConfigError):
        return FAILED
    cause = error.__cause__
    if isinstance(cause, ImportError) or (isinstance(cause, OSError) and cause.errno not in _USAGE_ERRNOS):
        return FAILED
    return INVALID_USAGE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status, one of those in target.py. Without a command, print the help."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if "command" not in arguments:
        parser.print_help()
        return 0
    command: Command = arguments.command
    try:
        status = command.run(arguments)
        sys.stdout.flush()  # raises BrokenPipeError here, and not when the interpreter ends
        return status
    except ReplicationError as error:
        print(f"level-replicator {command.NAME}: {error}", file=sys.stderr)
        return exit_status_of(error)
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
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=CommandParser)
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
