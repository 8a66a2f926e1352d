"""One target under atheris, in a process of its own: `python -m tests.fuzz.drive TARGET [options of libFuzzer]`."""

import logging
import sys

import atheris

with atheris.instrument_imports(include=["level_replicator"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    name = sys.argv.pop(1)
    # a merge starts itself again, by its first argument, through a shell
    sys.argv[0] = f"{sys.executable} -m tests.fuzz.drive {name}"
    logging.disable(logging.CRITICAL)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
