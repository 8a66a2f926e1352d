"""`level-replicator keygen` and `fingerprint`."""

import argparse
from pathlib import Path

from level_replicator.api.keys import NO_EXTRA, fingerprint, generate_pems
from level_replicator.cli.output import print_result
from level_replicator.cli.target import DONE
from level_replicator.core.errors import ConfigError
from level_replicator.core.limits import DEFAULT_CERTIFICATE_DAYS


class Keygen:
    NAME = "keygen"
    HELP = (
        "Create a key pair in a file that only its owner can read, and print its fingerprint for the configuration of "
        "the peers. An existing file is never overwritten."
    )
    EXAMPLE = "level-replicator keygen pems.json"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="the new key file, such as pems.json")
        parser.add_argument(
            "--key", choices=("p256", "ed25519"), default="p256", help="type of the key (default: %(default)s)"
        )
        parser.add_argument(
            "--name", default="level-replicator", help="subject of the certificate; nodes do not check it"
        )
        parser.add_argument(
            "--days",
            type=float,
            default=DEFAULT_CERTIFICATE_DAYS,
            help="validity of the certificate; nodes do not check it (default: %(default)s)",
        )
        parser.add_argument("--json", action="store_true", help="the file and the fingerprint as JSON")

    def run(self, arguments: argparse.Namespace) -> int:
        pems = generate_pems(key=arguments.key, name=arguments.name, days=arguments.days)
        try:
            from level_replicator.security.key_files import write_pems
        except ImportError as error:
            raise ConfigError(NO_EXTRA) from error
        write_pems(arguments.file, pems)
        return _print_fingerprint(arguments, fingerprint(pems))


class Fingerprint:
    NAME = "fingerprint"
    HELP = "Print the fingerprint of a key file, or of a PEM file with a certificate, for the configuration of peers."
    EXAMPLE = "level-replicator fingerprint pems.json"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="a key file (JSON), or a certificate (PEM)")
        parser.add_argument("--json", action="store_true", help="the file and the fingerprint as JSON")

    def run(self, arguments: argparse.Namespace) -> int:
        return _print_fingerprint(arguments, fingerprint(arguments.file))


def _print_fingerprint(arguments: argparse.Namespace, found: str) -> int:
    print_result(arguments, {"file": str(arguments.file), "fingerprint": found}, found)
    return DONE
