"""The table of commands: what `--help`, the documentation and the tests expect of each."""

import argparse

import pytest

from level_replicator.cli.main import COMMANDS, Command
from level_replicator.cli.target import NodeCommand


def _parser(command: Command) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=command.NAME)
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


NODE_COMMANDS = [command for command in COMMANDS if isinstance(command, NodeCommand)]


@pytest.mark.parametrize("command", NODE_COMMANDS, ids=lambda command: command.NAME)
def test_commands_about_a_node_share_their_options(command: NodeCommand) -> None:
    options = {option for action in _parser(command)._actions for option in action.option_strings}
    assert {"--pems", "--fingerprint", "--insecure"} <= options
    assert ("--json" in options) == bool(command.JSON)
    assert ("--encoding" in options) == command.ENCODED
    assert ("--rs" in options) == command.RS
    assert _parser(command)._get_positional_actions()[0].dest == "where"
