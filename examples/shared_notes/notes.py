"""Notes on two laptops. Both can write without a network. If both change a note at the same time, one text wins,
and the other is kept as another note.

    python notes.py DIR add TITLE TEXT      python notes.py DIR list
    python notes.py DIR show TITLE          python notes.py DIR delete TITLE
    python notes.py DIR sync                syncs with the other laptop, until Ctrl-C or SIGTERM

DIR contains notes.toml with the addresses of both laptops and the keys (README.md).
"""

import dataclasses
import signal
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import level_replicator as lrep

PREFIX = b"note:"


def main(directory: str, command: str, *arguments: str) -> int:
    opened: Future[lrep.SharedDatabase] = Future()

    def keep_the_loser(key: bytes, winner: lrep.Change, loser: lrep.Change) -> None:
        """Store the losing text. If both laptops do it, they use the same title, so that it exists only once."""
        if loser.value is not None and loser.value != winner.value:
            title = key + b" (by %s at %d)" % (loser.origin[:4].encode(), loser.time_ms)
            opened.result().put(title, loser.value)

    config = lrep.Config.from_toml(Path(directory) / "notes.toml")
    config = dataclasses.replace(config, on_conflict=keep_the_loser)
    # shared, so that `add` works while `sync` runs in another terminal
    with lrep.open(directory, config, share=True) as database:
        opened.set_result(database)
        notes = database.prefixed_db(PREFIX)
        if command == "add":
            title, text = arguments
            notes.put(title.encode(), text.encode())
        elif command == "delete":
            notes.delete(arguments[0].encode())
        elif command == "show":
            text = notes.get(arguments[0].encode())
            if text is None:
                print(f"there is no note {arguments[0]!r}", file=sys.stderr)
                return 1
            print(text.decode())
        elif command == "list":
            for title, _ in notes.iterator():
                print(title.decode())
        elif command == "sync":
            stop = threading.Event()
            for each in (signal.SIGINT, signal.SIGTERM):
                signal.signal(each, lambda *_: stop.set())
            print("ready", flush=True)
            while not stop.wait(1):  # the timeout covers a signal that arrives just before the wait
                pass
        else:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
