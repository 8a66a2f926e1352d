"""`level-replicator keygen` and `fingerprint`."""

import argparse
import json
import sys
from pathlib import Path

from level_replicator.api.keys import NO_EXTRA, fingerprint, generate_pems
from level_replicator.core.errors import ConfigError, ReplicationError
from level_replicator.core.limits import DEFAULT_CERTIFICATE_DAYS


class Keygen:
    NAME = "keygen"
    HELP = (
        "Writes a new key pair, readable by its owner only, and prints its fingerprint, which is what peers must be"
        " told. An existing file is never overwritten."
    )
    EXAMPLE = "level-replicator keygen pems.json"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="the key file to write, such as pems.json")
        parser.add_argument(
            "--key", choices=("p256", "ed25519"), default="p256", help="the kind of key (default: %(default)s)"
        )
        parser.add_argument("--name", default="level-replicator", help="stands in the certificate, for people")
        parser.add_argument(
            "--days",
            type=float,
            default=DEFAULT_CERTIFICATE_DAYS,
            help="until when the certificate says that it is valid, which replicas do not look at (default:"
            " %(default)s)",
        )
        parser.add_argument("--json", action="store_true", help="the file and the fingerprint as JSON")

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Write the file, and return the exit status."""
        try:
            pems = generate_pems(key=arguments.key, name=arguments.name, days=arguments.days)
            try:
                from level_replicator.security.key_files import write_pems
            except ImportError as error:
                raise ConfigError(NO_EXTRA) from error
            write_pems(arguments.file, pems)
        except ReplicationError as error:
            print(f"level-replicator keygen: {error}", file=sys.stderr)
            return 1
        _print_fingerprint(arguments, fingerprint(pems))
        return 0


class Fingerprint:
    NAME = "fingerprint"
    HELP = "Prints the fingerprint of a key file, or of a PEM file with a certificate: what its peers must be told."
    EXAMPLE = "level-replicator fingerprint pems.json"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="a key file (JSON), or a certificate (PEM)")
        parser.add_argument("--json", action="store_true", help="the file and the fingerprint as JSON")

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Print the fingerprint, and return the exit status."""
        try:
            found = fingerprint(arguments.file)
        except ReplicationError as error:
            print(f"level-replicator fingerprint: {error}", file=sys.stderr)
            return 1
        _print_fingerprint(arguments, found)
        return 0


def _print_fingerprint(arguments: argparse.Namespace, found: str) -> None:
    print(json.dumps({"file": str(arguments.file), "fingerprint": found}) if arguments.json else found)
