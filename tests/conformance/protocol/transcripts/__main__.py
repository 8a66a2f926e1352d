"""`python -m tests.conformance.protocol.transcripts` prints all transcripts as the code plays them now.

`--write` replaces the files."""

import sys
from pathlib import Path

from tests.conformance.protocol.scenes import SCENES, play

for scene in SCENES:
    if "--write" in sys.argv[1:]:
        (Path(__file__).parent / f"{scene.__name__}.txt").write_text(play(scene), encoding="utf-8")
    else:
        print(f"== {scene.__name__}\n{play(scene)}")
