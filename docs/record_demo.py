"""`make demo-picture` runs the demo and draws its last screen as docs/images/demo.svg, by rich."""

import re
import sys
from pathlib import Path
from unittest.mock import patch

from rich.console import Console

from level_replicator.cli.demo import command
from level_replicator.cli.demo.rich_screen import RichScreen
from level_replicator.cli.main import main

PICTURE = Path(__file__).parent / "images" / "demo.svg"
COLUMNS = 100


class RecordedScreen(RichScreen):
    """The screen of a terminal, of which the last table and everything after it are recorded."""

    def __init__(self) -> None:
        self.console = Console(record=True, force_terminal=True, width=COLUMNS, highlight=False)
        super().__init__(self.console)

    def close(self) -> None:
        self.console.export_text(clear=True)  # forget the earlier frames of the table
        super().close()


def record() -> int:
    """Run the demo and write the picture. Returns the exit status of the demo."""
    screen = RecordedScreen()
    with patch.object(command, "open_screen", return_value=screen):
        status = main(["demo", *sys.argv[1:]])
    if status == 0:
        PICTURE.parent.mkdir(exist_ok=True)
        svg = screen.console.export_svg(title="make demo", unique_id="demo")
        local = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # no font from another site
        PICTURE.write_text(local, "utf-8")
    return status


if __name__ == "__main__":
    sys.exit(record())
