"""Every kind of data set yields its entries, and one line says why an invalid one is refused."""

import base64
import json
import os
from pathlib import Path

import pytest

from level_replicator import plyvel
from level_replicator.cli.demo.data_sets import open_data_set
from level_replicator.cli.demo.errors import InputError


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    return path


def entries(source: Path | None, scratch: Path) -> dict[bytes, bytes]:
    with open_data_set(source, scratch) as data:
        return {key: data.value(number) for number, key in enumerate(data.keys)}


def problem(source: Path, scratch: Path) -> str:
    with pytest.raises(InputError) as caught:
        entries(source, scratch)
    text = str(caught.value)
    assert "\n" not in text
    assert str(source) in text
    return text


def test_a_directory_gives_its_files(tmp_path: Path, scratch: Path) -> None:
    root = tmp_path / "tree"
    (root / "below").mkdir(parents=True)
    (root / "empty").write_bytes(b"")
    (root / "below" / "b").write_bytes(b"\0\xff")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff")).write_bytes(b"a name that is no text")
    (root / "link").symlink_to(root / "empty")
    assert entries(root, scratch) == {
        b"empty": b"",
        b"below/b": b"\0\xff",
        b"\xff": b"a name that is no text",
    }


def test_the_standard_library_is_source_only(scratch: Path) -> None:
    with open_data_set(None, scratch) as data:
        assert len(data.keys) > 500
        assert data.value(data.keys.index(b"os.py")) == Path(os.__file__).read_bytes()
        for key in data.keys:
            assert b"__pycache__" not in key
            assert b"site-packages" not in key
            assert not key.endswith((b".so", b".pyc", b".a"))


def test_a_jsonl_file_gives_its_lines(tmp_path: Path, scratch: Path) -> None:
    path = tmp_path / "data.jsonl"
    binary = base64.b64encode(b"\0\xff").decode()
    lines = [
        json.dumps({"key": "text", "value": "Zürich"}),
        "",
        json.dumps({"key_base64": binary, "value_base64": binary, "other": 1}),
        json.dumps({"key": "last", "value": ""}),
    ]
    path.write_text("\n".join(lines))
    assert entries(path, scratch) == {b"text": "Zürich".encode(), b"\0\xff": b"\0\xff", b"last": b""}


def test_a_leveldb_is_copied_and_not_changed(tmp_path: Path, scratch: Path) -> None:
    path = tmp_path / "some-db"
    wanted = {b"%03d" % number: b"v" * number for number in range(100)}
    with plyvel.DB(str(path), create_if_missing=True) as db:
        for key, value in wanted.items():
            db.put(key, value)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    assert entries(path, scratch) == wanted
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"key": "a"}', '"value"'),
        ('{"key": 1, "value": "a"}', '"key"'),
        ('{"key": "a", "key_base64": "YQ==", "value": "a"}', "one of them"),
        ('{"key_base64": "!", "value": "a"}', "key_base64"),
        ('{"key": "\\ud800", "value": "a"}', "surrogates"),
        (json.dumps({"key": "k" * 1_048_577, "value": ""}), "1048577 bytes"),
    ],
)
def test_an_invalid_line_is_refused(line: str, complaint: str, tmp_path: Path, scratch: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"key": "good", "value": ""}\n' + line + "\n")
    text = problem(path, scratch)
    assert "line 2" in text
    assert complaint in text


def test_a_path_without_data_is_refused(tmp_path: Path, scratch: Path) -> None:
    assert "does not exist" in problem(tmp_path / "nowhere", scratch)
    other = tmp_path / "data.csv"
    other.write_text("a,b\n")
    assert "neither" in problem(other, scratch)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "nothing in it" in problem(empty, scratch)
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "CURRENT").write_text("MANIFEST-000007\n")
    assert "not a LevelDB that can be read" in problem(torn, scratch)


def test_a_file_that_vanished_is_an_input_error(tmp_path: Path, scratch: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "a").write_bytes(b"")
    with open_data_set(root, scratch) as data:
        (root / "a").unlink()
        with pytest.raises(InputError, match="No such file"):
            data.value(0)
