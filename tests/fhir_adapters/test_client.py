"""The one way out: only allowed servers, only the address that was checked, never for long, never for much."""

import json
import socket
import threading
import time
from collections import Counter
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.errors import IncorrectInput
from fhir_adapters.allow_list import AllowedServer, Network, find, parse_url
from fhir_adapters.client import FetchFailed, FhirClient, Grant, Limits, Reason

PATIENT = {"resourceType": "Patient", "id": "p1"}
PUBLIC = [AllowedServer("https://ehr.example/fhir")]


class RawServer:
    """Answers every connection with what `handler(path, send)` sends; remembers paths and Authorization."""

    def __init__(self, handler):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}/fhir"
        self.requests = []
        self.connections = 0
        self.left = threading.Event()  # the handler is through with a request, or its peer has gone
        self._handler = handler
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection):
        with connection:
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    got = connection.recv(65536)
                    if not got:
                        return
                    head += got
                lines = head.decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
                path = lines[0].split(" ")[1]
                self.requests.append((path, headers.get("authorization")))
                self._handler(path, connection.sendall)
            except OSError:
                return
            finally:
                self.left.set()

    def close(self):
        # Closed only, it would go on in accept(), where a process that was stopped takes up the number of the
        # descriptor again: by then the next server's.
        self.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.socket.close()


def http(body=b"", status="200 OK", kind="application/fhir+json", **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(data)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


@pytest.fixture
def serve():
    """serve(handler or bytes) -> RawServer on loopback."""
    servers = []

    def start(answer):
        handler = answer if callable(answer) else lambda path, send: send(answer)
        servers.append(RawServer(handler))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def never():
    """An event that nothing but the end of the test sets: who waits for it has not ended before."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def client_of():
    clients = []

    def make(*bases, network=Network.LOOPBACK, **more):
        clients.append(FhirClient([AllowedServer(base, network) for base in bases], **more))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def soon(seconds=20.0):
    return time.monotonic() + seconds


def reason_of(client, grant, relative="Patient/p1", seconds=20.0):
    with pytest.raises(FetchFailed) as failed:
        client.fetch(grant, relative, ends_at=soon(seconds))
    return failed.value.reason


def test_a_resource_is_fetched_with_the_token(serve, client_of):
    server = serve(http(PATIENT))
    fetched = client_of(server.base).fetch(Grant(server.base, "tok"), "Patient/p1", ends_at=soon())
    assert (fetched.resource, fetched.complete) == (PATIENT, True)
    assert server.requests == [("/fhir/Patient/p1", "bearer tok")]


def test_without_a_token_no_authorization_is_sent(serve, client_of):
    server = serve(http(PATIENT))
    client_of(server.base).fetch(Grant(server.base), "Patient/p1", ends_at=soon())
    assert server.requests == [("/fhir/Patient/p1", None)]


def test_a_bar_in_a_search_is_encoded(serve, client_of):
    server = serve(http({"resourceType": "Bundle"}))
    client_of(server.base).fetch(Grant(server.base), "Observation?code=http://loinc.org|1,2", ends_at=soon())
    assert server.requests[0][0] == "/fhir/Observation?code=http://loinc.org%7C1,2"


HOSTILE = [
    "http://ehr.example/fhir",
    "https://ehr.example:8443/fhir",
    "https://ehr.example.evil.example/fhir",
    "https://evil.example/fhir",
    "https://ehr.example@evil.example/fhir",
    "https://user:pw@ehr.example/fhir",
    "https://ehr.example\\@evil.example/fhir",
    "https://ehr.example/fhir2",
    "https://ehr.example/fhirx/../fhir",
    "https://ehr.example/fhir/../admin",
    "https://ehr.example/fhir/%2e%2e/admin",
    "https://ehr.example/fhir/%2E./admin",
    "https://ehr.example/fhir%2f..%2fadmin",
    "https://ehr.example/fhir/./x",
    "https://ehr.example//fhir",
    "https://ehr.example/",
    "https://ehr.example",
    "https://ehr.example/FHIR",
    "https://ehr.example/fhir?x=https://evil.example",
    "https://ehr.example/fhir#x",
    "https://ehr.example/fhir\r\nHost: evil.example",
    "https://ehr.example\t/fhir",
    " https://ehr.example/fhir",
    "https://еhr.example/fhir",  # a Cyrillic letter
    "https://ehr。example/fhir",
    "https://[::1]/fhir",
    "https://127.0.0.1/fhir",
    "https://2130706433/fhir",
    "https://0x7f.1/fhir",
    "https://ehr.example:0/fhir",
    "https://ehr.example:443443/fhir",
    "//ehr.example/fhir",
    "file:///etc/passwd",
    "gopher://ehr.example/fhir",
    "",
]


@pytest.mark.parametrize("base", HOSTILE)
def test_a_base_that_only_looks_allowed_is_not_called(base):
    def resolve(host, port):
        raise AssertionError("a name was looked up")

    client = FhirClient(PUBLIC, resolve=resolve)
    assert not client.allows(base)
    assert reason_of(client, Grant(base, "tok")) is Reason.NOT_ALLOWED


@pytest.mark.parametrize(
    "base", ["https://ehr.example/fhir", "https://EHR.example:443/fhir/", "https://ehr.example/fhir/r4"]
)
def test_the_same_origin_at_or_below_the_base_is_allowed(base):
    assert find(PUBLIC, base) is not None


@given(st.text(alphabet="htps:/ehr.xamplfi@\\?#%2eE.0123456789[]-", max_size=40))
def test_whatever_the_parser_takes_is_one_url_to_every_reader(text):
    url = parse_url("https://" + text)
    if url is not None:
        other = urlsplit("https://" + text)
        assert (other.hostname or "").strip("[]") == url.host.strip("[]")
        assert (other.port or 443) == url.port
        assert other.path == url.path
        assert other.username is None


@pytest.mark.parametrize("base", ["http://ehr.example/fhir", "https://ehr.example/fhir?x", "ehr.example", ""])
def test_an_allow_list_entry_that_is_unsafe_stops_the_start(base):
    with pytest.raises(IncorrectInput):
        AllowedServer(base)


@pytest.mark.parametrize(
    ("network", "address", "admitted"),
    [
        (Network.PUBLIC, "8.8.8.8", True),
        (Network.PUBLIC, "2606:4700::1111", True),
        (Network.PUBLIC, "10.0.0.1", False),
        (Network.PUBLIC, "172.16.0.1", False),
        (Network.PUBLIC, "192.168.1.1", False),
        (Network.PUBLIC, "100.64.0.1", False),
        (Network.PUBLIC, "127.0.0.1", False),
        (Network.PUBLIC, "169.254.169.254", False),
        (Network.PUBLIC, "0.0.0.0", False),
        (Network.PUBLIC, "224.0.0.1", False),
        (Network.PUBLIC, "::1", False),
        (Network.PUBLIC, "::", False),
        (Network.PUBLIC, "fe80::1%eth0", False),
        (Network.PUBLIC, "fd00::1", False),
        (Network.PUBLIC, "ff02::1", False),
        (Network.PUBLIC, "::ffff:10.0.0.1", False),
        (Network.PUBLIC, "2002:7f00:1::", False),
        (Network.PUBLIC, "64:ff9b::a00:1", False),
        (Network.PRIVATE, "10.0.0.1", True),
        (Network.PRIVATE, "fd00::1", True),
        (Network.PRIVATE, "8.8.8.8", True),
        (Network.PRIVATE, "127.0.0.1", False),
        (Network.PRIVATE, "::ffff:127.0.0.1", False),
        (Network.PRIVATE, "169.254.169.254", False),
        (Network.LOOPBACK, "127.0.0.1", True),
        (Network.LOOPBACK, "10.0.0.1", False),
        (Network.LOOPBACK, "8.8.8.8", False),
    ],
)
def test_which_addresses_a_server_may_have(network, address, admitted):
    assert AllowedServer("https://ehr.example/fhir", network).admits(address) is admitted


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["10.1.2.3"], ["8.8.8.8", "127.0.0.1"], []])
def test_a_name_with_an_address_inside_is_not_connected_to(serve, addresses):
    server = serve(http(PATIENT))
    base = f"https://ehr.example:{server.port}/fhir"
    client = FhirClient([AllowedServer(base)], resolve=lambda host, port: addresses)
    assert reason_of(client, Grant(base, "tok")) is Reason.NOT_ALLOWED
    assert server.connections == 0


def test_a_name_is_looked_up_once_and_the_checked_address_is_the_one_used(serve):
    server = serve(http(PATIENT))
    asked = Counter()

    def rebinding(host, port):
        asked[host] += 1
        return ["127.0.0.1"] if asked[host] == 1 else ["10.0.0.1"]

    base = f"http://ehr.example:{server.port}/fhir"
    client = FhirClient([AllowedServer(base, Network.LOOPBACK)], resolve=rebinding)
    assert client.fetch(Grant(base), "Patient/p1", ends_at=soon()).resource == PATIENT
    assert asked == {"ehr.example": 1}
    client.close()


def test_the_next_address_is_tried_when_one_does_not_answer(serve):
    server = serve(http(PATIENT))
    base = f"http://ehr.example:{server.port}/fhir"
    client = FhirClient([AllowedServer(base, Network.LOOPBACK)], resolve=lambda host, port: ["::1", "127.0.0.1"])
    assert client.fetch(Grant(base), "Patient/p1", ends_at=soon()).resource == PATIENT
    client.close()


def test_a_name_that_does_not_resolve_is_unreachable():
    def resolve(host, port):
        raise socket.gaierror

    assert reason_of(FhirClient(PUBLIC, resolve=resolve), Grant(PUBLIC[0].base)) is Reason.UNREACHABLE


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_refused_and_the_token_goes_nowhere(serve, client_of, status):
    canary = serve(http(PATIENT))
    server = serve(http(status=status, Location=f"{canary.base}/Patient/p1"))
    client = client_of(server.base, canary.base)
    assert reason_of(client, Grant(server.base, "tok")) is Reason.REDIRECTED
    assert canary.connections == 0


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("401 x", Reason.UNAUTHORIZED),
        ("403 x", Reason.FORBIDDEN),
        ("404 x", Reason.NOT_FOUND),
        ("410 x", Reason.NOT_FOUND),
        ("500 x", Reason.FAILED),
        ("504 x", Reason.TIMEOUT),
        ("204 x", Reason.FAILED),
    ],
)
def test_each_status_has_its_reason(serve, client_of, status, reason):
    server = serve(http(PATIENT, status))
    assert reason_of(client_of(server.base), Grant(server.base)) is reason


@pytest.mark.parametrize(
    "answer",
    [
        http(b"<html>", kind="text/html"),
        http(b"{", kind="application/fhir+json"),
        http(b"[]"),
        http(b'{"a":1,"a":2}'),
        http(b"\x1f\x8b", Content_Encoding="gzip"),
        http(b"[" * 10_000),
        b"not http at all\r\n\r\n",
        b"",
    ],
)
def test_what_is_not_fhir_json_is_no_data(serve, client_of, answer):
    server = serve(answer)
    assert reason_of(client_of(server.base), Grant(server.base)) in (Reason.UNREADABLE, Reason.UNREACHABLE)


def test_a_huge_body_is_cut_off_whatever_length_it_declares(serve, client_of):
    sent = Counter()

    def endless(path, send):
        send(b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\n\r\n")
        for _ in range(10_000):
            send(b" " * 65536)
            sent["bytes"] += 65536

    server = serve(endless)
    client = client_of(server.base, limits=Limits(body_bytes=200_000))
    assert reason_of(client, Grant(server.base), seconds=10) is Reason.TOO_LARGE
    assert server.left.wait(20)
    assert sent["bytes"] < 20_000_000


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: 9999999\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        (b"", b""),
    ],
    ids=["a body that drips", "a head that drips", "not a word"],
)
def test_a_slow_server_costs_the_deadline_and_not_more(serve, client_of, never, head, piece):
    def drip(path, send):
        send(head)
        while not never.wait(0.02):
            send(piece)

    server = serve(drip)
    # The server would go on for ever: who waited for it, or began anew with each byte, would not come back.
    assert reason_of(client_of(server.base), Grant(server.base), seconds=0.15) is Reason.TIMEOUT


def test_a_name_server_that_hangs_costs_the_caller_the_deadline_and_not_more(client_of, never):
    client = client_of("http://ehr.example/fhir", resolve=lambda host, port: never.wait() and [])
    results = client.fetch_all(Grant("http://ehr.example/fhir"), {"a": "Patient/p1"}, ends_at=soon(0.1))
    assert results["a"].reason is Reason.TIMEOUT


def page(number, following=None):
    link = [{"relation": "next", "url": following}] if following else []
    return {"resourceType": "Bundle", "type": "searchset", "link": link, "entry": [{"resource": {"n": number}}]}


def pages_of(server_base, count):
    def handler(path, send):
        number = int(path.partition("page=")[2] or 1)
        send(http(page(number, f"{server_base()}?page={number + 1}" if number < count else None)))

    return handler


def entries_of(fetched):
    return [entry["resource"]["n"] for entry in fetched.resource["entry"]]


def test_pages_are_followed_into_one_bundle(serve, client_of):
    server = serve(pages_of(lambda: server.base, 4))
    fetched = client_of(server.base).fetch(Grant(server.base, "tok"), "Observation", ends_at=soon())
    assert (entries_of(fetched), fetched.complete) == ([1, 2, 3, 4], True)
    assert {token for _, token in server.requests} == {"bearer tok"}
    assert "link" not in fetched.resource


def test_more_pages_than_the_limit_are_left_and_said(serve, client_of):
    server = serve(pages_of(lambda: server.base, 99))
    client = client_of(server.base, limits=Limits(pages=3))
    fetched = client.fetch(Grant(server.base), "Observation", ends_at=soon())
    assert (entries_of(fetched), fetched.complete) == ([1, 2, 3], False)


def test_the_byte_limit_counts_all_pages_together(serve, client_of):
    server = serve(pages_of(lambda: server.base, 9))
    client = client_of(server.base, limits=Limits(body_bytes=400))
    assert reason_of(client, Grant(server.base), "Observation") is Reason.TOO_LARGE


@pytest.mark.parametrize("path", ["/fhir2?page=2", "/admin", "/fhir/../admin", "/fhir/%2e%2e/admin"])
def test_a_next_link_outside_the_base_is_not_followed(serve, client_of, path):
    server = serve(lambda _path, send: send(http(page(1, server.base.removesuffix("/fhir") + path))))
    assert reason_of(client_of(server.base), Grant(server.base, "tok"), "Observation") is Reason.NOT_ALLOWED
    assert len(server.requests) == 1


def test_a_next_link_to_another_allowed_server_does_not_get_this_token(serve, client_of):
    canary = serve(http(page(2)))
    server = serve(lambda path, send: send(http(page(1, f"{canary.base}?page=2"))))
    client = client_of(server.base, canary.base)
    assert reason_of(client, Grant(server.base, "tok"), "Observation") is Reason.NOT_ALLOWED
    assert canary.connections == 0


def test_a_page_that_was_sent_is_followed(serve, client_of):
    server = serve(lambda path, send: send(http(page(2))))
    fetched = client_of(server.base).follow(Grant(server.base), page(1, f"{server.base}?page=2"), ends_at=soon())
    assert entries_of(fetched) == [1, 2]


def test_fetches_run_side_by_side_and_one_that_is_late_spoils_none(serve, client_of, never):
    together = threading.Barrier(5, timeout=20)  # nobody is answered before all have asked

    def handler(path, send):
        never.wait() if path.endswith("late") else together.wait()
        send(http(PATIENT))

    server = serve(handler)
    wanted = {str(number): f"Patient/{number}" for number in range(5)} | {"late": "Patient/late"}
    results = client_of(server.base).fetch_all(Grant(server.base), wanted, ends_at=soon(5.0))
    assert results.pop("late").reason is Reason.TIMEOUT
    assert [result.resource for result in results.values()] == [PATIENT] * 5


def test_no_log_line_and_no_message_holds_address_patient_or_token(serve, client_of, caplog):
    server = serve(http(status="302 x", Location="https://evil.example/Patient/ZZCANARY-4711"))
    with caplog.at_level("DEBUG"), pytest.raises(FetchFailed) as failed:
        client_of(server.base).fetch(Grant(server.base, "s3cret"), "Patient/ZZCANARY-4711", ends_at=soon())
    everything = (
        " ".join(str(record.__dict__) for record in caplog.records) + str(failed.value) + repr(failed.value)
    )
    assert "ZZCANARY" not in everything
    assert "s3cret" not in everything + repr(Grant(server.base, "s3cret"))
