"""`python -m level_replicator` is the command line."""

import sys

from level_replicator.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
