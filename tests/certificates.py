"""Certificates for tests of TLS over loopback."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL.SSL import TLS_SERVER_METHOD, Context
from twisted.internet.interfaces import IOpenSSLContextFactory
from zope.interface import implementer


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


@implementer(IOpenSSLContextFactory)
class Server:
    """What a TLS server needs. Twisted's own would do so by what pyOpenSSL has deprecated."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._context = Context(TLS_SERVER_METHOD)
        self._context.use_certificate(certificate)
        self._context.use_privatekey(key)

    def getContext(self) -> Context:
        """See `IOpenSSLContextFactory`."""
        return self._context


class Authority:
    """An authority of its own, trusted by whoever is given `certificate_pem`."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(
            "test authority",
            self._key,
            days=1,
            extension=x509.BasicConstraints(ca=True, path_length=0),
        )
        self.certificate_pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def options(self, host: str, *, days: int = 1) -> Server:
        """A server for `host` whose certificate ends in so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        return Server(self._sign(host, key, days=days, extension=names), key)

    def pem(self, host: str) -> bytes:
        """Certificate and key of a server for `host`, for one that reads a file."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        return self._sign(host, key, days=1, extension=names).public_bytes(
            serialization.Encoding.PEM
        ) + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def _sign(
        self,
        common: str,
        key: ec.EllipticCurvePrivateKey,
        *,
        days: int,
        extension: x509.ExtensionType,
    ) -> x509.Certificate:
        end = datetime.now(UTC) + timedelta(days=days)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(common))
            .issuer_name(_name("test authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - timedelta(days=2))
            .not_valid_after(end)
            .add_extension(extension, critical=False)
            .sign(self._key, hashes.SHA256())
        )
