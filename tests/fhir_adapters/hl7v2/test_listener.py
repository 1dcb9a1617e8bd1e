"""The MLLP port: framing, bounds, many peers, and what no peer may do to the others."""

import contextlib
import socket
import ssl
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.errors import Busy
from fhir_adapters.hl7v2.client import acknowledged, messages_in, sender
from fhir_adapters.hl7v2.intake import Answer
from fhir_adapters.hl7v2.listener import Bounds, MllpListener
from fhir_adapters.hl7v2.mllp import Frames, Trouble, framed
from fhir_adapters.hl7v2.testing import ADMISSION, MERGE, ORDER, RESULT, raw

USUAL = Bounds()
SMALL = Bounds(
    message_bytes=20_000, unfinished_bytes=60_000, peers=8, peers_per_address=8, frame_s=0.3, idle_s=0.4
)
AT = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)


class Counting:
    def __init__(self):
        self.outcomes, self.reasons, self.peers = [], [], 0

    def answered(self, answer, seconds):
        assert seconds >= 0
        self.outcomes.append(answer.outcome)

    def refused(self, why):
        self.reasons.append(why)

    def connected(self, count):
        self.peers = count


@contextlib.contextmanager
def listening(take, bounds=USUAL, **more):
    watch = Counting()
    listener = MllpListener(take, watch=watch, now=lambda: AT, bounds=bounds, **more)
    port = listener.start("127.0.0.1", 0)
    try:
        yield port, watch
    finally:
        listener.stop()


@pytest.fixture
def port(lite):
    with listening(lite.intake.take) as (port, _):
        yield port


@pytest.fixture
def small(lite):
    with listening(lite.intake.take, SMALL) as found:
        yield found


def spoken(port, data, *, end=False):
    """Send bytes and return the acknowledgements until the other side closes, or two tenths after the last.

    end: nothing more will be sent, so that the other side closes when it has answered.
    """
    frames, found = Frames(1 << 20), []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        if end:
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while data := connection.recv(65536):
                found += [acknowledged(one) for one in frames.feed(data)]
                connection.settimeout(30 if end else 0.2)
    return found


def test_a_message_is_answered_on_its_connection_and_so_is_the_next(port):
    with sender("127.0.0.1", port) as connection:
        for control in ("R1", "R2", "R1"):
            answer = connection.send(raw(RESULT, control=control))
            assert (answer.code, answer.control_id) == ("AA", control)


def test_a_message_may_come_byte_by_byte_and_many_at_once(port):
    data = framed(raw(RESULT, control="C1"))
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for at in range(0, len(data), 97):
            connection.sendall(data[at : at + 97])
        assert b"MSA|AA|C1" in connection.recv(65536)
    many = b"\r\n".join(framed(raw(RESULT, control=f"D{number}")) for number in range(40))
    assert [one.control_id for one in spoken(port, many, end=True)] == [f"D{number}" for number in range(40)]


def test_peers_at_once_are_all_answered(port):
    wrong = []

    def send(peer):
        with sender("127.0.0.1", port) as connection:
            for number in range(5):
                answer = connection.send(raw(RESULT, control=f"P{peer}-{number}"))
                wrong.extend([] if answer.accepted else [answer])

    threads = [threading.Thread(target=send, args=(peer,)) for peer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_message_that_is_too_large_is_told_so(small):
    port, watch = small
    (answer,) = spoken(port, b"\x0bMSH|" + b"x" * 30_000)
    assert answer.code == "AR"
    assert watch.reasons == ["message too large"]


def test_who_has_been_told_so_and_does_not_go_is_not_told_again(small):
    port, watch = small
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"\x0bMSH|" + b"x" * 30_000)
        while connection.recv(65536):
            pass
        until = time.monotonic() + 30
        while watch.peers and time.monotonic() < until:
            time.sleep(0.01)
    assert (watch.peers, watch.reasons) == (0, ["message too large"])


def test_a_message_that_does_not_end_is_told_so_and_a_silent_peer_is_let_go(small):
    port, watch = small
    (answer,) = spoken(port, b"\x0bMSH|^~\\&|A")
    assert answer.code == "AR"
    assert spoken(port, b"") == []
    assert watch.reasons == ["message too slow"]


def test_a_peer_that_reads_no_answers_is_read_no_more():
    taken = []

    def take(batch):
        taken.extend(batch)
        return [Answer((b"x" * 200_000,), "", "stored")] * len(batch)

    with listening(take) as (port, _), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.connect(("127.0.0.1", port))
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.sendall(framed(b"MSH|" + b"y" * 50_000) * 600)
    assert len(taken) < 300


def test_unfinished_messages_have_one_room_together(lite):
    with contextlib.ExitStack() as stack:
        bounds = replace(SMALL, frame_s=30.0, idle_s=30.0)
        port, watch = stack.enter_context(listening(lite.intake.take, bounds))
        for _ in range(4):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            one.sendall(b"\x0b" + b"x" * 18_000)
        deadline = time.monotonic() + 30
        while "too much at once" not in watch.reasons and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "too much at once" in watch.reasons


def test_a_newcomer_takes_the_place_of_who_has_been_silent_longest(lite):
    few = replace(USUAL, peers=8, peers_per_address=16)
    with contextlib.ExitStack() as stack:
        port, watch = stack.enter_context(listening(lite.intake.take, few))
        silent = []
        for number in range(1, 9):  # one after another, so that it is known who is silent longest
            silent.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)))
            until = time.monotonic() + 30
            while watch.peers < number and time.monotonic() < until:
                time.sleep(0.001)
        with sender("127.0.0.1", port) as connection:
            assert connection.send(raw(RESULT)).accepted
        assert silent[0].recv(1) == b""
        silent[1].setblocking(False)
        with pytest.raises(BlockingIOError):
            silent[1].recv(1)
        assert watch.reasons == []


def test_one_address_has_no_more_places_than_its_own(lite):
    with (
        listening(lite.intake.take, replace(USUAL, peers=8, peers_per_address=1)) as (port, watch),
        sender("127.0.0.1", port) as first,
    ):
        assert first.send(raw(RESULT)).accepted
        with pytest.raises((Busy, OSError)), sender("127.0.0.1", port) as second:
            second.send(raw(RESULT))
        assert watch.reasons == ["too many from one address"]


def test_who_is_not_on_the_list_is_not_listened_to(lite):
    with (
        listening(lite.intake.take, may_come=lambda _address: False) as (port, watch),
        pytest.raises(Busy),
        sender("127.0.0.1", port) as connection,
    ):
        connection.send(raw(RESULT))
    assert watch.reasons == ["address not allowed"]


def test_what_was_taken_is_answered_before_the_listener_stops():
    asked = threading.Event()

    def slow(batch):
        asked.set()
        time.sleep(0.2)
        return [Answer((b"MSH|^~\\&\rMSA|AA|x\r",), "", "stored") for _ in batch]

    listener = MllpListener(slow, watch=Counting(), now=lambda: AT)
    port = listener.start("127.0.0.1", 0)
    with sender("127.0.0.1", port) as connection:
        stopping = threading.Thread(target=lambda: (asked.wait(), listener.stop()))
        stopping.start()
        assert connection.send(b"x").code == "AA"
    stopping.join()


HEAD = "MSH|^~\\&|LAB|H|C|H|20261127||ORU^R01|{}|P|2.5.1"
PLAIN = ADMISSION.replace("|||AL|NE|", "|||||")  # in the mode in which errors are told at once
BAD_FRAMES = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"MSH|^~\\&|no frame\r",
    b"\x1c\r",
    b"\x02" * 10,
    b"\xff\xfe\x00",
    b"{}",
]
BAD_MESSAGES = [
    b"",
    b"\r",
    b"\x0b",
    b"\x00",
    b"\x1c",
    b"\x1cMSH|",
    b"\xff" * 100,
    b"MSH",
    b"MSH|",
    b"MSH|^",
    b"MSH|^~",
    b"MSH||||||",
    b"MSH|||||||",
    b"MSH|^~\\&",
    b"MSH|^^^^|A",
    b"MSH^~\\&^A",
    b"MSHA^~\\&ABC",
    b"MSH\xe9^~\\&\xe9",
    b"MSH|^~\\&|" + b"|" * 5000,
    b"MSH|^~\\&|" + b"&" * 5000,
    b"MSH|^~\\&|" + b"\\" * 5001,
    b"msh|^~\\&|a",
    b"PID|1||1\rMSH|^~\\&|A",
    b"FHS|^~\\&|A\rBHS|^~\\&|A",
    b"<xml/>",
    b'{"resourceType":"Patient"}',
    HEAD.format("").encode(),
    HEAD.format("1").encode(),
    f"{HEAD.format('2')}\r\r\r".encode(),
    f"{HEAD.format('3')}\rPID".encode(),
    f"{HEAD.format('4')}\rPID|1||1^^^H\rOBX|1".encode(),
    f"{HEAD.format('5')}\rOBR|1".encode(),
    f"{HEAD.format('6')}\rPID|1||1^^^H\rOBR|1".encode(),
    f"{HEAD.format('7')}\rPID|1||1^^^H\rOBR|1|P|F|X^Y^L".encode(),
    f"{HEAD.format('8')}\rpid|1||1".encode(),
    f"{HEAD.format('9')}\r|||".encode(),
    f"{HEAD.format('10')}\rP|1".encode(),
    HEAD.format("11").replace("ORU^R01", "").encode(),
    HEAD.format("12").replace("ORU^R01", "^^^").encode(),
    HEAD.format("13").replace("ORU^R01", "ACK").encode(),
    HEAD.format("14").replace("ORU^R01", "QBP^Q11").encode(),
    HEAD.format("15").replace("|P|", "|D|").encode(),
    HEAD.format("16").replace("2.5.1", "").encode(),
    HEAD.format("17").replace("2.5.1", "9").encode(),
    HEAD.format("x" * 5000).encode(),
    HEAD.format("\u00e9").encode("latin-1"),
    (HEAD.format("18") + "||||||UTF-16").encode(),
    (HEAD.format("19") + "||||||ASCII\rPID|\u00e9").encode(),
    (HEAD.format("20") + "||||||UNICODE UTF-8\rPID|").encode() + b"\xc3\x28",
    raw(RESULT.replace("|HM|F|", "|HM|Q|"), control="b1"),
    raw(RESULT.replace("4711", ""), control="b2"),
    raw(RESULT.replace("PID|", "ZZZ|"), control="b3"),
    raw(RESULT.replace("OBX|1|NM", "OBX|1|QQ"), control="b4"),
    raw(RESULT.replace("F88^LAB", "").replace("P77^ORDERS", ""), control="b5"),
    raw(RESULT.replace("CBC^Blood count^L^58410-2^CBC panel^LN", ""), control="b6"),
    raw(PLAIN.replace("19700203", "1970-02-03"), control="b7"),
    raw(PLAIN.replace("|F|||Weg", "|?|||Weg"), control="b8"),
    raw(ORDER.replace("ORC|NW", "ORC|"), control="b9"),
    raw(ORDER.replace("ORC|", "ORX|"), control="b10"),
    raw(MERGE.replace("MRG|0815^^^GENERAL^MR", "MRG|"), control="b11"),
    raw(MERGE.replace("PID|", "PD1|"), control="b12"),
    raw(RESULT + "\nOBX|9|ED|X^Y^L||A^AP^EXE^Base64^AAAA||||||F", control="b13"),
    raw(RESULT + "\nOBX|9|DTM|X^Y^L||never||||||F", control="b14"),
    raw(RESULT + "\n" + "OBX|" + "|" * 20_000, control="b15"),
    b"\r".join([HEAD.format("21").encode(), *[b"PID|1"] * 5_001]),
]


def test_at_least_sixty_kinds_of_nonsense_are_each_answered_and_the_others_are_served(port):
    assert len(BAD_FRAMES) + len(BAD_MESSAGES) >= 60
    with sender("127.0.0.1", port) as other:
        for number, bad in enumerate([*BAD_FRAMES, *map(framed, BAD_MESSAGES)]):
            answers = spoken(port, bad, end=True)
            # An empty block, or one that holds an end, is no message or two; no peer waits in vain.
            assert answers, (number, bad[:60])
            assert {one.code[1] for one in answers} <= {"E", "R"}, (number, bad[:60])
            if number % 8 == 0:
                assert other.send(raw(RESULT, control=f"ok{number}")).code == "AA"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=60).filter(lambda one: b"\x1c\r" not in one), max_size=5), st.data())
def test_blocks_are_cut_alike_however_they_arrive(messages, data):
    messages = [one for one in messages if not one.endswith(b"\x1c")]
    stream = b"\r\n".join(map(framed, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    frames, found = Frames(1000), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += frames.feed(stream[start:end])
    assert found == messages


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_without_blocks_are_refused_or_waited_for(data):
    found = list(Frames(50).feed(data))
    assert all(isinstance(one, bytes | Trouble) for one in found)
    assert [one for one in found if isinstance(one, bytes) and len(one) > 50] == []


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([ADMISSION, RESULT, ORDER, MERGE]), st.integers(0, 600))
def test_a_message_with_any_bytes_in_it_is_answered(taking_once, noise, text, at):
    whole = raw(text)
    (answer,) = taking_once.take(whole[:at] + noise + whole[at + len(noise) :])
    assert answer.outcome in {"stored", "repeated", "quarantined", "refused"}
    assert answer.replies or b"|AL|NE" in whole


def test_a_file_holds_messages_as_blocks_or_as_text():
    two = [raw(RESULT), raw(ORDER)]
    assert list(messages_in(b"".join(map(framed, two)))) == two
    assert list(messages_in(b"\n".join(one.replace(b"\r", b"\n") for one in two))) == two


def test_a_port_that_is_secured_speaks_tls_and_nothing_else(lite, tmp_path):
    server, client = contexts(tmp_path)
    with listening(lite.intake.take, tls=lambda: server) as (port, watch):
        with sender("127.0.0.1", port, tls=client) as connection:
            assert connection.send(raw(RESULT)).code == "AA"
        assert spoken(port, framed(raw(ORDER))) == []
        until = time.monotonic() + 30
        while not watch.reasons and time.monotonic() < until:  # it is noted after the peer has been cut off
            time.sleep(0.01)
        assert watch.reasons == ["handshake failed"]


def contexts(folder):
    """Return a server's and a client's context with a certificate made for this test."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "own.pem"
    pem.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.create_default_context(cadata=made.public_bytes(serialization.Encoding.PEM).decode())
    return server, client


def test_who_is_refused_again_and_again_is_counted_each_time_and_told_once(lite, caplog):
    with listening(lite.intake.take, may_come=lambda _address: False) as (port, watch):
        for _ in range(5):
            assert spoken(port, b"") == []
    assert watch.reasons == ["address not allowed"] * 5
    assert len([one for one in caplog.records if "not served" in one.getMessage()]) == 1


def test_an_error_of_ours_cuts_its_senders_off_and_the_port_goes_on(lite):
    failing = [True]

    def take(messages):
        if failing.pop() if failing else False:
            raise RuntimeError
        return lite.intake.take(messages)

    with listening(take) as (port, _):
        with pytest.raises((OSError, Busy)), sender("127.0.0.1", port) as first:
            first.send(raw(RESULT))
        with sender("127.0.0.1", port) as second:
            assert second.send(raw(RESULT)).code == "AA"
