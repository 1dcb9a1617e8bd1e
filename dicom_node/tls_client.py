"""The side that calls: who the peer must prove to be, and in words why it was not believed."""

import hmac
import socket
import ssl
from dataclasses import dataclass
from typing import Any

from dicom_node.tls import TlsContexts, peer_certificate, why_failed


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How a destination is called. name: the name in its certificate, None where its name is not looked at.

    sha256: of the very certificate that it must show, in small hexadecimal letters; None for any that is believed.
    """

    contexts: TlsContexts
    name: str | None
    sha256: str | None = None


class _Secured(ssl.SSLSocket):
    """A socket that knows what its peer has to show, and keeps why the handshake failed."""

    wanted: str | None
    told: list[str]

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
            shown = peer_certificate(self)
            if self.wanted and not (shown and hmac.compare_digest(shown.sha256, self.wanted)):
                raise ssl.SSLCertVerificationError("another certificate than the one that is expected")
        except OSError as error:
            self.told.append(why_failed(error))
            raise


class Calling:
    """What pynetdicom takes for a context: it asks nothing of it but `wrap_socket`. One for one association."""

    def __init__(self, tls: ClientTls) -> None:
        self._tls = tls
        self.told: list[str] = []

    def wrap_socket(self, sock: socket.socket, **_more: Any) -> ssl.SSLSocket:  # noqa: ANN401
        """Return the socket that secures itself as soon as it is connected."""
        context = self._tls.contexts.context()
        context.sslsocket_class = _Secured
        secured = context.wrap_socket(sock, server_side=False, server_hostname=self._tls.name)
        secured.wanted, secured.told = self._tls.sha256, self.told  # type: ignore[attr-defined]
        return secured

    @property
    def problem(self) -> str | None:
        """Why the peer was not believed, or did not believe us; None when it did not come to that."""
        return f"TLS: {self.told[0]}" if self.told else None
