"""`python -m tests.protocol.transcripts` shows all transcripts as the code plays them now; `--write` keeps them."""

import sys
from pathlib import Path

from tests.protocol.scenes import SCENES, play

for scene in SCENES:
    if "--write" in sys.argv[1:]:
        (Path(__file__).parent / f"{scene.__name__}.txt").write_text(play(scene), encoding="utf-8")
    else:
        print(f"== {scene.__name__}\n{play(scene)}")
