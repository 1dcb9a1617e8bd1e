"""Over TLS the certificate is checked against the server's name although its address is dialled."""

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.client import FetchFailed, FhirClient, Grant, Reason

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]
PATIENT = {"resourceType": "Patient", "id": "p1"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ehr.example"
    )
    names = ["-addext", "subjectAltName=DNS:ehr.example", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command.split() + names, check=True, capture_output=True)
    return cert, key


@pytest.fixture
def tls_server(certificate):
    """Yields (port, seen): seen gets the SNI name of each handshake and each request line."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    seen = []
    context.sni_callback = lambda _socket, name, _context: seen.append(name)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                raw, _ = listener.accept()
                with context.wrap_socket(raw, server_side=True) as connection:
                    seen.append(connection.recv(65536).split(b"\r\n")[0])
                    body = json.dumps(PATIENT).encode()
                    head = (
                        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                    )
                    connection.sendall(head.encode() + body)
            except OSError:  # a refused handshake, or the listener was closed
                if listener.fileno() < 0:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], seen
    listener.shutdown(socket.SHUT_RDWR)  # ends the wait in accept(), which closing would not
    listener.close()
    thread.join()


def fetch(host, port, certificate):
    trust = ssl.create_default_context(cafile=certificate[0])
    base = f"https://{host}:{port}/fhir"
    allowed = [AllowedServer(base, Network.LOOPBACK)]
    client = FhirClient(allowed, resolve=lambda host, port: ["127.0.0.1"], tls=trust)
    try:
        return client.fetch(Grant(base, "tok"), "Patient/p1", ends_at=time.monotonic() + 20)
    finally:
        client.close()


def test_the_name_is_asked_for_and_its_certificate_accepted(tls_server, certificate):
    port, seen = tls_server
    assert fetch("ehr.example", port, certificate).resource == PATIENT
    assert seen == ["ehr.example", b"GET /fhir/Patient/p1 HTTP/1.1"]


def test_a_certificate_of_another_name_is_refused_before_the_token_is_sent(tls_server, certificate):
    port, seen = tls_server
    with pytest.raises(FetchFailed) as failed:
        fetch("other.example", port, certificate)
    assert failed.value.reason is Reason.UNREACHABLE
    assert b"GET /fhir/Patient/p1 HTTP/1.1" not in seen
