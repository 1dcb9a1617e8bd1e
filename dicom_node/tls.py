"""Secure transport: the TLS profiles of PS3.15 B.12 and B.13, certificates that change while we run.

Both profiles never go below TLS 1.2 (RFC 8996), so that neither is open to the downgrade that the retired B.9
allowed and B.10 closed. Keys shorter than RSA 2048 or EC 256 bits and SHA-1 signatures are refused (security
level 2 of OpenSSL). Nothing is read at import.
"""

import hashlib
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog

from clinical.errors import IncorrectInput

LOOK_AGAIN_S = 1.0
# OpenSSL's verify codes (x509_vfy.h) of what is mended elsewhere than where a stranger's certificate is. What has
# expired may be the authority's own certificate; without its current list nobody of an authority is let in.
NOT_BELIEVED = {
    3: "no revocation list",
    9: "certificate not valid yet",
    10: "certificate expired",
    12: "revocation list expired",
    23: "certificate revoked",
}
_IN_WORDS = {"KEY_VALUES_MISMATCH": "the key is that of another certificate"}

log = structlog.get_logger()


class Profile(StrEnum):
    """What of TLS is spoken. With 1.3 both offer AES-256-GCM, ChaCha20 and AES-128-GCM."""

    BCP195 = "bcp195"  # PS3.15 B.12: what RFC 9325 4.2 recommends
    MODIFIED = "bcp195-modified"  # PS3.15 B.13: a fixed list of suites, all ephemeral and authenticated


# The suites of TLS 1.2 by OpenSSL's names. RFC 9325 4.2 recommends the four ECDHE suites with AES-GCM and permits
# other ephemeral AEAD ones; the retired B.9, which older peers speak, asks for DHE as well.
_SUITES = {
    Profile.BCP195: (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "DHE-RSA-AES256-GCM-SHA384",
        "DHE-RSA-AES128-GCM-SHA256",
    ),
    Profile.MODIFIED: (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES256-CCM",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES128-CCM",
    ),
}


def suites_of(profile: Profile) -> tuple[str, ...]:
    """Return the suites that a profile offers with TLS 1.2, by OpenSSL's names, the first preferred."""
    return _SUITES[profile]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files, all PEM. cert: our certificate and what leads to its root; key: its private key, without a password.

    ca: whom we believe; crl: what they have revoked, for the peer's own certificate. A file that is left out
    is not used: without cert we show nothing, without ca we believe nobody.
    """

    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    crl: Path | None = None

    def files(self) -> tuple[Path, ...]:
        """The files that are given."""
        return tuple(one for one in (self.cert, self.key, self.ca, self.crl) if one is not None)


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What a peer has proved to be. names: its common name and its DNS alternative names, in small letters."""

    names: frozenset[str]
    sha256: str


class TlsContexts:
    """Makes contexts of files, and anew when a file has changed: the next handshake shows the new certificate.

    Files that cannot be used leave the old context serving; that is logged once for each change, and `problem`
    says it for as long as it lasts. Safe to use from many threads.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        server: bool,
        profile: Profile = Profile.BCP195,
        verify_peer: bool = True,
        check_name: bool = True,
    ) -> None:
        """Read the files. verify_peer: a server asks for the client's certificate. check_name: as a client.

        Raises IncorrectInput when they cannot be used, naming the file and never what is in it.
        """
        self._credentials, self._server, self._profile = credentials, server, profile
        self._verify_peer, self._check_name = verify_peer, check_name
        self._lock = threading.Lock()
        self._seen = self._state()
        self._looked_at = time.monotonic()
        self.problem: str | None = None
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """Return the context for the next handshake."""
        with self._lock:
            if time.monotonic() - self._looked_at >= LOOK_AGAIN_S:
                self._looked_at = time.monotonic()
                self._look()
            return self._context

    def _look(self) -> None:
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            self._context = self._load()
        except IncorrectInput as error:
            self.problem = error.message
            log.error("new certificates cannot be used; the old ones serve on", problem=error.message)  # noqa: TRY400
            return
        self.problem = None
        log.info("certificates reloaded")

    def _state(self) -> tuple[object, ...]:
        """Return what changes when a file is replaced, also when a symbolic link is turned (Kubernetes)."""
        found: list[object] = []
        for path in self._credentials.files():
            try:
                about = path.stat()
                found.append((about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size))
            except OSError:
                found.append(None)
        return tuple(found)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if self._server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(":".join((*_SUITES[self._profile], "@SECLEVEL=2")))
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        given = self._credentials
        if self._server:
            context.num_tickets = 0  # nobody resumes: each association proves anew who it is
            context.options |= ssl.OP_NO_TICKET
            context.verify_mode = ssl.CERT_REQUIRED if self._verify_peer else ssl.CERT_NONE
        else:
            context.check_hostname = self._check_name
        if given.cert is not None:
            with _used(given.cert):
                context.load_cert_chain(given.cert, given.key, password=_no_password)
        for path in (given.ca, given.crl):
            if path is not None:
                with _used(path):
                    context.load_verify_locations(path)
        if given.crl is not None:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        return context


def why_failed(error: OSError) -> str:
    """Return one of a few fixed phrases for a handshake that failed: for metrics, logs and the audit."""
    if isinstance(error, TimeoutError):
        return "handshake too slow"
    if isinstance(error, ssl.SSLCertVerificationError):
        if (code := getattr(error, "verify_code", 0)) in NOT_BELIEVED:  # an error of our own has none
            return NOT_BELIEVED[code]
        return "certificate not believed"
    reason = str(getattr(error, "reason", "") or "")
    if "PEER_DID_NOT_RETURN_A_CERTIFICATE" in reason:
        return "no certificate"
    if "NO_SHARED_CIPHER" in reason or "NO_SUITABLE" in reason:
        return "no shared suite"
    if "HTTP_REQUEST" in reason or "WRONG_VERSION_NUMBER" in reason or "RECORD" in reason:
        return "not TLS"
    if "UNSUPPORTED_PROTOCOL" in reason or "VERSION" in reason:
        return "TLS version"
    if "ALERT" in reason:
        return "refused by the peer"
    return "handshake failed"


def peer_certificate(connection: object) -> PeerCertificate | None:
    """Return what the peer of a connection has proved to be; None when it is not TLS or showed nothing."""
    if not isinstance(connection, ssl.SSLSocket):
        return None
    try:
        der, told = connection.getpeercert(binary_form=True), connection.getpeercert()
    except (OSError, ValueError):  # closed meanwhile
        return None
    if not der:
        return None
    about: dict[str, Any] = dict(told or {})
    names = [value for part in about.get("subject", ()) for name, value in part if name == "commonName"]
    names += [value for kind, value in about.get("subjectAltName", ()) if kind == "DNS"]
    return PeerCertificate(frozenset(str(name).lower() for name in names), hashlib.sha256(der).hexdigest())


@contextmanager
def _used(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise IncorrectInput(f"{path.name} is not there") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise IncorrectInput(f"{path.name} cannot be used ({_IN_WORDS.get(reason, reason)})") from None


def _no_password() -> bytes:
    return b""  # never asked for at a terminal that a server has not
