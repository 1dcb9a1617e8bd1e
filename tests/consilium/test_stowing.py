"""STOW-RS as a way back: an outcome for each object, whatever the archive answers, and no way elsewhere."""

import json
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from pydicom.uid import ComputedRadiographyImageStorage
from werkzeug.serving import make_server

from clinical.identity import IssuerTable
from consilium.setting_values import PacsDestination
from consilium.stowing import send_anyhow, stow
from dicom_node.destinations import Destination
from dicom_node.intake import Intake
from dicom_node.query.indexing import HeaderIndex
from dicom_node.testing import cr_dataset, dx_dataset, listening_ae, write_dicom
from dicom_node.web import Archive
from dicom_node.web.testing import app_of
from record_store.testing import MemoryBlobs, database

BROKEN = [b"[", b"[]", b"[1]", b'{"00081199": 3}', b'{"00081198": {"Value": [null]}}', b"x" * 2_000_000]


@pytest.fixture
def files(tmp_path):
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    return [write_dicom(cr_dataset(pixels, seed=seed), tmp_path / f"{seed}.dcm") for seed in "12"]


@contextmanager
def archive(answer):
    """Run an archive; answer(uid of the object) -> HTTP status and body. Yield its URL and its requests."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path, dict(self.headers), body))
            status, said = answer(len(seen))
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield to(f"http://127.0.0.1:{server.server_address[1]}/dicom-web"), seen
    finally:
        server.shutdown()
        server.server_close()


def to(url, token=None):
    return Destination("vna", "", 104, "", stow_url=url, stow_token=token)


def uid_of(path):
    return stow([path], to("http://127.0.0.1:1"))[0].sop_instance_uid


def response(uid, *, failure=None, warning=None):
    item = {"00081155": {"vr": "UI", "Value": [uid]}}
    if failure is not None:
        item["00081197"] = {"vr": "US", "Value": [failure]}
    if warning is not None:
        item["00081196"] = {"vr": "US", "Value": [warning]}
    return json.dumps({"00081199" if failure is None else "00081198": {"vr": "SQ", "Value": [item]}}).encode()


def test_each_object_arrives_whole_in_a_request_of_its_own_and_is_said_to_be_taken(files) -> None:
    uids = [uid_of(path) for path in files]
    with archive(lambda number: (200, response(uids[number - 1], warning=0))) as (vna, seen):
        outcomes = stow(files, replace(vna, stow_token="secret"))
    assert [(one.sop_instance_uid, one.taken) for one in outcomes] == [(uid, True) for uid in uids]
    for path, (where, headers, body) in zip(files, seen, strict=True):
        boundary = headers["Content-Type"].rpartition("boundary=")[2]
        assert where == "/dicom-web/studies"
        assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"')
        assert headers["Authorization"] == "Bearer secret"
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        assert body == head + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()


@pytest.mark.parametrize(
    ("http_status", "made", "status", "problem", "may_pass"),
    [
        (200, {}, 0x0000, None, False),
        (200, None, 0x0000, None, False),
        (202, {"warning": 0xB007}, 0xB007, None, False),
        (409, {"failure": 0xA700}, 0xA700, "refused: out of resources", True),
        (409, {"failure": 0x0111}, 0x0111, None, False),
        (409, {"failure": 0x0122}, 0x0122, "refused: SOP class not supported", False),
        (202, None, None, "the archive does not say what became of the object (HTTP 202)", True),
        (409, None, None, "the archive does not say what became of the object (HTTP 409)", True),
        (503, None, None, "the archive answered with HTTP 503", True),
        (302, None, None, "the archive answered with HTTP 302", True),
        (401, None, 0x0124, "refused: not authorised (HTTP 401)", False),
    ],
)
def test_what_the_archive_answers_is_the_outcome(files, http_status, made, status, problem, may_pass) -> None:
    body = b"" if made is None else response(uid_of(files[0]), **made)
    with archive(lambda _: (http_status, body)) as (vna, seen):
        (one,) = stow(files[:1], vna)
    assert (one.status, one.problem, one.may_pass) == (status, problem, may_pass)
    assert len(seen) == 1  # no redirect was followed


@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
def test_an_answer_that_is_none_confirms_nothing(files, body) -> None:
    with archive(lambda _: (202, body)) as (vna, _):
        assert not stow(files[:1], vna)[0].taken


def test_an_answer_about_another_object_confirms_nothing(files) -> None:
    with archive(lambda _: (202, response("1.2.3"))) as (vna, _):
        assert not stow(files[:1], vna)[0].taken


def test_a_name_that_leads_to_a_clouds_own_services_is_not_called(files) -> None:
    (one,) = stow(files[:1], to("http://vna.example:80"), resolve=lambda host, port: ["169.254.169.254"])
    assert one.problem == "the archive's name leads to an address that no archive has"


def test_a_mute_archive_is_given_up_and_one_that_is_away_is_said_so(files, tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        outcomes = stow(files * 4, to(f"http://127.0.0.1:{mute.getsockname()[1]}"), deadline_s=0.3)
        mute.setblocking(False)
        with suppress(BlockingIOError):  # on a busy machine the deadline is over before the call
            mute.accept()[0].close()
        with pytest.raises(BlockingIOError):  # it was called once: one deadline for the batch, not one for each
            mute.accept()
    assert [one.problem for one in outcomes] == ["the archive did not answer in time"] * 8
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        (one,) = stow(files[:1], to(f"http://127.0.0.1:{unused.getsockname()[1]}"))
    assert one.problem == "no connection"
    assert stow([tmp_path / "gone.dcm"], to("http://127.0.0.1:1"))[0].problem == "the object cannot be read"


def test_our_own_dicomweb_takes_what_we_send_and_refuses_a_class_in_words(files, tmp_path) -> None:
    other = write_dicom(dx_dataset(np.zeros((8, 8), np.uint16), seed="3"), tmp_path / "3.dcm")
    db, blobs, issuers = database(tmp_path), MemoryBlobs(tmp_path), IssuerTable({"": "urn:h"})
    web = Archive(
        db,
        blobs,
        "http://127.0.0.1/dicom-web",
        intake=Intake(db, blobs, issuers, lambda: datetime(2026, 1, 2, tzinfo=UTC)),
        classes=lambda: frozenset([ComputedRadiographyImageStorage]),
        catch_up=HeaderIndex(db, blobs, lambda: datetime(2026, 1, 2, tzinfo=UTC)).catch_up,
    )
    server = make_server("127.0.0.1", 0, app_of(web), threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        sent = [*files, other]
        outcomes = stow(sent, to(f"http://127.0.0.1:{server.server_port}/dicom-web"))
        again = stow(files[:1], to(f"http://127.0.0.1:{server.server_port}/dicom-web"))
        held = app_of(web).test_client().get("/dicom-web/instances").json
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
        db.dispose()
    assert [(one.taken, one.class_refused) for one in outcomes] == [(True, False), (True, False), (False, True)]
    assert again[0].taken
    uids = {one["00080018"]["Value"][0] for one in held}
    assert uids == {one.sop_instance_uid for one in outcomes[:2]}


@pytest.mark.slow
def test_a_destination_without_a_url_is_sent_to_by_c_store(files) -> None:
    with listening_ae() as peer:
        (one,) = send_anyhow(files[:1], Destination("pacs", "127.0.0.1", peer.port, "PACS"), "CONSILIUM")
    assert one.taken


@pytest.mark.parametrize(
    ("given", "legal"),
    [
        ({"stow_url": "https://vna.example/dicom-web", "stow_token": "secret"}, True),
        ({"stow_url": "http://vna.example/dicom-web"}, True),
        ({"stow_url": "http://vna.example/dicom-web", "stow_token": "secret"}, False),  # a token in the clear
        ({"stow_url": "https://vna.example", "host": "h", "port": 104, "ae_title": "VNA"}, False),
        ({"stow_url": "https://vna.example", "commitment": True}, False),
        ({"host": "h", "port": 104, "ae_title": "VNA", "commitment": True}, True),
        ({"host": "h", "ae_title": "VNA"}, False),
        ({}, False),
    ],
)
def test_a_destination_is_a_dicom_node_or_a_url(given, legal) -> None:
    if legal:
        assert PacsDestination(name="vna", **given).name == "vna"
    else:
        with pytest.raises(ValueError, match="expected"):
            PacsDestination(name="vna", **given)
