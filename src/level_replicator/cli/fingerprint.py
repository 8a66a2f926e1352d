"""`level-replicator fingerprint`."""

import argparse
import json
import sys
from pathlib import Path

from level_replicator.api.keys import fingerprint
from level_replicator.core.errors import ReplicationError

NAME = "fingerprint"
HELP = "Prints the fingerprint of a key file, or of a PEM file with a certificate: what its peers must be told."
EXAMPLE = "level-replicator fingerprint pems.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a key file (JSON), or a certificate (PEM)")
    parser.add_argument("--json", action="store_true", help="the file and the fingerprint as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints; returns the exit status."""
    try:
        told = fingerprint(arguments.file)
    except ReplicationError as error:
        print(f"level-replicator fingerprint: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"file": str(arguments.file), "fingerprint": told}) if arguments.json else told)
    return 0
