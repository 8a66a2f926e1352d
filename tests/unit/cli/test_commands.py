"""The table of commands: what `--help`, the documentation and the tests expect of each."""

import argparse
import shlex

import pytest

from level_replicator.cli.main import COMMANDS, Command, CommandParser, main
from level_replicator.cli.target import NodeCommand


def _parser(command: Command) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=command.NAME)
    command.add_arguments(parser)
    return parser


def _command_parser(command: Command) -> CommandParser:
    parser = CommandParser(prog=command.NAME)
    command.add_arguments(parser)
    return parser


def test_names_are_unique() -> None:
    names = [command.NAME for command in COMMANDS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.NAME)
def test_help_is_whole_sentences(command: Command) -> None:
    assert command.HELP[0].isupper()
    assert command.HELP.endswith(".")
    assert command.EXAMPLE.split()[:2] == ["level-replicator", command.NAME]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.NAME)
def test_the_example_has_only_arguments_that_exist(command: Command) -> None:
    """Other tests run the examples, except those of long-running commands."""
    arguments = _command_parser(command).parse_args(shlex.split(command.EXAMPLE)[2:])
    assert arguments is not None


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [
        ("put", ["DIR", "k", "--sync", "v"], "v"),
        ("put", ["DIR", "k", "-e", "hex", "00"], "00"),
        ("put", ["--sync", "DIR", "k", "v", "-e", "text"], "v"),
        ("put", ["DIR", "k", "-e", "text", "--", "-v"], "-v"),
        ("put", ["DIR", "k", "-i", "file"], None),
    ],
)
def test_options_may_stand_between_arguments(name: str, arguments: list[str], value: str | None) -> None:
    command = next(each for each in COMMANDS if name == each.NAME)
    parsed = _command_parser(command).parse_args(arguments)
    assert (parsed.where, parsed.key, parsed.value) == ("DIR", "k", value)


def test_options_may_stand_between_several_values() -> None:
    command = next(each for each in COMMANDS if each.NAME == "delete")
    assert _command_parser(command).parse_args(["DIR", "a", "--sync", "b"]).keys == ["a", "b"]


def test_an_unknown_option_is_refused_with_the_usage_of_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["put", "DIR", "k", "--nonsense"])
    assert exited.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("usage: level-replicator put ")
    assert "unrecognized arguments: --nonsense" in err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["put", "DIR", "-dash"], True),
        (["put", "DIR", "k", "-dash"], True),
        (["delete", "DIR", "-a", "-b"], True),
        (["put", "DIR", "--sync"], False),
        (["put", "DIR", "k", "v", "more", "--encoding=hex"], False),
        (["status", "DIR", "-dash"], False),
    ],
)
def test_a_key_that_looks_like_an_option_gets_a_hint(
    arguments: list[str], hint: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    assert exited.value.code == 2
    assert ("put `--` before keys and values that begin with `-`" in capsys.readouterr().err) == hint


NODE_COMMANDS = [command for command in COMMANDS if isinstance(command, NodeCommand)]


@pytest.mark.parametrize("command", NODE_COMMANDS, ids=lambda command: command.NAME)
def test_commands_about_a_node_share_their_options(command: NodeCommand) -> None:
    options = {option for action in _parser(command)._actions for option in action.option_strings}
    assert {"--pems", "--fingerprint", "--insecure"} <= options
    assert ("--json" in options) == bool(command.JSON)
    assert ("--encoding" in options) == command.ENCODED
    assert "--rs" in options
    assert _parser(command)._get_positional_actions()[0].dest == "where"
