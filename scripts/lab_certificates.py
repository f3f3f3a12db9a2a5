"""Certificates for the lab's TLS: one that is well, and one for each way not to be."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import crypto
from twisted.internet.ssl import CertificateOptions

_DAY = timedelta(days=1)


class Certificates:
    """An authority whose certificate lies at `authority`, and another that nobody trusts."""

    def __init__(self, folder: Path) -> None:
        self._trusted = _Authority("lab")
        self._stranger = _Authority("stranger")
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = folder / f"authority-{id(self)}.pem"
        self.authority.write_bytes(
            self._trusted.certificate.public_bytes(serialization.Encoding.PEM)
        )

    def options(self, kind: str) -> CertificateOptions:
        """A server's side of TLS: `good`, `untrusted`, `expired` or `wrong name`."""
        key, certificate = self._issue(kind)
        return CertificateOptions(
            privateKey=crypto.PKey.from_cryptography_key(key),
            certificate=crypto.X509.from_cryptography(certificate),
        )

    def pem(self, kind: str) -> bytes:
        """The same as one file, certificate and key, for a server that is no part of Python."""
        key, certificate = self._issue(kind)
        return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def _issue(self, kind: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        issuer = self._stranger if kind == "untrusted" else self._trusted
        name = "elsewhere.invalid" if kind == "wrong name" else "localhost"
        age = 10 * _DAY if kind == "expired" else timedelta()
        return issuer.issue(name, age=age)


class _Authority:
    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority")])
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 30 * _DAY)
            .not_valid_after(now + 30 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue(
        self, name: str, *, age: timedelta
    ) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if name == "localhost":
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY - age)
            .not_valid_after(now + _DAY - age)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return key, certificate
