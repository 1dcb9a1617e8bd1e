"""DICOM over TLS with dcmtk on the other side: who is believed, who is not, and what a bad peer cannot do."""

import contextlib
import datetime as dt
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.raw_peer import EXPLICIT, association_request, message, store_command
from clinical.errors import IncorrectInput
from consilium import cli
from dicom_node.bounds import Bounds
from dicom_node.direct import DirectAssociation, Store, wait_for_a_moment
from dicom_node.negotiation import ContextResult
from dicom_node.scu import Destination, send
from dicom_node.storing import Answer
from dicom_node.testing import dx_dataset, write_dicom
from dicom_node.tls import Credentials, TlsContexts, why_failed
from dicom_node.tls_client import ClientTls
from record_store.exchanges import Kind
from tests.ports import free_port

pytestmark = pytest.mark.slow

CR = "1.2.840.10008.5.1.4.1.1.1"


def refusals(exchanges):
    return [one.note for one in exchanges if one.kind is Kind.REFUSED]


def wait_for(what, within_s=30):
    until = time.monotonic() + within_s
    while not what() and time.monotonic() < until:
        time.sleep(0.01)
    assert what()


@pytest.fixture
def image(tmp_path, small_phantom):
    return write_dicom(dx_dataset(small_phantom[0]), tmp_path / "image.dcm")


# ---------------------------------------------------------------- who is believed
@pytest.mark.parametrize("profile", ["--profile-bcp195", "--profile-bcp195-nd", "--profile-bcp195-ex"])
def test_dcmtk_stores_over_tls_with_each_of_its_profiles(secured, dcmtk, image, exchanges, modality, profile):
    node = secured()
    sent = dcmtk("storescu", node.port, profile, last=[image])
    assert sent.returncode == 0, sent.stderr
    assert len(node.stored()) == 1
    wait_for(lambda: any(one.kind is Kind.TRANSFERRED for one in exchanges))
    (transfer,) = [one for one in exchanges if one.kind is Kind.TRANSFERRED]
    assert (transfer.source.name, transfer.source.certificate) == ("CT1", modality.sha256)
    assert list(transfer.studies.values()) == [1]


@pytest.mark.parametrize("profile", ["bcp195", "bcp195-modified"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_profiles_speak_tls_1_2_and_1_3(server_tls, authority, modality, profile, version):
    assert shaken(server_tls(profile=profile), caller(authority, modality, version)) is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.parametrize("profile", ["bcp195", "bcp195-modified"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_older_versions_are_refused(server_tls, authority, modality, profile, version):
    context = caller(authority, modality, version)
    context.set_ciphers("ALL:@SECLEVEL=0")
    assert shaken(server_tls(profile=profile), context) == "TLS version"


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES128-SHA", "DHE-RSA-AES256-SHA"])
def test_suites_without_authenticated_encryption_are_refused(server_tls, authority, modality, suite):
    context = caller(authority, modality, ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(suite)
    assert shaken(server_tls(), context) == "no shared suite"


def test_the_modified_profile_takes_elliptic_curves_only(server_tls, authority, modality):
    context = caller(authority, modality, ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("DHE-RSA-AES256-GCM-SHA384")
    assert shaken(server_tls(profile="bcp195-modified"), context) == "no shared suite"


def test_a_caller_without_a_certificate_is_refused(secured, dcmtk, exchanges):
    node = secured()
    assert dcmtk("echoscu", node.port, as_=None).returncode != 0
    wait_for(lambda: refusals(exchanges) == ["no certificate"])


def test_a_caller_without_a_certificate_is_taken_where_none_is_asked_for(secured, dcmtk, server_tls):
    node = secured(server_tls(verify_peer=False))
    assert dcmtk("echoscu", node.port, as_=None).returncode == 0


def test_certificates_of_another_authority_are_refused(secured, dcmtk, stranger, exchanges):
    node = secured()
    assert dcmtk("echoscu", node.port, as_=stranger.issue("ct1.example.org")).returncode != 0
    wait_for(lambda: refusals(exchanges) == ["certificate not believed"])


def test_certificates_that_have_expired_are_refused(secured, dcmtk, authority, exchanges):
    expired = authority.issue("old.example.org", life=dt.timedelta(days=-1))
    node = secured()
    assert dcmtk("echoscu", node.port, as_=expired).returncode != 0
    wait_for(lambda: refusals(exchanges) == ["certificate expired"])


def test_a_certificate_of_tomorrow_is_refused(server_tls, authority):
    early = authority.issue("early.example.org", life=dt.timedelta(days=2), age=dt.timedelta(days=-1))
    assert shaken(server_tls(), caller(authority, early)) == "certificate not valid yet"


def test_certificates_that_were_revoked_are_refused(secured, dcmtk, authority, server_tls, exchanges):
    stolen = authority.issue("stolen.example.org")
    node = secured(server_tls(crl=authority.revoke(stolen)))
    assert dcmtk("echoscu", node.port).returncode == 0
    assert dcmtk("echoscu", node.port, as_=stolen).returncode != 0
    wait_for(lambda: refusals(exchanges) == ["certificate revoked"])


def test_nobody_is_let_in_by_a_revocation_list_that_is_too_old_or_is_another_authoritys(
    server_tls, authority, stranger, modality
):
    calling = caller(authority, modality)
    old = authority.revoke(authority.issue("stolen.example.org"), life=dt.timedelta(days=-1))
    assert shaken(server_tls(crl=old), calling) == "revocation list expired"
    others = stranger.revoke(stranger.issue("stolen.example.org"))
    assert shaken(server_tls(crl=others), calling) == "no revocation list"


def test_dcmtk_does_not_believe_us_when_our_authority_is_not_its_own(secured, dcmtk, stranger):
    assert dcmtk("echoscu", secured().port, ca=stranger.cert).returncode != 0


def test_what_is_not_tls_is_refused_and_the_next_caller_served(secured, dcmtk, exchanges):
    node = secured()
    with socket.create_connection(("127.0.0.1", node.port)) as plain:
        plain.sendall(b"\x01\x00\x00\x00\x00\xcd" + bytes(205))  # an A-ASSOCIATE-RQ without TLS
        plain.settimeout(30)
        with contextlib.suppress(ConnectionResetError):
            assert plain.recv(1 << 16)[:1] in (b"", b"\x15")  # at most a TLS alert, never a DICOM PDU
    wait_for(lambda: refusals(exchanges) == ["not TLS"])
    assert dcmtk("echoscu", node.port).returncode == 0


# ---------------------------------------------------------------- the table of callers
@pytest.mark.parametrize(
    ("entries", "why"),
    [
        (["127.0.0.0/8", "name:ct1.example.org"], None),
        (["sha256:{modality}"], None),
        (["127.0.0.0/8", "name:ct2.example.org"], "the certificate is not one of this calling AE"),
        (["sha256:" + "0" * 64], "the certificate is not one of this calling AE"),
        (["10.0.0.0/8", "name:ct1.example.org"], "the address is not one of this calling AE"),
    ],
)
def test_a_calling_ae_is_bound_to_its_certificate(secured, dcmtk, exchanges, modality, entries, why):
    entries = tuple(one.format(modality=modality.sha256) for one in entries)
    node = secured(calling={"CT1": entries})
    assert (dcmtk("echoscu", node.port).returncode == 0) is (why is None)
    assert refusals(exchanges) == ([why] if why else [])


def test_an_ae_that_has_a_certificate_cannot_call_without_tls(secured, exchanges, program):
    node = secured(port=0, tls_port=None, calling={"CT1": ("name:ct1.example.org",)})
    command = [program("echoscu"), "-v", "-aet", "CT1", "-aec", "CONSILIUM", "127.0.0.1", str(node.port)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode != 0
    assert "Calling AE Title Not Recognized" in told.stdout + told.stderr
    assert refusals(exchanges) == ["this calling AE has to show its certificate"]


def test_a_plain_and_a_secured_port_are_served_at_once(secured, dcmtk, program):
    node = secured(port=0, tls_port=0)
    plain, tls = node.scp.ports
    command = [program("echoscu"), "-aec", "CONSILIUM", "127.0.0.1", str(plain)]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
    assert dcmtk("echoscu", tls).returncode == 0


# ---------------------------------------------------------------- slow and silent peers
def test_half_open_handshakes_keep_nobody_waiting(secured, dcmtk):
    node = secured()
    idle = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(40)]
    try:
        for one in idle[:20]:
            one.sendall(b"\x16\x03\x01")  # the beginning of a ClientHello
        assert dcmtk("echoscu", node.port).returncode == 0
    finally:
        for one in idle:
            one.close()


def test_a_handshake_that_trickles_ends_at_its_time(secured, exchanges):
    node = secured(acse_timeout_s=1.0)
    hello = b"\x16\x03\x01\x02\x00" + bytes(512)
    with socket.create_connection(("127.0.0.1", node.port)) as slow, contextlib.suppress(ConnectionError):
        for byte in hello:  # 50 seconds, were it let
            slow.sendall(bytes([byte]))
            time.sleep(0.1)
            if refusals(exchanges):
                break
    wait_for(lambda: refusals(exchanges) == ["handshake too slow"])


def test_a_record_that_trickles_between_two_messages_keeps_an_association_no_longer_than_silence(
    secured, authority, modality
):
    node = secured(network_timeout_s=2.0)
    with (
        socket.create_connection(("127.0.0.1", node.port), timeout=30) as plain,
        caller(authority, modality).wrap_socket(plain) as secure,
        socket.socket(fileno=os.dup(secure.fileno())) as beneath,
    ):
        secure.sendall(association_request({1: (CR, (EXPLICIT,))}))
        assert secure.recv(1) == b"\x02"
        beneath.sendall(b"\x17\x03\x03\x40\x00")  # the head of a record of 16 kB
        until = time.monotonic() + 20
        with contextlib.suppress(ConnectionError):
            while node.scp.active_associations and time.monotonic() < until:
                beneath.sendall(b"\0")
                time.sleep(0.1)
        assert not node.scp.active_associations


# ---------------------------------------------------------------- new certificates
@pytest.fixture
def replaceable(tmp_path, ours, authority):
    """A copy of our certificate that a test replaces, and the contexts over it."""
    cert, key = tmp_path / "node.pem", tmp_path / "node.key"
    shutil.copy(ours.cert, cert)
    shutil.copy(ours.key, key)

    def contexts():
        return TlsContexts(Credentials(cert, key, authority.cert), server=True)

    return cert, key, contexts


def renew(one, cert, key):
    """Replace both files as certificate managers do: written beside, then renamed."""
    for new, old in ((one.cert, cert), (one.key, key)):
        beside = old.with_suffix(".new")
        shutil.copy(new, beside)
        beside.replace(old)


def shown(port, authority, modality):
    """Return the common name in the certificate that the node shows."""
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        caller(authority, modality).wrap_socket(plain) as secure,
    ):
        return dict(pair for part in secure.getpeercert()["subject"] for pair in part)["commonName"]


def test_a_new_certificate_is_shown_without_a_restart(secured, authority, modality, replaceable):
    cert, key, contexts = replaceable
    node = secured(contexts())
    assert shown(node.port, authority, modality) == "consilium.example.org"
    renew(authority.issue("renewed.example.org"), cert, key)
    wait_for(lambda: shown(node.port, authority, modality) == "renewed.example.org")


def test_a_key_of_another_certificate_is_said_in_words(ours, modality):
    with pytest.raises(IncorrectInput, match=r"the key is that of another certificate"):
        TlsContexts(Credentials(ours.cert, modality.key), server=True)


def test_a_broken_new_certificate_leaves_the_old_one_serving_and_is_said(
    secured, authority, modality, replaceable, caplog
):
    cert, _key, contexts = replaceable
    tls = contexts()
    node = secured(tls)
    cert.write_text("not a certificate")
    wait_for(lambda: shown(node.port, authority, modality) and tls.problem)
    assert shown(node.port, authority, modality) == "consilium.example.org"
    assert tls.problem.startswith("node.pem cannot be used")
    assert [one for one in caplog.records if "the old ones serve on" in str(one.msg)]


def test_a_certificate_and_a_key_that_do_not_belong_together_stop_the_start(authority, ours, modality):
    with pytest.raises(IncorrectInput, match=r"consilium\.example\.org\.pem"):
        TlsContexts(Credentials(ours.cert, modality.key, authority.cert), server=True)


def test_a_missing_file_stops_the_start_with_its_name(ours, tmp_path):
    with pytest.raises(IncorrectInput, match=r"ca\.pem is not there"):
        TlsContexts(Credentials(ours.cert, ours.key, tmp_path / "ca.pem"), server=True)


# ---------------------------------------------------------------- as the side that calls
@pytest.fixture
def storescp(program, authority, tmp_path):
    """storescp(identity) -> the port of dcmtk's receiver over TLS."""
    processes = []

    def run(identity, *more):
        port = free_port()
        folder = tmp_path / f"received{port}"
        folder.mkdir()
        command = [program("storescp"), "+tls", identity.key, identity.cert, "+cf", authority.cert, *more]
        command += ["-od", folder, port]
        processes.append(
            subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )

        def listens():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_for(listens)
        return port, folder

    yield run
    for one in processes:
        one.kill()
        one.wait()


def to(port, contexts, name=None, sha256=None):
    return Destination("pacs", "127.0.0.1", port, "PACS", tls=ClientTls(contexts, name, sha256))


@pytest.fixture
def client_tls(authority, ours):
    def make(ca=authority.cert, **more):
        return TlsContexts(Credentials(ours.cert, ours.key, ca), server=False, **more)

    return make


def test_results_go_to_dcmtk_over_tls(storescp, authority, client_tls, image):
    port, folder = storescp(authority.issue("pacs.example.org"))
    (outcome,) = send([image], to(port, client_tls(), "pacs.example.org"), "CONSILIUM")
    assert outcome.taken
    assert len(list(folder.iterdir())) == 1


def test_an_archive_over_tls_is_checked_over_tls(storescp, authority, ours, monkeypatch, capsys, tmp_path):
    port, _folder = storescp(authority.issue("pacs.example.org"))
    archive = {"name": "main", "host": "127.0.0.1", "port": port, "ae_title": "PACS"}
    monkeypatch.setenv("CONSILIUM_PACS", json.dumps([archive | {"tls": {"name": "pacs.example.org"}}]))
    for name, path in (("CERT", ours.cert), ("KEY", ours.key), ("CA", authority.cert)):
        monkeypatch.setenv(f"CONSILIUM_DICOM_TLS_{name}_FILE", str(path))
    monkeypatch.setattr(sys, "argv", ["consilium", "dicom", "check", "main", "--data-dir", str(tmp_path / "data")])
    with pytest.raises(SystemExit):
        cli.main()
    assert "main: association accepted, C-ECHO answered" in capsys.readouterr().out


def test_an_archive_with_another_name_gets_nothing(storescp, authority, client_tls, image):
    port, folder = storescp(authority.issue("other.example.org"))
    (outcome,) = send([image], to(port, client_tls(), "pacs.example.org"), "CONSILIUM")
    assert outcome.problem == "TLS: certificate not believed"
    assert outcome.may_pass
    assert list(folder.iterdir()) == []


def test_an_archive_of_another_authority_gets_nothing(storescp, stranger, client_tls, image):
    port, folder = storescp(stranger.issue("pacs.example.org"))
    (outcome,) = send([image], to(port, client_tls(), "pacs.example.org"), "CONSILIUM")
    assert outcome.problem == "TLS: certificate not believed"
    assert list(folder.iterdir()) == []


def test_the_very_certificate_may_be_asked_for_instead_of_a_name(storescp, authority, client_tls, image):
    pacs = authority.issue("pacs.example.org")
    port, folder = storescp(pacs)
    contexts = client_tls(check_name=False)
    (other,) = send([image], to(port, contexts, sha256="0" * 64), "CONSILIUM")
    assert other.problem == "TLS: certificate not believed"
    (right,) = send([image], to(port, contexts, sha256=pacs.sha256), "CONSILIUM")
    assert right.taken
    assert len(list(folder.iterdir())) == 1


def caller(authority, one, version=None):
    """Return the context of a caller that speaks this version only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(authority.cert)
    context.load_cert_chain(one.cert, one.key)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def shaken(contexts, client):
    """Shake hands over a socket pair; return why it failed on our side, None when it did not."""
    here, there = socket.socketpair()
    here.settimeout(30)

    def call():
        try:
            with client.wrap_socket(there) as secure:
                secure.recv(1)
        except OSError:
            there.close()

    thread = threading.Thread(target=call)
    thread.start()
    try:
        with contexts.context().wrap_socket(here, server_side=True):
            pass
    except OSError as error:
        here.close()
        return why_failed(error)
    finally:
        thread.join()
    return None


class Stores:
    """What an association gives to be stored: the bytes."""

    def __init__(self):
        self.objects = []

    def answer(self, received, *_who, **_asked):
        self.objects.append(received.part.path.read_bytes())
        received.discard()
        return Answer(0, "1.2.3")


def test_a_secured_association_that_is_cut_stores_what_was_sent_and_never_its_cipher(
    server_tls, authority, modality, tmp_path
):
    data = bytes(range(256)) * 400
    said = message(1, store_command(CR, "1.2.3", 1), data, 0)
    here, there = socket.socketpair()
    with ThreadPoolExecutor(1) as shaking:
        shaken = shaking.submit(caller(authority, modality).wrap_socket, there)
        ours = server_tls().context().wrap_socket(here, server_side=True)
    peer, stores = shaken.result(), Stores()

    def the_rest_has_come_when_it_is_cut():
        peer.sendall(said[1000:])
        association.cut()
        return ""

    store = Store(stores, the_rest_has_come_when_it_is_cut, tmp_path, Bounds())
    context = ContextResult(1, CR, EXPLICIT)
    association = DirectAssociation(
        ours, "CT1", 0, {1: context}, store, brought=lambda _study: None, ended=lambda _how: None
    )
    wait_for_a_moment(ours, 1.0)
    peer.sendall(said[:1000])
    assert not association.serve()
    assert [one[-len(data) :] for one in stores.objects] in ([], [data])
    peer.close()
