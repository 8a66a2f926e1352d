"""The frames that two nodes exchange, compared with the transcripts kept here.

`python -m tests.conformance.protocol.transcripts --write` replaces them after an intended change."""

from pathlib import Path

import pytest

from tests.conformance.protocol.scenes import SCENES, Scene, play

FOLDER = Path(__file__).parent / "transcripts"


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_conversation_is_the_one_that_is_documented(scene: Scene) -> None:
    assert play(scene) == (FOLDER / f"{scene.__name__}.txt").read_text(encoding="utf-8")


def test_each_kept_transcript_has_its_scene() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == {scene.__name__ for scene in SCENES}
