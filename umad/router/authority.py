"""The team's own certificate authority: who belongs to the team is who has its certificate.

    ca.key, ca.pem   the authority: its key stays on the router's machine
    own.pem          the router's certificate and key, with which it asks nodes and HAProxy sends

A node's certificate serves, and does not ask: nodes cannot speak to each other with theirs
(extendedKeyUsage). The router's does both. Nobody's certificate is good for another name.
A certificate is not called back: a node that leaves the team is no longer asked and gets nothing,
and its certificate runs out.
The key of a node is made where it is used. It comes here only where an engine cannot ask for a
certificate itself (`certified_pair`).
Needs the extra `router` (cryptography). Blocks for as long as files take. Owner: anybody's thread.
"""

import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from umad.errors import AlreadyRunning, BadConfig, BadRequest
from umad.private_file import read_named, write_own
from umad.router.members import ROUTER, check_node_name

_MOST_FILE_BYTES = 1 << 16
_MOST_REQUEST_BYTES = 16_384
_AUTHORITY_DAYS = 3650
# The longest that macOS takes for a server is 825 days.
NODE_DAYS: Final = 820
# A HAProxy that runs goes on with the certificate that it read when it began.
_RENEWED_DAYS = 180
# Clocks of machines differ, and one that joins may be behind.
_EARLIER = datetime.timedelta(hours=12)
_Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key, both as PEM."""

    certificate: bytes
    key: bytes


class TeamAuthority:
    """The authority in a folder."""

    def __init__(self, folder: Path) -> None:
        """Raises BadConfig where it is not there, or cannot be read."""
        self._folder = folder
        try:
            certificate = read_named(folder / "ca.pem", _MOST_FILE_BYTES)
            key = read_named(folder / "ca.key", _MOST_FILE_BYTES, secret=True)
        except FileNotFoundError as error:
            raise BadConfig(f"{error.filename} is not there: umad router init makes it") from None
        except OSError as error:
            raise BadConfig(f"{error.filename}: {error.strerror}") from error
        try:
            self._certificate = x509.load_pem_x509_certificate(certificate)
            loaded = serialization.load_pem_private_key(key, password=None)
        except ValueError as error:
            raise BadConfig(f"{folder}: ca.pem or ca.key is damaged: {error}") from error
        if not isinstance(loaded, _Key) or loaded.public_key() != self._certificate.public_key():
            raise BadConfig(f"{folder}: ca.key is not the key of ca.pem")
        self._key = loaded
        # As PEM: what nodes get.
        self.certificate = certificate

    @classmethod
    def make(cls, folder: Path, *, now: datetime.datetime) -> "TeamAuthority":
        """A new authority, with the router's own certificate. Raises AlreadyRunning where the
        folder has one: all nodes would have to join anew."""
        for name in ("ca.pem", "ca.key"):
            if (folder / name).exists():
                raise AlreadyRunning(f"{folder / name} is there already, and all nodes trust it")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "umad team")])
        certificate = (
            _builder(subject, subject, key.public_key(), now, _AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(key, hashes.SHA256())
        )
        write_own(folder / "ca.key", _key_pem(key))
        write_own(folder / "ca.pem", _pem(certificate))
        made = cls(folder)
        made.renew_own(now=now)
        return made

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the authority's certificate, in small hexadecimal digits."""
        return hashlib.sha256(
            self._certificate.public_bytes(serialization.Encoding.DER)
        ).hexdigest()

    def renew_own_if_old(self, *, now: datetime.datetime) -> bool:
        """Another certificate for the router where its own is missing or runs out soon; whether
        that was so."""
        try:
            left = days_left(read_named(self._folder / "own.pem", _MOST_FILE_BYTES), now=now)
        except (OSError, ValueError):
            left = 0
        if left < _RENEWED_DAYS:
            self.renew_own(now=now)
        return left < _RENEWED_DAYS

    def renew_own(self, *, now: datetime.datetime) -> None:
        """Another certificate for the router itself, in own.pem."""
        key = ec.generate_private_key(ec.SECP256R1())
        usages = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
        certificate = self._sign(ROUTER, key.public_key(), usages, now)
        write_own(self._folder / "own.pem", _pem(certificate) + _key_pem(key))

    def certify(self, name: str, request: bytes, *, now: datetime.datetime) -> bytes:
        """The certificate of a node, by its request (PKCS #10, PEM), as PEM.

        Only the request's key counts: it says nothing else of the node, and has to be signed with
        that key. Raises BadRequest for a name that is no plain word, or the router's.
        """
        check_node_name(name)
        if len(request) > _MOST_REQUEST_BYTES:
            raise BadRequest("the request for a certificate is too long", field="request")
        try:
            asked = x509.load_pem_x509_csr(request)
            key = asked.public_key()
            is_signed = asked.is_signature_valid
        except (ValueError, InvalidSignature, TypeError) as error:
            raise BadRequest(f"no request for a certificate: {error}", field="request") from None
        if not is_signed or not isinstance(key, ec.EllipticCurvePublicKey):
            raise BadRequest(
                "the request for a certificate is not signed with a key of an elliptic curve",
                field="request",
            )
        return _pem(self._sign(name, key, (ExtendedKeyUsageOID.SERVER_AUTH,), now))

    def certified_pair(self, name: str, *, now: datetime.datetime) -> Pair:
        """A certificate with its key, for an engine that cannot make one itself."""
        check_node_name(name)
        key = ec.generate_private_key(ec.SECP256R1())
        usages = (ExtendedKeyUsageOID.SERVER_AUTH,)
        certificate = self._sign(name, key.public_key(), usages, now)
        return Pair(certificate=_pem(certificate), key=_key_pem(key))

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        usages: tuple[x509.ObjectIdentifier, ...],
        now: datetime.datetime,
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        own = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        ends = self._certificate.not_valid_after_utc
        days = min(NODE_DAYS, (ends - now).days)
        if days < 1:
            raise BadConfig(f"the authority in {self._folder} has run out; make another one")
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)
        return (
            _builder(subject, self._certificate.subject, key, now, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(issuer_id, critical=False)
            .sign(self._key, hashes.SHA256())
        )


def certificate_request(name: str) -> tuple[bytes, bytes]:
    """A new key for a node, and the request for its certificate, both as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return _key_pem(key), made.public_bytes(serialization.Encoding.PEM)


def check_issued(certificate: bytes, *, key: bytes, authority: bytes, name: str) -> None:
    """Raises BadRequest unless a certificate is for this key and name, and of this authority."""
    try:
        own = x509.load_pem_x509_certificate(certificate)
        own.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        loaded = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
        raise BadRequest(f"the certificate that came is not of this authority: {error}") from None
    is_own = isinstance(loaded, _Key) and loaded.public_key() == own.public_key()
    if not is_own or names.get_values_for_type(x509.DNSName) != [name]:
        raise BadRequest("the certificate that came is not this machine's")


def fingerprint_of(certificate: bytes) -> str:
    """SHA-256 of a certificate that came as PEM. Raises BadRequest for what is none."""
    try:
        found = x509.load_pem_x509_certificate(certificate)
    except ValueError:
        raise BadRequest("what came is no certificate") from None
    return hashlib.sha256(found.public_bytes(serialization.Encoding.DER)).hexdigest()


def days_left(certificate: bytes, *, now: datetime.datetime) -> int:
    """How many days a certificate (PEM, perhaps with its key) is still good for."""
    return (x509.load_pem_x509_certificate(certificate).not_valid_after_utc - now).days


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
