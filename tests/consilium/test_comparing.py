"""A reading is compared with the newest earlier image of the same patient, view and model version, and says so."""

import html
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import numpy as np
import pytest
from flask import Flask
from pydicom import dcmread

from cds.links import LinkSigner
from consilium.comparing import (
    NO_DAY,
    NO_PART,
    NO_SIDE,
    NO_VIEW,
    NONE_HERE,
    NONE_OF_NEWEST,
    SEVERAL,
    STILL_COMING,
    TOO_MANY,
    Earlier,
    Shown,
    newest,
    shown_by,
)
from consilium.explain.compared_words import compared_in_words
from consilium.pages.views import PagesContext, blueprint
from dicom_node.header import Header
from fhir_adapters.publish import publish
from model_runtime.testing import CannedEngine, manifest_of, segmentation_document
from record_store import priors
from record_store.header_index import HeaderRows, add_headers
from record_store.readings import readings_of_job, result_objects
from record_store.study_history import history_of
from tests.consilium.nodule import radiograph
from tests.fhir_adapters.ai_transparency import faults_of
from tests.fhir_adapters.r4 import check_r4

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
PRIOR, CURRENT = "1.2.826.0.1.8", "1.2.826.0.1.9"
SAYS_NO_PART = {"BodyPartExamined": None, "AnatomicRegionSequence": None}


class Nodules:
    """An engine's answer: so many nodules in each image, in turn."""

    def __init__(self, *counts) -> None:
        self.counts = list(counts)

    def __call__(self, _inputs):
        probability = np.zeros((1, 16, 16, 1), np.float32)
        for number in range(self.counts.pop(0)):
            probability[0, 1 + 5 * number : 4 + 5 * number, 5:8, 0] = 0.9
        return {"probability": probability}


@pytest.fixture
def study(make_study):
    def make(*counts, **steps):
        engine = CannedEngine(
            {"lung-nodule": Nodules(*counts)}, {"lung-nodule": manifest_of(segmentation_document())}
        )
        return make_study("lung-nodule", engine, radiograph, **steps)

    return make


def reads(study, uid, day, seed, **attributes) -> str:
    """Images of a study arrive and are read; returns the job's key."""
    study.uid = uid
    study.arrives(seed, StudyDate=day, **spaced() | attributes)
    return study.is_read()


def spaced() -> dict:
    return {"PixelSpacing": ["0.4", "0.4"], "PixelSpacingCalibrationType": "FIDUCIAL"}


def compared(study, key):
    with study.db.read() as conn:
        (stored,) = readings_of_job(conn, key)
    return stored.reading.comparison


def why_not(study) -> list[str]:
    with study.db.read() as conn:
        acts = history_of(conn, study.uid).published
    return [reason for act in acts for reason in act.detail.get("not_compared", ())]


def test_an_earlier_image_that_was_read_stands_beside_the_result(study) -> None:
    one = study(2, 1)
    reads(one, PRIOR, "20251101", "then")
    made = compared(one, reads(one, CURRENT, "20261120", "now"))
    assert (made.then.count, made.now.count, made.interval_days) == (2, 1, 384)
    assert made.prior.study_uid == PRIOR
    assert made.then.longest_mm is not None
    reports = one.resources("DiagnosticReport")
    (report,) = [body for body in reports if "Compared with" in body["conclusion"]]
    assert report["conclusion"].endswith(made.in_words)
    assert len(report["result"]) == 2
    (beside,) = [body for body in one.resources("Observation") if body["code"]["coding"][0]["code"] == "18834-2"]
    assert report["result"][1]["reference"] == f"Observation/{beside['id']}"
    known = {
        f"{body['resourceType']}/{body['id']}"
        for kind in ("ImagingStudy", "Observation")
        for body in one.resources(kind)
    }
    assert {other["reference"] for other in beside["derivedFrom"]} <= known
    check_r4(beside)
    kinds = ("ImagingStudy", "DiagnosticReport", "Observation", "Device", "DocumentReference", "Provenance")
    assert faults_of([body for kind in kinds for body in one.resources(kind)]) == []
    with one.db.read() as conn:
        lines = compared_in_words(history_of(conn, CURRENT).published)
    assert lines == ("lung-nodule 0.1.0: 1 of its images compared with an earlier one",)


def test_the_structured_report_names_the_priors_report(study) -> None:
    one = study(2, 1)
    reads(one, PRIOR, "20251101", "then")
    key = reads(one, CURRENT, "20261120", "now")
    with one.db.read() as conn:
        (made,) = [each for each in result_objects(conn, key) if each.kind == "SR"]
    with one.blobs.local_path(made.sha256) as path:
        report = dcmread(path)
    (other,) = report.PertinentOtherEvidenceSequence
    assert other.StudyInstanceUID == PRIOR
    assert len(other.ReferencedSeriesSequence) == 2


def test_the_page_of_an_image_says_what_report_and_sr_say(study, decoder) -> None:
    one = study(2, 1)
    reads(one, PRIOR, "20251101", "then")
    key = reads(one, CURRENT, "20261120", "now")
    links = LinkSigner(b"k" * 32, "http://localhost", lambda: NOW)
    context = PagesContext(one.db, one.blobs, lambda: decoder, links, lambda: None, list, {}, lambda: None)
    app = Flask("pages")
    app.register_blueprint(blueprint(context))
    with one.db.read() as conn:
        (stored,) = readings_of_job(conn, key)
    signed = urlsplit(links.sign(stored.reading_id))
    page = app.test_client().get(f"{signed.path}?{signed.query}").text
    assert stored.reading.comparison.in_words in html.unescape(page)


@pytest.mark.parametrize(
    ("then", "now", "why"),
    [
        ({}, {"ViewPosition": "AP"}, NONE_HERE),
        ({"StudyDate": "20261120"}, {}, NONE_HERE),  # the same day: which is the earlier one, nobody says
        ({"StudyDate": "20261201"}, {}, NONE_HERE),
        ({"StudyDate": ""}, {}, NONE_HERE),
        ({}, {"StudyDate": ""}, NO_DAY),
        ({}, {"ViewCodeSequence": None, "ViewPosition": ""}, NO_VIEW),
        ({"PatientID": "P2"}, {}, NONE_HERE),
        ({}, {"ImageLaterality": "L", "Laterality": "R"}, NO_SIDE),
        (SAYS_NO_PART, SAYS_NO_PART, NO_PART),
    ],
)
def test_nothing_is_compared_that_may_show_something_else(study, then, now, why) -> None:
    one = study(1, 1)
    reads(one, PRIOR, **{"day": "20251101", "seed": "then"} | plain(then))
    key = reads(one, CURRENT, **{"day": "20261120", "seed": "now"} | plain(now))
    assert compared(one, key) is None
    assert why_not(one) == [why]


def plain(attributes) -> dict:
    said = dict(attributes)
    return ({"day": said.pop("StudyDate")} if "StudyDate" in said else {}) | said


def test_two_earlier_images_of_a_view_are_not_chosen_from(study) -> None:
    one = study(1, 1, 1)
    one.uid = PRIOR
    one.arrives("first", StudyDate="20251101")
    one.arrives("second", StudyDate="20251101")
    one.is_read()
    key = reads(one, CURRENT, "20261120", "now")
    assert (compared(one, key), why_not(one)) == (None, [SEVERAL])


def test_two_earlier_studies_of_one_day_are_not_chosen_from_by_their_uids(study) -> None:
    one = study(1, 2, 1)
    reads(one, "1.2.826.0.1.7", "20251101", "first")
    reads(one, PRIOR, "20251101", "second")
    key = reads(one, CURRENT, "20261120", "now")
    assert (compared(one, key), why_not(one)) == (None, [SEVERAL])


@pytest.mark.parametrize("is_fetched", [False, True])
def test_a_result_that_a_person_called_an_error_is_not_compared_with_nor_said_again(study, is_fetched) -> None:
    one = study(1, 1, 1)
    reads(one, PRIOR, "20251101", "then")
    (report,) = one.resources("DiagnosticReport")
    with one.db.write() as conn:
        publish(conn, [report | {"status": "entered-in-error"}], NOW)
    if is_fetched:
        fetched(one)
    assert compared(one, reads(one, CURRENT, "20261120", "now")) is None


def fetched(study) -> None:
    """The prior came from an archive, for the current study."""
    with study.db.write() as conn:
        assert priors.claim_question(conn, CURRENT, "main", "rule", NOW)
        priors.answer_question(conn, CURRENT, NOW, found=1, chosen=[PRIOR], problem=None)
        priors.end_fetch(conn, priors.claim_wanted(conn, NOW), NOW, objects=1, problem=None)


def test_a_fetched_prior_is_read_for_the_comparison_and_nothing_of_it_is_published(study) -> None:
    one = study(1, 2)  # the current image is read first
    one.uid = PRIOR
    one.arrives("then", StudyDate="20251101", **spaced())
    fetched(one)
    made = compared(one, reads(one, CURRENT, "20261120", "now"))
    assert (made.then.count, made.now.count, made.reading_id, made.report) == (2, 1, "", None)
    assert one.counts()["reading"] == 1
    assert len(one.resources("DiagnosticReport")) == len(one.resources("ImagingStudy")) == 1
    (beside,) = [body for body in one.resources("Observation") if body["code"]["coding"][0]["code"] == "18834-2"]
    assert beside["derivedFrom"][1]["identifier"]["value"] == f"urn:oid:{PRIOR}"


def reads_indexed(study, uid, day, **attributes) -> str:
    key = reads(study, uid, day, uid, **attributes)
    place = {"study_uid": uid, "series_uid": uid, "sop_instance_uid": uid, "sop_class_uid": "1.2"}
    header = {"study_uid": uid, "study_date": day}
    series = {"study_uid": uid, "series_uid": uid}
    with study.db.write() as conn:
        add_headers(conn, [HeaderRows(header, series, place)])
    return key


def test_the_newest_earlier_day_is_found_however_many_images_of_other_days_were_read_after_it(
    study, monkeypatch
) -> None:
    monkeypatch.setattr("consilium.comparing.MOST", 2)
    one = study(2, 1, 1, 1, 1, 1, 1)
    reads_indexed(one, PRIOR, "20251101")
    for number, day in enumerate(("20190101", "20200101", "20210101", "20270101", "20280101")):
        reads_indexed(one, f"1.2.826.0.2.{number}", day)
    made = compared(one, reads_indexed(one, CURRENT, "20261120"))
    assert (made.prior.study_uid, made.then.count) == (PRIOR, 2)


def test_that_no_earlier_image_fits_is_said_with_what_was_not_looked_at(study, monkeypatch) -> None:
    monkeypatch.setattr("consilium.comparing.MOST", 2)
    one = study(1, 1, 1, 1)
    reads_indexed(one, "1.2.826.0.2.1", "20190101")
    reads_indexed(one, "1.2.826.0.2.2", "20250101", ViewPosition="AP")
    reads_indexed(one, "1.2.826.0.2.3", "20260101", ViewPosition="AP")
    key = reads_indexed(one, CURRENT, "20261120")
    assert (compared(one, key), why_not(one)) == (None, [NONE_OF_NEWEST])


def test_a_late_image_is_compared_by_itself_and_changes_nothing_that_was_said(study) -> None:
    one = study(2, 1, 1)
    reads(one, PRIOR, "20251101", "then")
    first = compared(one, key := reads(one, CURRENT, "20261120", "now"))
    late = reads(one, CURRENT, "20261120", "late")
    assert late != key
    assert compared(one, key) == first
    made = compared(one, late)
    assert (made.prior.study_uid, made.then.count, made.now.count) == (PRIOR, 2, 1)


def test_of_a_day_with_more_images_than_are_looked_at_none_is_chosen(study, monkeypatch) -> None:
    monkeypatch.setattr("consilium.comparing.MOST", 1)
    one = study(1, 1, 1)
    reads_indexed(one, "1.2.826.0.2.1", "20250101")
    reads_indexed(one, "1.2.826.0.2.2", "20250101", ViewPosition="AP")
    key = reads_indexed(one, CURRENT, "20261120")
    assert (compared(one, key), why_not(one)) == (None, [TOO_MANY])


def test_a_prior_that_had_not_come_when_it_was_read_is_said(study) -> None:
    one = study(1)
    with one.db.write() as conn:
        assert priors.claim_question(conn, CURRENT, "main", "rule", NOW)
        priors.answer_question(conn, CURRENT, NOW, found=1, chosen=[PRIOR], problem=None)
    reads(one, CURRENT, "20261120", "now")
    assert why_not(one) == [f"{NONE_HERE}; {STILL_COMING}"]


def test_an_earlier_image_that_cannot_be_opened_costs_no_result(study, monkeypatch) -> None:
    def hostile(path, **said):
        ds = dcmread(path, **said)
        if ds.get("StudyDate") == "20251101" and "ViewCodeSequence" in said["specific_tags"]:
            raise NotImplementedError("value of unknown VR")
        return ds

    monkeypatch.setattr("consilium.study.dcmread", hostile)
    one = study(1, 1)
    reads(one, PRIOR, "20251101", "then")
    key = reads(one, CURRENT, "20261120", "now")
    assert (compared(one, key), why_not(one)) == (None, [NONE_HERE])


def test_nothing_is_compared_when_the_site_wants_none(study) -> None:
    one = study(1, 1, compare=False)
    reads(one, PRIOR, "20251101", "then")
    assert compared(one, reads(one, CURRENT, "20261120", "now")) is None
    assert why_not(one) == []


def test_a_view_in_words_and_one_in_codes_are_not_taken_for_one() -> None:
    ds = radiograph("a", StudyDate="20251101")
    chest = Header(modality="DX", body_part="CHEST")
    coded, worded = shown_by(chest, ds), shown_by(replace(chest, view_position="PA"), ds)
    assert coded.view
    assert not coded.agrees(worded)
    assert coded.agrees(coded)


@pytest.mark.parametrize("side", ["", "L", "R"])
def test_a_paired_part_without_a_side_may_be_the_other_one(side) -> None:
    day = NOW.date()
    silent = Shown("MG", "BREAST", "MLO", frozenset(), day)
    assert not silent.agrees(Shown("MG", "BREAST", "MLO", frozenset({side} - {""}), day))
    assert silent.unfit == NO_SIDE
    chest = Shown("DX", "CHEST", "PA", frozenset(), day)
    assert chest.agrees(chest)


def test_a_view_code_that_is_no_sequence_states_no_view() -> None:
    ds = radiograph("a", StudyDate="20251101")
    del ds.ViewCodeSequence
    ds.add_new(0x00540220, "LO", "PA")
    assert shown_by(Header(modality="DX", body_part="CHEST"), ds).unfit == NO_VIEW


def test_the_newest_earlier_study_is_the_one_to_compare_with() -> None:
    def earlier(uid, day):
        row = type("Row", (), {"study_uid": uid})()
        return Earlier(row, shown(day), None)

    def shown(day):
        return Shown("DX", "CHEST", "PA", frozenset(), day)

    days = [datetime(2025, month, 1, tzinfo=UTC).date() for month in (1, 5, 9)]
    images = [earlier("1", days[0]), earlier("2", days[1]), earlier("3", days[2])]
    assert [one.row.study_uid for one in newest(shown(days[2]), images)] == ["2"]
    assert newest(shown(days[0]), images) == []
