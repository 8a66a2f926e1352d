"""Which binding is chosen, and that handles and errors of both are accepted."""

import sys
from types import ModuleType

import pytest

import level_replicator as lrep
from level_replicator import leveldb
from level_replicator.storage.engine.plyvel import ENGINE_ERRORS


def _fake(name: str) -> ModuleType:
    made = ModuleType(name)
    error = type("Error", (Exception,), {})
    made.__dict__.update(DB=type("DB", (), {}), Error=error, CorruptionError=type("CorruptionError", (error,), {}))
    return made


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        (["plyvel", "plyvel_next"], ["plyvel", "plyvel_next"]),
        (["plyvel"], ["plyvel"]),
        (["plyvel_next"], ["plyvel_next"]),
    ],
)
def test_every_installed_binding_is_found(
    monkeypatch: pytest.MonkeyPatch, installed: list[str], expected: list[str]
) -> None:
    for name in ("plyvel", "plyvel_next"):
        monkeypatch.setitem(sys.modules, name, _fake(name) if name in installed else None)
    assert [each.__name__ for each in leveldb._installed_bindings()] == expected


def test_without_a_binding_the_error_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("plyvel", "plyvel_next"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"plyvel: .*plyvel_next: .*: install plyvel .* or plyvel-next"):
        leveldb._installed_bindings()


def test_the_chosen_binding_is_exported() -> None:
    assert lrep.plyvel is leveldb.BINDINGS[0]
    assert lrep.plyvel.__name__ in {"plyvel", "plyvel_next"}


def test_errors_of_every_binding_are_errors_of_the_engine() -> None:
    for binding in leveldb.BINDINGS:
        assert binding.Error in ENGINE_ERRORS
        assert binding.DB in leveldb.DB_CLASSES
        assert binding.CorruptionError in leveldb.CORRUPTION_ERRORS
        assert issubclass(leveldb.IteratorInvalidError, binding.IteratorInvalidError)


def test_the_text_of_an_error_has_no_bytes_literal() -> None:
    assert leveldb.error_text(leveldb.CORRUPTION_ERRORS[0](b"Corruption: bad block")) == "Corruption: bad block"
    assert leveldb.error_text(OSError(5, "Input/output error")) == "[Errno 5] Input/output error"
