"""An authority, certificates of it, and a node that is reached over TLS. Elliptic curves: quick to make."""

import datetime as dt
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dicom_node.tls import Credentials, TlsContexts
from record_store.testing import database
from tests.dicom_node.conftest import Node

DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, in files."""

    cert: Path
    key: Path
    sha256: str


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.cert = folder / "ca.pem"
        # What it may do: sign certificates and lists of revoked ones.
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        built = self._build(self._name, self._key.public_key(), DAY, (x509.BasicConstraints(True, None), usage))
        self.cert.write_bytes(built.public_bytes(serialization.Encoding.PEM))

    def _build(self, subject, key, life, extensions, age=30 * DAY):
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - age)
            .not_valid_after(now + life)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256())

    def issue(self, name: str, *, life=DAY, age=30 * DAY) -> Identity:
        """Return a certificate for a name, which is also one of 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name), x509.DNSName("localhost")])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        extensions = (x509.BasicConstraints(False, None), alternatives)
        built = self._build(subject, key.public_key(), life, extensions, age)
        cert, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert.write_bytes(built.public_bytes(serialization.Encoding.PEM))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        key_file.write_bytes(private)
        return Identity(cert, key_file, built.fingerprint(hashes.SHA256()).hex())

    def revoke(self, one: Identity, *, life=DAY) -> Path:
        """Return a list of what is revoked, with this certificate on it; life: until the next one is due."""
        now = dt.datetime.now(dt.UTC)
        serial = x509.load_pem_x509_certificate(one.cert.read_bytes()).serial_number
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - DAY).build()
        listed = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now - 2 * DAY)
            .next_update(now + life)
            .add_revoked_certificate(revoked)
            .sign(self._key, hashes.SHA256())
        )
        path = self.folder / "crl.pem"
        path.write_bytes(listed.public_bytes(serialization.Encoding.PEM))
        return path


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "Hospital CA")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "Somebody Else")


@pytest.fixture(scope="session")
def ours(authority) -> Identity:
    return authority.issue("consilium.example.org")


@pytest.fixture(scope="session")
def modality(authority) -> Identity:
    return authority.issue("ct1.example.org")


@pytest.fixture
def server_tls(authority, ours):
    """server_tls(**more) -> contexts of the node."""

    def make(cert=ours, ca=authority.cert, crl=None, **more):
        return TlsContexts(Credentials(cert.cert, cert.key, ca, crl), server=True, **more)

    return make


@pytest.fixture
def exchanges():
    """What the node told the audit."""
    return []


@pytest.fixture
def secured(tmp_path, server_tls, exchanges):
    """secured(tls=..., **settings) -> a running node that is reached over TLS only."""
    nodes = []

    def start(tls=None, **settings):
        folder = tmp_path / f"node{len(nodes)}"
        folder.mkdir()
        node = Node(folder, database(folder))
        nodes.append(node)
        node.start(tls=tls or server_tls(), note=exchanges.append, **({"port": None, "tls_port": 0} | settings))
        return node

    yield start
    for node in nodes:
        node.scp.stop()
        node.db.dispose()


@pytest.fixture
def dcmtk(program, authority, modality):
    """dcmtk("echoscu", node, *more, as_=identity) -> the finished process, which called over TLS."""

    def run(name, port, *more, as_=modality, ca=authority.cert, calling="CT1", last=()):
        tls = ["+tls", as_.key, as_.cert] if as_ else ["+tla"]
        who = ["-aet", calling, "-aec", "CONSILIUM"]
        command = [program(name), "-v", *tls, "+cf", ca, *who, *more, "127.0.0.1", port, *last]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)

    return run
