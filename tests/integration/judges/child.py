"""The process of a node that is judged: `python -m tests.integration.judges.child FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.integration.judges import clock


def main() -> None:
    clock.repair_sleep()
    from tests.integration.judges.server import JudgedChild  # only now: the library imports `sleep` by name

    JudgedChild(Path(sys.argv[1])).run()


if __name__ == "__main__":
    main()
