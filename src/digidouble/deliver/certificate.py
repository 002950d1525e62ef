"""Who signs: a production certificate named by settings or environment, else a development chain made on first use.

The development chain (root and signer, P-256) lies in `<config>/c2pa/`; its key is readable by its owner only. It proves that a
file was not changed since this machine signed it, and nothing about who that was: it is on no trust list.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digidouble.errors import OutputError, SettingsError

if TYPE_CHECKING:
    from cryptography import x509

CERT_ENV, KEY_ENV = "DIGIDOUBLE_SIGN_CERT", "DIGIDOUBLE_SIGN_KEY"
MAX_PEM_BYTES = 1 << 20
ROOT_DAYS, SIGNER_DAYS = 3650, 825
RENEW_DAYS = 7  # a signer this close to its end is made anew


@dataclass(frozen=True)
class Credentials:
    """What signs. `chain`: PEM, signer first. `algorithm`: C2PA's name, such as "es256"."""

    chain: bytes
    key: bytes = field(repr=False)
    algorithm: str
    development: bool


def config_folder() -> Path:
    """Digidouble's settings: DIGIDOUBLE_CONFIG, or the platform's folder for them. It need not exist."""
    if chosen := os.environ.get("DIGIDOUBLE_CONFIG"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "digidouble"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "digidouble"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "digidouble"


def credentials(certificate: Path | None = None, private_key: Path | None = None) -> Credentials:
    """The production credentials when they are named (arguments, else DIGIDOUBLE_SIGN_CERT and _KEY), else the development ones.

    Raises:
        SettingsError: one of the two is named without the other, cannot be read, or they do not belong together.
        OutputError: the development chain cannot be written.
    """
    chain = certificate or _from_env(CERT_ENV)
    key = private_key or _from_env(KEY_ENV)
    if chain is None and key is None:
        return development_credentials()
    if chain is None or key is None:
        raise SettingsError(f"signing needs a certificate chain and its private key: set both {CERT_ENV} and {KEY_ENV}")
    return _checked(_pem(chain), _pem(key), chain, key)


def development_root() -> bytes | None:
    """The development root certificate (PEM), None when none was made yet."""
    path = config_folder() / "c2pa" / "root.pem"
    return path.read_bytes() if path.is_file() and path.stat().st_size <= MAX_PEM_BYTES else None


def development_credentials() -> Credentials:
    """The development chain, made when it is absent, damaged or about to end."""
    folder = config_folder() / "c2pa"
    chain, key = folder / "signer.pem", folder / "signer.key"
    if chain.is_file() and key.is_file():
        try:
            found = _checked(_pem(chain), _pem(key), chain, key)
            return Credentials(found.chain, found.key, found.algorithm, development=True)
        except SettingsError:  # damaged or over: made anew below
            pass
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        root_pem, chain_pem, key_pem = _new_chain()
        for path, data, mode in (
            (folder / "root.pem", root_pem, 0o644),
            (key, key_pem, 0o600),
            (chain, chain_pem, 0o644),
        ):
            _write(path, data, mode)
    except OSError as error:
        raise OutputError(
            f"{folder}: the development certificate cannot be written ({error.strerror or error}); set DIGIDOUBLE_CONFIG to a folder that can"
        ) from error
    return Credentials(chain_pem, key_pem, "es256", development=True)


def _from_env(name: str) -> Path | None:
    value = os.environ.get(name, "").strip()
    return Path(value).expanduser() if value else None


def _pem(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); expected a PEM file for signing") from error
    if len(data) > MAX_PEM_BYTES:
        raise SettingsError(f"{path}: larger than {MAX_PEM_BYTES} bytes; expected a PEM file")
    return data


def _checked(chain: bytes, key: bytes, chain_path: Path, key_path: Path) -> Credentials:
    """Credentials whose key fits the first certificate, which is valid today and may sign content."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        certificate = x509.load_pem_x509_certificates(chain)[0]
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError, IndexError) as error:
        raise SettingsError(
            f"{chain_path}, {key_path}: expected a PEM chain and an unencrypted PEM private key ({error})"
        ) from error
    encoding = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if certificate.public_key().public_bytes(*encoding) != private.public_key().public_bytes(*encoding):
        raise SettingsError(f"{key_path}: this key does not belong to the first certificate of {chain_path}")
    if certificate.not_valid_after_utc < datetime.now(UTC) + timedelta(days=RENEW_DAYS if _is_ours(certificate) else 0):
        raise SettingsError(f"{chain_path}: the certificate ended on {certificate.not_valid_after_utc:%Y-%m-%d}")
    return Credentials(chain, key, _algorithm(private, key_path), development=False)


def _is_ours(certificate: x509.Certificate) -> bool:
    return certificate.issuer == _name("root")


def _algorithm(private: Any, path: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, ec.EllipticCurvePrivateKey):
        found = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}.get(private.curve.name)
        if found:
            return found
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= 2048:
        return "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise SettingsError(f"{path}: C2PA signs with P-256, P-384, P-521, Ed25519 or RSA of 2048 bits and more")


def _name(common: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    pairs = (
        (NameOID.ORGANIZATION_NAME, "Digidouble development"),
        (NameOID.COMMON_NAME, f"Digidouble development {common}"),
    )
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in pairs])


def _usage(**granted: bool) -> x509.KeyUsage:
    from cryptography import x509

    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: granted.get(name, False) for name in names})


def _new_chain() -> tuple[bytes, bytes, bytes]:
    """(root, signer and root, signer's key) as PEM. The root's own key is dropped: this chain signs no third certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now = datetime.now(UTC) - timedelta(hours=1)  # clocks differ
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def begun(common: str, public: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(_name(common)).issuer_name(_name("root")).public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now).not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        )  # fmt: skip

    root = (
        begun("root", root_key.public_key(), ROOT_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    # C2PA 2.x, 14.5.1: a signer is no authority, may sign, and has one of a list of extended usages; e-mail protection is.
    signer = (
        begun("signer", key.public_key(), SIGNER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    root_pem = root.public_bytes(pem)
    return root_pem, signer.public_bytes(pem) + root_pem, secret


def _write(path: Path, data: bytes, mode: int) -> None:
    """Complete and with its permissions from the first byte on, or not at all."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
