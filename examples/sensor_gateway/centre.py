"""At the centre: takes what the devices bring, and hands each measurement on, once it is there, at least once.

python centre.py DIR PORT
"""

import sys
from pathlib import Path

import level_replicator as lrep


def note(file: Path, text: str) -> None:
    """Whole or not at all, whenever this is killed."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def main(directory: str, port: str) -> None:
    cursor_file = Path(directory) / "handed-on"
    with lrep.open(directory, {"port": int(port)}) as replica:
        feed = replica.changes(cursor_file.read_text() if cursor_file.exists() else None)
        print("ready", flush=True)
        for item in feed:
            if isinstance(item, lrep.Change) and item.value is not None:
                sensor, _, moment = item.key.decode().partition("/")
                # here it would go to a queue, a database, a chart
                print(f"{sensor} {int(moment)} {item.value.decode()}", flush=True)
            # only now: what was not handed on when the power went comes once more
            note(cursor_file, feed.cursor)


if __name__ == "__main__":
    main(*sys.argv[1:])
