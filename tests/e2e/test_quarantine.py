"""A running server keeps what it refuses, whichever way it came, and takes the syntaxes that its site names."""

from io import BytesIO

import httpx
import numpy as np
import pytest
from pynetdicom.dsutils import encode

from benchmarks.raw_peer import EXPLICIT, association, message, store_command
from consilium import quarantining
from consilium.demo.server import RunningServer
from consilium.settings import load_settings
from consilium.wiring import House
from dicom_node.syntaxes import GE_BIG_ENDIAN_PIXELS
from dicom_node.testing import cr_dataset

pytestmark = pytest.mark.slow
PIXELS = np.arange(256, dtype=np.uint16).reshape(16, 16)


def knee(seed: str, patient: str):
    return cr_dataset(PIXELS, seed=seed, PatientID=patient, BodyPartExamined="KNEE")


def c_store(house: RunningServer, ds, data: bytes, syntax: str = EXPLICIT) -> int:
    with association(house.dicom_port, {1: (str(ds.SOPClassUID), (syntax,))}) as peer:
        peer.send(message(1, store_command(str(ds.SOPClassUID), str(ds.SOPInstanceUID)), data))
        return peer.read_status()


def found(house: RunningServer, patient: str) -> int:
    answer = httpx.get(f"{house.base_url}/dicom-web/studies", params={"PatientID": patient}, timeout=30)
    return len(answer.json()) if answer.status_code == 200 else 0


@pytest.fixture
def beside(house: RunningServer):
    """The stores of the running server, as a command opens them."""
    one = House(load_settings(data_dir=house.log.parent / "data"))
    yield one
    one.db.dispose()


def test_what_is_refused_by_c_store_and_by_stow_is_kept_and_found_by_nobody(
    house: RunningServer, beside: House
) -> None:
    sent, stowed = knee("torn", "TORN-1"), knee("stowed", "TORN-2")
    torn = encode(sent, is_implicit_vr=False, is_little_endian=True)[:-1]
    assert c_store(house, sent, torn) == 0xA900
    buffer = BytesIO()
    stowed.save_as(buffer, enforce_file_format=True)
    file = buffer.getvalue()[:-1]
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n--b--\r\n"
    kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    assert (
        httpx.post(f"{house.base_url}/dicom-web/studies", content=body, headers=kind, timeout=30).status_code
        == 409
    )
    # The house is shared: others may have had something refused.
    kept = {beside.quarantine.path(one).read_bytes(): one for one in beside.quarantine.entries()}
    by_stow, (by_c_store,) = kept[file], [one for data, one in kept.items() if data.endswith(torn)]
    assert [one.refusal.address for one in (by_stow, by_c_store)] == ["127.0.0.1"] * 2
    assert (found(house, "TORN-1"), found(house, "TORN-2")) == (0, 0)
    for one in (by_stow, by_c_store):
        quarantining.remove(beside, one.sha256, "test")
    assert not {by_stow, by_c_store} & set(beside.quarantine.entries())


def test_an_object_in_a_syntax_that_the_site_names_is_stored_and_found(house: RunningServer) -> None:
    ds = knee("private", "PRIVATE-1")
    data = encode(ds, is_implicit_vr=True, is_little_endian=True)
    assert c_store(house, ds, data, GE_BIG_ENDIAN_PIXELS) == 0x0000
    assert found(house, "PRIVATE-1") == 1
    path = f"studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
    asked = {"Accept": "application/dicom; transfer-syntax=*"}
    assert httpx.get(f"{house.base_url}/dicom-web/{path}", headers=asked, timeout=30).content.endswith(data)
