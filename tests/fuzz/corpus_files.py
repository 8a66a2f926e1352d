"""The corpus of each target: one text file, an input a line, in base64. Small ones first."""

import base64
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def load(target: str) -> list[bytes]:
    path = FOLDER / f"{target}.txt"
    return [base64.b64decode(line) for line in path.read_text().splitlines()] if path.exists() else []


def store(target: str, inputs: list[bytes]) -> None:
    unique = sorted(set(inputs), key=lambda data: (len(data), data))
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{target}.txt").write_text("".join(base64.b64encode(data).decode() + "\n" for data in unique))


def unpack(target: str, folder: Path) -> None:
    """As files, which is what a fuzzer works with."""
    for number, data in enumerate(load(target)):
        (folder / f"{number:05}").write_bytes(data)


def pack(target: str, folder: Path) -> None:
    store(target, [path.read_bytes() for path in folder.iterdir()])
