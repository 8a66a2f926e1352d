"""The rules of trust, and the file of trusted fingerprints."""

import os
from pathlib import Path

import pytest

from level_replicator.core.errors import ConfigError
from level_replicator.core.fingerprint import fingerprint_of
from level_replicator.security.trust import Pin, Trust, TrustedFile

A, B, C, D = (fingerprint_of(name) for name in (b"A", b"B", b"C", b"D"))


def test_a_pin_binds_only_its_own_server() -> None:
    trust = Trust({"one:1": Pin(frozenset({A, B}))}, [C])
    assert not trust.contradicts_pin("one:1", A)
    assert not trust.contradicts_pin("one:1", B)
    assert trust.contradicts_pin("one:1", C)  # trusted, but not that server
    assert not trust.contradicts_pin("two:1", C)
    assert not trust.contradicts_pin(None, C)


def test_pinned_and_trusted_peers_are_known() -> None:
    trust = Trust({"one:1": Pin(frozenset({A}))}, [C])
    assert [trust.knows(each) for each in (A, B, C)] == [True, False, True]


def test_the_role_belongs_to_the_key() -> None:
    trust = Trust({"one:1": Pin(frozenset({A}), read_only=True), "two:1": Pin(frozenset({B}))})
    assert [trust.is_read_only(each) for each in (A, B, C)] == [True, False, False]


def test_a_new_list_returns_the_fingerprints_that_are_not_known_any_more() -> None:
    trust = Trust({"one:1": Pin(frozenset({A}))}, [A, B, C])
    assert trust.replace_trusted([C, D]) == {B}  # A is still pinned
    assert [trust.knows(each) for each in (A, B, C, D)] == [True, False, True, True]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trusted.txt"


def test_lines_and_comments(path: Path) -> None:
    path.write_text(f"# the cellar\n\n{A}\n  {B.upper()}   the boat\n# {C}\n")
    assert TrustedFile(path).load() == {A, B}


@pytest.mark.parametrize("separator", ["\f", "\v", "\x1c", "\x85", "\u2028"])
def test_only_a_newline_ends_a_comment(path: Path, separator: str) -> None:
    path.write_text(f"# disabled {separator}{A}\n", "utf-8")
    assert TrustedFile(path).load() == set()


def test_a_line_that_is_not_a_fingerprint_is_named(path: Path) -> None:
    path.write_text(f"{A}\nnonsense\n")
    with pytest.raises(ConfigError, match="line 2"):
        TrustedFile(path).load()


def test_a_reload_returns_only_changes(path: Path) -> None:
    path.write_text(A)
    file = TrustedFile(path)
    assert file.load() == {A}
    assert file.reload() is None
    path.write_text(f"{A}\n{B}")
    assert file.reload() == ({A, B}, [])
    assert file.reload() is None


def test_a_change_within_one_tick_of_the_clock_is_noticed(path: Path) -> None:
    path.write_text(A)
    file = TrustedFile(path)
    file.load()
    before = path.stat()
    path.write_text(B)  # the same size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.reload() == ({B}, [])


def test_a_wrong_line_trusts_nobody_else(path: Path) -> None:
    path.write_text(A)
    file = TrustedFile(path)
    file.load()
    path.write_text(f"{B}\nnonsense")
    found = file.reload()
    assert found is not None
    assert found[0] == {B}
    assert len(found[1]) == 1


def test_a_file_that_cannot_be_read_trusts_nobody(path: Path) -> None:
    path.write_text(A)
    file = TrustedFile(path)
    file.load()
    path.unlink()
    found = file.reload()
    assert found is not None
    assert found[0] == set()
    assert "nobody is trusted" in found[1][0]
    assert file.reload() is None  # reported once
    path.write_text(A)
    assert file.reload() == ({A}, [])


def test_a_file_that_everybody_can_write_is_reported(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text(A)
    path.chmod(0o646)
    TrustedFile(path).load()
    assert "run chmod o-w" in caplog.text
