"""The development chain and production credentials."""

from __future__ import annotations

import stat
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from digidouble.deliver import certificate as module
from digidouble.deliver.certificate import credentials, development_root
from digidouble.errors import SettingsError


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIDOUBLE_CONFIG", str(tmp_path / "config"))
    for name in (module.CERT_ENV, module.KEY_ENV):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "config" / "c2pa"


def test_a_chain_is_made_once_and_kept_private(config):
    assert development_root() is None
    first = credentials()
    assert first.development and first.algorithm == "es256" and credentials() == first
    assert stat.S_IMODE((config / "signer.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(config.stat().st_mode) == 0o700
    assert sorted(p.name for p in config.iterdir()) == ["root.pem", "signer.key", "signer.pem"]
    signer, root = x509.load_pem_x509_certificates(first.chain)
    signer.verify_directly_issued_by(root)
    usage = signer.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and not usage.value.key_cert_sign
    extended = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.EMAIL_PROTECTION]
    assert not signer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert (signer.not_valid_after_utc - datetime.now(UTC)).days > 800
    assert "PRIVATE" not in repr(first)


def test_a_damaged_chain_is_made_anew(config):
    first = credentials()
    (config / "signer.key").write_text("not a key")
    assert credentials().key != first.key


def test_production_credentials_come_by_path_and_by_environment(config, tmp_path, monkeypatch):
    made = credentials()
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(made.chain)
    key.write_bytes(made.key)
    by_path = credentials(chain, key)
    assert not by_path.development and by_path.chain == made.chain
    monkeypatch.setenv(module.CERT_ENV, str(chain))
    with pytest.raises(SettingsError, match=module.KEY_ENV):
        credentials()
    monkeypatch.setenv(module.KEY_ENV, str(key))
    assert not credentials().development


def test_what_does_not_belong_together_is_refused(config, tmp_path, monkeypatch):
    made = credentials()
    chain, key, other = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "other.pem"
    chain.write_bytes(made.chain)
    key.write_bytes(made.key)
    from cryptography.hazmat.primitives import serialization

    stranger = ec.generate_private_key(ec.SECP256R1())
    other.write_bytes(stranger.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))  # fmt: skip
    with pytest.raises(SettingsError, match="does not belong"):
        credentials(chain, other)
    with pytest.raises(SettingsError, match="cannot be read"):
        credentials(tmp_path / "absent.pem", key)
    with pytest.raises(SettingsError, match="PEM"):
        credentials(key, key)
    key.write_bytes(b"-" * (module.MAX_PEM_BYTES + 1))
    with pytest.raises(SettingsError, match="larger"):
        credentials(chain, key)
