"""STOW-RS: each object is taken as C-STORE takes it, and the answer says what became of each."""

from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage
from sqlalchemy import select

from record_store.instances import study_row
from record_store.tables import audit

CONTENT = 'multipart/related; type="application/dicom"; boundary=bb'


def part10(ds):
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def post(held, *parts, path="/studies", content=CONTENT, accept="application/dicom+json"):
    body = b"".join(b"--bb\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts)
    headers = {"Content-Type": content, "Accept": accept}
    return held.client.post("/dicom-web" + path, data=body + b"--bb--\r\n", headers=headers)


def reasons(answer, sequence="00081198"):
    return [item["00081197"]["Value"] for item in answer.get_json()[sequence]["Value"]]


def test_a_stored_object_is_durable_queued_and_retrieved_where_the_answer_says(held, radiograph):
    ds = radiograph()
    ds.preamble = b"MZ".ljust(128, b"!")
    answer = post(held, part10(ds))
    assert answer.status_code == 200
    (item,) = answer.get_json()["00081199"]["Value"]
    assert item["00081155"]["Value"] == [ds.SOPInstanceUID]
    address = item["00081190"]["Value"][0].removeprefix("https://cds.example/dicom-web")
    back = dcmread(BytesIO(held.get(address, "application/dicom").data))
    assert back.preamble == b"\0" * 128
    assert back == ds
    with held.db.read() as conn:
        study = study_row(conn, str(ds.StudyInstanceUID))
    assert (study.state, study.instances, study.patient.value) == ("open", 1, ds.PatientID)
    assert list(held.blobs.staging.glob("*.part")) == []


def test_the_same_object_again_is_taken_and_another_of_its_name_is_not(held, radiograph):
    ds = radiograph()
    assert post(held, part10(ds)).status_code == 200
    ds.preamble = b"!" * 128  # not part of the object
    assert post(held, part10(ds)).status_code == 200
    ds.PatientName = "Else^Somebody"
    answer = post(held, part10(ds))
    assert (answer.status_code, reasons(answer)) == (409, [[0x0111]])
    assert len(held.blobs.stored) == 1


def test_each_object_has_its_own_fate(held, radiograph):
    capture = radiograph("b")
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    name = str(radiograph("c").SOPInstanceUID).encode()
    liar = part10(radiograph("c")).replace(name, name[:-1] + b"0", 1)  # in the file meta group only
    answer = post(
        held, part10(radiograph("a")), part10(capture), b"no DICOM at all", liar, part10(radiograph("d"))[:600]
    )
    assert answer.status_code == 202
    assert len(answer.get_json()["00081199"]["Value"]) == 1
    assert reasons(answer) == [[0x0122], [0xA900], [0xA900]]
    assert reasons(answer, "0008119A") == [[0xA900]]  # what is no DICOM has no name to be called by
    with held.db.read() as conn:
        refused = conn.execute(select(audit.c.action).where(audit.c.action == "instance-refused")).all()
    assert len(refused) == 4


def test_an_object_of_another_study_than_the_address_is_refused(held, radiograph):
    assert post(held, part10(radiograph()), path="/studies/1.2.3").status_code == 409
    assert post(held, part10(radiograph()), path=f"/studies/{radiograph().StudyInstanceUID}").status_code == 200


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ("application/dicom", 415),
        ('multipart/related; type="application/dicom+json"; boundary=bb', 400),
        ('multipart/related; type="application/dicom+xml"; boundary=bb', 415),
        ('multipart/related; type="application/dicom"', 400),
        ('multipart/related; type="application/dicom"; boundary=cc', 400),
        ("", 415),
    ],
)
def test_what_is_no_store_request_is_refused_whole(held, radiograph, content, status):
    assert post(held, part10(radiograph()), content=content).status_code == status
    assert held.blobs.stored == {}


def test_a_body_that_is_cut_or_too_long_stores_nothing(held, radiograph):
    body = b"--bb\r\n\r\n" + part10(radiograph())
    answer = held.client.post("/dicom-web/studies", data=body, headers={"Content-Type": CONTENT})
    assert answer.status_code == 400
    length = {"CONTENT_LENGTH": str(held.archive.max_body_bytes + 1)}
    answer = held.client.post("/dicom-web/studies", headers={"Content-Type": CONTENT}, environ_overrides=length)
    assert answer.status_code == 413
    assert held.blobs.stored == {}


def test_a_full_store_is_503_and_who_reads_one_study_stores_nothing(held, radiograph):
    held.blobs.free = 10
    assert post(held, part10(radiograph())).status_code == 503
    held.scope = "1.2.3"
    assert post(held, part10(radiograph())).status_code == 403
    assert held.blobs.stored == {}


def test_an_object_in_a_transfer_syntax_that_is_none_is_refused_as_such(held, radiograph):
    ds = radiograph()
    data = part10(ds)
    foreign = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0", 1)
    answer = post(held, foreign)
    assert (answer.status_code, reasons(answer)) == (409, [[0xC122]])


def test_a_part_of_another_media_type_spoils_the_request(held, radiograph):
    body = b"--bb\r\nContent-Type: text/html\r\n\r\n" + part10(radiograph()) + b"\r\n--bb--\r\n"
    answer = held.client.post("/dicom-web/studies", data=body, headers={"Content-Type": CONTENT})
    assert (answer.status_code, held.blobs.stored) == (400, {})
