"""One master as a process of its own: commands on stdin, reports on stdout, until Stop or the end of stdin.

python -m level_replicator.cli.demo.master DIRECTORY PORT SERVER...
"""

import argparse
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

import level_replicator as lrep
from level_replicator.cli.demo.process import Applied, Apply, Command, Failed, Report, Status, Stop

REPORT_INTERVAL_S = 0.15


class Mouth:
    """Reports from two threads, each a whole line."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def say(self, report: Report) -> None:
        line = msgspec.json.encode(report) + b"\n"
        with self._lock:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("servers", nargs="*")
    arguments = parser.parse_args(argv)
    mouth = Mouth()
    config = {"port": arguments.port, "servers": {address: {} for address in arguments.servers}}
    try:
        with lrep.open(arguments.directory, config) as replica:
            _serve(replica, mouth)
    except BrokenPipeError:
        return 1
    except lrep.ReplicationError as error:
        mouth.say(Failed(f"{type(error).__name__}: {error}"))
        return 1
    return 0


def _serve(replica: lrep.Replica, mouth: Mouth) -> None:
    done = threading.Event()
    reporter = threading.Thread(target=_report, args=(replica, mouth, done), name="reporter")
    reporter.start()
    try:
        for line in sys.stdin.buffer:
            match msgspec.json.decode(line, type=Command):
                case Apply(number, operations, atomic):
                    _apply(replica, operations, atomic)
                    mouth.say(Applied(number))
                case Stop():
                    return
    finally:
        done.set()
        reporter.join()


def _report(replica: lrep.Replica, mouth: Mouth, done: threading.Event) -> None:
    try:
        while True:
            mouth.say(msgspec.convert(replica.status(), Status))
            if done.wait(REPORT_INTERVAL_S):
                return
    except BrokenPipeError:
        return


def _apply(replica: lrep.Replica, operations: list[tuple[bytes, bytes | None]], atomic: bool) -> None:
    if atomic:
        with replica.write_batch() as batch:
            for key, value in operations:
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)
        return
    for key, value in operations:
        if value is None:
            replica.delete(key)
        else:
            replica.put(key, value)


if __name__ == "__main__":
    sys.exit(main())
