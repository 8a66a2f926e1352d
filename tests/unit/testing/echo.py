"""A program for the tests of the harness: it answers what it is asked, reports events, fails and ends on request."""

import os
import signal
import sys
from typing import Any

from level_replicator.testing.program import Program


class Echo(Program):
    def do_echo(self, value: Any) -> Any:
        return value

    def do_count(self, to: int) -> None:
        for number in range(1, to + 1):
            self.event("counted", number=number)

    def do_fail(self) -> None:
        raise ValueError("as asked")

    def do_exit(self, status: int) -> None:
        print("the last words", file=sys.stderr, flush=True)
        os._exit(status)

    def do_die_in_the_middle_of_a_line(self) -> None:
        sys.stdout.buffer.write(b'{"answer": "never wh')
        sys.stdout.buffer.flush()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Echo().handle_requests()
