"""The process of a node that is judged: `python -m tests.integration.judges.child FOLDER CONFIG`."""

from __future__ import annotations

from tests.integration.judges import clock


def main() -> None:
    clock.repair_sleep()
    from tests.integration.judges.server import serve  # only now: the library imports `sleep` by name

    serve()


if __name__ == "__main__":
    main()
