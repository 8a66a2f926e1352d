"""Rules of the protocol, each switched off from outside, to see that the simulator notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

MUTANTS: dict[str, Callable[[], list[tuple[object, str, object]]]] = {}


@contextmanager
def mutant(name: str) -> Iterator[None]:
    """Runs the body with a rule switched off."""
    patches = MUTANTS[name]()
    saved = [(owner, attribute, owner.__dict__[attribute]) for owner, attribute, _ in patches]  # type: ignore[attr-defined]
    for owner, attribute, value in patches:
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for owner, attribute, value in saved:
            setattr(owner, attribute, value)
