"""Fingerprints of certificates, in the forms that other tools print."""

import pytest

from level_replicator.core.errors import ConfigError
from level_replicator.core.fingerprint import fingerprint_of, parse_fingerprint

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
DIGITS = EMPTY.removeprefix("sha256:")


def test_it_is_the_sha256_of_the_certificate() -> None:
    assert fingerprint_of(b"") == EMPTY
    assert fingerprint_of(b"x") != EMPTY


@pytest.mark.parametrize(
    "text",
    [
        EMPTY,
        DIGITS,
        DIGITS.upper(),
        ":".join(DIGITS[at : at + 2] for at in range(0, 64, 2)).upper(),
        f"SHA256:{DIGITS}",
        f"  {EMPTY}\n",
    ],
)
def test_forms_that_are_accepted(text: str) -> None:
    assert parse_fingerprint(text) == EMPTY


@pytest.mark.parametrize("text", ["", "sha256:", DIGITS[:-1], DIGITS + "0", DIGITS[:-1] + "g", f"sha1:{DIGITS}"])
def test_other_texts_are_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="expected 'sha256:' and 64 hexadecimal digits") as caught:
        parse_fingerprint(text)
    assert len(text) < 10 or text not in str(caught.value)


@pytest.mark.parametrize("value", [None, 5, DIGITS.encode()])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=f"expected a str, not {type(value).__name__}"):
        parse_fingerprint(value)
