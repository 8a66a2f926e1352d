"""Key files: their generation, and the errors of invalid ones."""

import json
import logging
import shutil
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import level_replicator as lrep
from level_replicator.core.fingerprint import parse_fingerprint
from level_replicator.security.key_files import Pems, load_pems, write_pems
from level_replicator.security.tls import Contexts
from tests.integration.security.keys import pems, print_of

HERE = Path(__file__).parent
(A,) = print_of("A")


@pytest.mark.parametrize("key", ["p256", "ed25519"])
def test_generated_keys_are_valid(key: str) -> None:
    made = lrep.generate_pems(key=key, name="laptop", days=10)
    certificate = x509.load_pem_x509_certificate(made["cert"].encode())
    assert certificate.subject == certificate.issuer
    assert certificate.subject.rfc4514_string() == "CN=laptop"
    assert 9 <= (certificate.not_valid_after_utc - datetime.now(UTC)).days <= 10
    certificate.verify_directly_issued_by(certificate)
    private = serialization.load_pem_private_key(made["private"].encode(), None)
    public = serialization.load_pem_public_key(made["public"].encode())
    assert private.public_key() == public == certificate.public_key()
    assert lrep.fingerprint(made) != lrep.fingerprint(lrep.generate_pems(key=key))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"key": "rsa"}, "expected 'p256' or 'ed25519'"),
        ({"name": ""}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"days": 1e9}, "days"),
        ({"days": float("nan")}, "days"),
        ({"days": -5}, "days"),
    ],
)
def test_keys_that_cannot_be_generated_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(lrep.ConfigError, match=says):
        lrep.generate_pems(**arguments)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to compare with")
def test_the_fingerprint_is_that_of_openssl(tmp_path: Path) -> None:
    path = tmp_path / "cert.pem"
    path.write_text(pems("A")["cert"])
    asked = ["openssl", "x509", "-in", str(path), "-noout", "-fingerprint", "-sha256"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip().partition("=")[2]
    assert parse_fingerprint(told) == A == lrep.fingerprint(path)


def test_a_fingerprint_may_be_written_in_several_ways() -> None:
    digits = A.removeprefix("sha256:")
    colons = ":".join(digits[n : n + 2] for n in range(0, 64, 2)).upper()
    assert {parse_fingerprint(each) for each in (A, digits, colons, f" SHA256:{digits} ")} == {A}


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", A[:-1], A + "0", "sha1:" + "0" * 64, "x" * 64, None, 5, b"0" * 64],
    # A is another one in each process, and the name of a test must not be
    ids=["empty", "prefix only", "too short", "too long", "sha1", "not hexadecimal", "None", "a number", "bytes"],
)
def test_a_text_that_is_not_a_fingerprint_is_refused(text: Any) -> None:
    with pytest.raises(lrep.ConfigError, match="fingerprint"):
        parse_fingerprint(text)


@pytest.mark.parametrize("name", ["selfsigned_2048.json", "selfsigned_old_2048.json"])
def test_files_of_node_selfsigned(name: str) -> None:
    """Written by selfsigned 5.5.0 and 2.4.1 of the npm registry."""
    assert load_pems(HERE / name).fingerprint == lrep.fingerprint(HERE / name)


def test_a_weak_key_is_refused() -> None:
    """selfsigned 2.4.1 makes RSA keys of 1,024 bits by default."""
    with pytest.raises(lrep.ConfigError, match="1024 bits; expected 2048 or more"):
        load_pems(HERE / "selfsigned_1024.json")


def test_a_written_key_file_is_private_and_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "pems.json"
    write_pems(path, pems("A"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(lrep.ConfigError, match="exists, and keys are never overwritten"):
        write_pems(path, pems("B"))
    assert load_pems(path).fingerprint == A
    with pytest.raises(lrep.ConfigError, match="No such file"):
        write_pems(tmp_path / "nowhere" / "pems.json", pems("A"))
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(lrep.ConfigError):
        write_pems(tmp_path / "link", pems("A"))
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_file_that_others_can_read_causes_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "pems.json"
    write_pems(path, pems("A"))
    with caplog.at_level(logging.WARNING):
        load_pems(path)
        assert caplog.text == ""
        path.chmod(0o644)
        load_pems(path)
    assert "chmod 600" in caplog.text


def _encrypted() -> str:
    private = serialization.load_pem_private_key(pems("A")["private"].encode(), None)
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    ).decode()


def _x25519() -> str:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return (
        X25519PrivateKey.generate()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "no 'cert'"),
        ({**pems("A"), "cert": 5}, "no 'cert'"),
        ({**pems("A"), "cert": "x"}, "not a valid certificate in PEM format"),
        ({**pems("A"), "cert": pems("A")["private"]}, "not a valid certificate in PEM format"),
        ({**pems("A"), "cert": pems("B")["cert"]}, "does not belong to its certificate"),
        ({**pems("A"), "private": ""}, "no 'private'"),
        ({**pems("A"), "private": "x"}, "not a valid private key in PEM format"),
        ({**pems("A"), "private": pems("A")["public"]}, "not a valid private key in PEM format"),
        ({**pems("A"), "private": _encrypted()}, "is encrypted"),
        ({**pems("A"), "private": _x25519()}, "cannot be used with TLS"),
    ],
)
def test_the_error_says_why_a_key_pair_is_invalid(wrong: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(lrep.ConfigError, match=says) as raised:
        lrep.open(tmp_path / "x", {"pems": wrong, "trusted": [A], "port": 0})
    assert "-----" not in str(raised.value)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("curve", [ec.SECP256K1(), ec.SECP224R1(), ec.SECP192R1()], ids=lambda curve: str(curve.name))
def test_a_curve_without_a_name_in_tls_1_3_is_refused(curve: ec.EllipticCurve, tmp_path: Path) -> None:
    """Otherwise every handshake would fail, with a misleading error."""
    with pytest.raises(lrep.ConfigError, match=f"{curve.name}.*P-256"):
        lrep.open(tmp_path / "x", {"pems": _of(ec.generate_private_key(curve)), "trusted": [A], "port": 0})
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: str(curve.name))
def test_larger_curves_are_accepted(curve: ec.EllipticCurve) -> None:
    assert load_pems(_of(ec.generate_private_key(curve)))


def test_a_key_that_openssl_refuses_is_a_config_error() -> None:
    """This covers all other restrictions of the machine's OpenSSL configuration."""
    weak = ec.generate_private_key(ec.SECP192R1())
    der = serialization.Encoding.DER
    private = weak.private_bytes(der, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    certificate = x509.load_pem_x509_certificate(_of(weak)["cert"].encode()).public_bytes(der)
    with pytest.raises(lrep.ConfigError, match=r"OpenSSL rejects this key pair: .*too small"):
        Contexts(Pems(private, certificate))


def _of(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + timedelta(days=9))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    cert = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return {"private": private.decode(), "cert": cert.decode()}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "is not a JSON file"),
        (b"[]", "not contain a JSON object"),
        (b"\xff", "is not a JSON file"),
        (b"{" * 100_000, "JSON"),
    ],
)
def test_a_file_that_is_not_a_key_file_is_refused(text: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "pems.json"
    path.write_bytes(text)
    with pytest.raises(lrep.ConfigError, match=says):
        load_pems(path)
    with pytest.raises(lrep.ConfigError):
        lrep.fingerprint(path)
    path.write_bytes(bytes(2 * 1024 * 1024))
    with pytest.raises(lrep.ConfigError, match="more than"):
        load_pems(path)
    with pytest.raises(lrep.ConfigError, match="directory"):
        load_pems(tmp_path)


def test_a_private_key_is_never_shown(tmp_path: Path) -> None:
    config = lrep.Config(pems=pems("A"), trusted=[A], port=0)
    loaded = load_pems(pems("A"))
    secret = pems("A")["private"].splitlines()[1]
    assert secret not in repr(config)
    assert "private" not in repr(loaded)
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(pems("A"))[:-1])
    with pytest.raises(lrep.ConfigError) as raised:
        load_pems(broken)
    assert secret not in str(raised.value)
    assert raised.value.__cause__ is None
