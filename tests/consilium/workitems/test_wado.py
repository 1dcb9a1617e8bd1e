"""A step's study by WADO-RS: from a Flask peer that is not ours, and from nobody whom no setting names."""

import io
import json
import threading
import tracemalloc
from dataclasses import replace
from itertools import chain, repeat
from types import SimpleNamespace

import numpy as np
import pytest
from flask import Flask, Response, request
from pydicom import dcmread
from werkzeug.serving import make_server

from consilium.settings import load_settings
from consilium.wiring import House, prepare_storage
from consilium.workitems import wiring
from consilium.workitems.inputs import AWAY
from consilium.workitems.wado import (
    FAILED,
    LATE,
    NO_ROOM,
    SENDER,
    STOPPED,
    WITH_FAILURES,
    WebArchive,
    web_archive,
)
from dicom_node.query.scu import Unanswered
from dicom_node.syntaxes import GE_BIG_ENDIAN_PIXELS
from dicom_node.testing import dx_dataset
from record_store import workitems
from record_store.blobs import open_blobs
from record_store.instances import instances_of
from record_store.workitems import InputStudy
from tests.consilium.workitems.conftest import IMAGE, RULE, STUDY, UID
from tests.dicom_node.ups.peer import step

SERIES = f"{STUDY}.8"


def part_10(uid, study=STUDY):
    ds = dx_dataset(np.zeros((8, 8), np.uint16), seed=uid[-2:], StudyInstanceUID=study, SeriesInstanceUID=SERIES)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid
    ds.PatientID = "P1"
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


class Web:
    """An archive with DICOMweb. asked: the paths."""

    def __init__(self):
        self.objects = {IMAGE: part_10(IMAGE), f"{STUDY}.2": part_10(f"{STUDY}.2")}
        self.asked, self.token, self.warning = [], None, ""
        self.broken = set()  # objects that it has lost
        self.app = Flask("archive")
        self.app.add_url_rule("/rs/studies/<study>/instances", view_func=self.search)
        self.app.add_url_rule("/rs/studies/<study>/series/<series>/instances/<uid>", view_func=self.retrieve)

    def search(self, study):
        self.asked.append(request.path)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return Response(status=401)
        found = []
        for uid, file in self.objects.items():
            ds = dcmread(
                io.BytesIO(file), stop_before_pixels=True, specific_tags=["SOPClassUID", "SeriesInstanceUID"]
            )
            ds.SOPInstanceUID = uid
            found.append(ds.to_json_dict())
        headers = {"Warning": self.warning} if self.warning else {}
        return Response(json.dumps(found), content_type="application/dicom+json", headers=headers)

    def retrieve(self, study, series, uid):
        self.asked.append(request.path)
        assert request.headers["Accept"].startswith("multipart/related")
        if uid in self.broken:
            return Response(status=500)
        body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + self.objects[uid] + b"\r\n--x--\r\n"
        return Response(body, content_type='multipart/related; type="application/dicom"; boundary=x')


@pytest.fixture
def web():
    one = Web()
    server = make_server("127.0.0.1", 0, one.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    one.url = f"http://127.0.0.1:{server.server_port}/rs"
    yield one
    server.shutdown()
    thread.join()
    server.server_close()


def held(near):
    with near.db.read() as conn:
        return [one.sop_instance_uid for one in instances_of(conn, STUDY)]


def asks(near, web, url=None, objects=(IMAGE,), token=None):
    near.book.steps[UID] = step(objects=objects, retrieve_url=url or f"{web.url}/studies/{STUDY}", patient_id="P1")
    near.web_archives.append(web_archive(web.url, token))


def test_a_study_with_an_address_comes_by_wado_rs_as_far_as_it_is_named(near, web) -> None:
    asks(near, web)
    near.looks(3)
    assert (held(near), near.row().state, near.fetched) == ([IMAGE], workitems.READING, [])
    assert web.asked[-1] == f"/rs/studies/{STUDY}/series/{SERIES}/instances/{IMAGE}"


def test_of_a_study_that_is_meant_as_a_whole_all_images_come(near, web) -> None:
    asks(near, web, f"{web.url}/studies/{STUDY}/series/{SERIES}", objects=())
    near.looks(3)
    assert held(near) == [IMAGE, f"{STUDY}.2"]
    with near.db.read() as conn:
        assert [one.fetched for one in instances_of(conn, STUDY)] == [1, 1]


@pytest.mark.parametrize(
    ("most", "warning"), [(1, ""), (2, "299 x: There are 3 additional results that can be requested")]
)
def test_a_study_whose_list_is_cut_is_not_fetched_in_part_when_all_of_it_is_meant(
    near, web, most, warning
) -> None:
    web.warning = warning
    near.web_archives.append(web_archive(web.url, None))
    whole = InputStudy(STUDY, "", (), retrieve_url=f"{web.url}/studies/{STUDY}")
    fetch = replace(near.web(), most=most)
    assert "more objects" in fetch(whole).words
    assert (fetch(whole).status, held(near)) == (FAILED, [])
    assert fetch(replace(whole, objects=(IMAGE,))).completed == 1


def test_the_token_of_the_setting_is_shown(near, web) -> None:
    web.token = "secret"
    asks(near, web, token="secret")
    near.looks(3)
    assert held(near) == [IMAGE]
    assert "secret" not in repr(near.web_archives)


def test_of_two_settings_on_one_host_the_token_of_the_nearer_one_is_shown(near, web) -> None:
    web.token = "of-the-tenant"
    near.web_archives.append(web_archive(web.url.removesuffix("/rs"), "of-the-host"))
    asks(near, web, token="of-the-tenant")
    near.looks(3)
    assert held(near) == [IMAGE]


@pytest.mark.parametrize(
    "url",
    [
        "{origin}/other/studies/{study}",
        "http://169.254.169.254/rs/studies/{study}",
        "{url}/studies/1.2.3",
        "{url}/../studies/{study}",
        "{url}@evil.example/rs/studies/{study}",
        "file:///etc/studies/{study}",
    ],
)
def test_an_address_that_is_below_no_setting_is_not_called(near, web, url) -> None:
    near.book.steps.clear()
    given = url.format(origin=web.url.removesuffix("/rs"), url=web.url, study=STUDY)
    asks(near, web, given)
    fetch = near.web()
    study = InputStudy(STUDY, "", (IMAGE,), retrieve_url=given)
    assert fetch.server(study) is None
    with pytest.raises(Unanswered):
        fetch(study)
    assert web.asked == []


def test_an_object_of_another_study_than_was_asked_for_is_not_taken(near, web) -> None:
    web.objects[IMAGE] = part_10(IMAGE, "1.2.3.4")
    asks(near, web)
    near.looks(5)
    assert (held(near), near.book.state()) == ([], "CANCELED")
    assert near.row().reason.endswith("the object is of another study than was asked for")


def test_a_study_in_which_one_object_came_for_another_is_not_called_whole(near, web) -> None:
    web.objects[IMAGE] = part_10(f"{STUDY}.2")
    asks(near, web, objects=())
    near.looks(5)
    assert near.book.state() == "CANCELED"
    assert near.row().reason.endswith("the object is another one than was asked for")


def test_an_archive_that_is_away_is_asked_again_and_then_the_step_is_canceled(near, web) -> None:
    web.token = "another"
    asks(near, web)
    near.looks(5)
    assert near.row().state == workitems.CANCELED
    assert near.row().reason.endswith("the archive answered a search with HTTP 401")


def test_an_archive_that_is_away_holds_up_no_other_and_one_without_the_study_is_not_away(near, web) -> None:
    near.web_archives += [web_archive("http://127.0.0.1:9/rs", None), web_archive(web.url, None)]
    _, performing = near.process()
    away, here, unknown = (
        InputStudy(STUDY, "", (), retrieve_url=f"{base}/studies/{STUDY}")
        for base in ("http://127.0.0.1:9/rs", web.url, f"{web.url}/none")
    )

    def fetch(study):
        return performing.inputs.fetch(performing.inputs.place(RULE, study), study)

    for _ in range(3):
        assert fetch(away) == "no connection"
        assert fetch(unknown) == "the archive answered a search with HTTP 404"
    assert fetch(away) == AWAY
    assert fetch(here) is None


def test_an_address_in_the_settings_that_is_none_is_left_out() -> None:
    assert web_archive("http://user@host/rs", None) is None
    assert isinstance(web_archive("https://ai.example/rs/", None), WebArchive)


def whole(web):
    return InputStudy(STUDY, "", (), retrieve_url=f"{web.url}/studies/{STUDY}")


def test_a_study_of_which_a_part_came_is_not_read_before_the_rest_has_come_and_what_is_here_is_not_fetched_again(
    near, web
) -> None:
    asks(near, web, objects=())
    web.broken.add(f"{STUDY}.2")
    near.looks()
    assert (held(near), near.row().state) == ([IMAGE], workitems.FETCHING)
    assert near.row().problem == "the archive answered for an object with HTTP 500"
    web.broken.clear()
    near.looks(2)
    assert (held(near), near.row().state) == ([IMAGE, f"{STUDY}.2"], workitems.READING)
    assert sum(path.endswith(IMAGE) for path in web.asked) == 1


def test_a_study_that_never_comes_whole_ends_its_step_and_is_not_called_read(near, web) -> None:
    asks(near, web, objects=())
    web.broken.add(f"{STUDY}.2")
    near.looks(5)
    assert near.book.state() == "CANCELED"
    assert near.row().reason.endswith("HTTP 500")


@pytest.mark.parametrize(("seconds", "goes_on", "why"), [(3601, True, LATE), (0, False, STOPPED)])
def test_a_study_that_takes_too_long_or_is_no_longer_ours_is_left_where_it_is(
    near, web, seconds, goes_on, why
) -> None:
    near.web_archives.append(web_archive(web.url, None))
    times = iter([0.0, seconds, seconds])
    ended = replace(near.web(), clock=lambda: next(times))(whole(web), lambda: goes_on)
    assert (ended.status, ended.words, held(near)) == (WITH_FAILURES, why, [])


def test_nothing_is_fetched_onto_a_disk_that_is_almost_full(near, web) -> None:
    near.web_archives.append(web_archive(web.url, None))
    ended = replace(near.web(), has_room=lambda: False)(whole(web))
    assert (ended.words, ended.failed, held(near)) == (NO_ROOM, 2, [])


def test_an_object_is_never_held_in_memory(near, web, tmp_path) -> None:
    near.blobs = open_blobs((tmp_path / "blobs").as_uri(), tmp_path / "staging")
    size, beginning = 48 << 20, part_10(IMAGE)
    pixels = beginning.index(b"\xe0\x7f\x10\x00OW")
    beginning = beginning[: pixels + 8] + size.to_bytes(4, "little")
    mark = b"--x\r\nContent-Type: application/dicom\r\n\r\n"

    def comes(study, series, uid):
        pieces = chain((mark, beginning), repeat(bytes(1 << 16), size >> 16), (b"\r\n--x--\r\n",))
        return Response(pieces, content_type='multipart/related; type="application/dicom"; boundary=x')

    (view,) = (name for name in web.app.view_functions if name == "retrieve")
    web.app.view_functions[view] = comes
    near.web_archives.append(web_archive(web.url, None))
    fetch, one = near.web(), replace(whole(web), objects=(IMAGE,))
    tracemalloc.start()
    try:
        assert fetch(one).completed == 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    with near.db.read() as conn:
        assert instances_of(conn, STUDY)[0].size > size
    assert peak < size // 3  # the archive of the test is in this process, too


def test_what_comes_from_an_archive_under_our_pseudonyms_gets_its_own_names(tmp_path) -> None:
    house = House(load_settings(data_dir=tmp_path))
    prepare_storage(house.settings)
    vars(house)["disguises"] = {"far": SimpleNamespace(returns_as=())}
    restore = wiring._web(house).files.intake._restore
    assert (restore.any_sender, restore.disguises) == (SENDER, house.disguises)
    house.db.dispose()


def test_what_the_site_takes_of_private_syntaxes_comes_by_wado_rs_as_well(tmp_path) -> None:
    named = {GE_BIG_ENDIAN_PIXELS: "implicit"}
    house = House(load_settings(data_dir=tmp_path, dicom_private_syntaxes=named))
    prepare_storage(house.settings)
    assert wiring._web(house).files.private_syntaxes == house.settings.private_encodings
    assert set(house.settings.private_encodings) == set(named)
    house.db.dispose()
