"""The centre: receives the measurements of the devices, and processes each at least once.

python centre.py DIR PORT
"""

import sys
from pathlib import Path

import level_replicator as lrep


def note(file: Path, text: str) -> None:
    """Replace the contents of a file atomically: a kill leaves the old text or the new one."""
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
                # a real program would send it to a queue, a database or a chart
                print(f"{sensor} {int(moment)} {item.value.decode()}", flush=True)
            # stored afterwards, so that a measurement that was not processed arrives again after a power loss
            note(cursor_file, feed.cursor)


if __name__ == "__main__":
    main(*sys.argv[1:])
