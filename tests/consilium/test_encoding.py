"""Which DICOM objects a study's readings become, where they go, and what they replace when it is read again."""

import io
from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest
from pydicom import dcmread
from sqlalchemy import select

from clinical.errors import Unsupported
from consilium.explain.stages import explain
from consilium.setting_values import PrivateEncoding, ResultKind
from dicom_node.results import ENCODERS
from dicom_node.syntaxes import PRIVATE_ENCODINGS
from model_runtime.testing import CannedEngine, manifest_of, segmentation_document
from record_store.readings import readings_of_job, readings_of_patient, result_objects
from record_store.study_history import history_of
from record_store.tables import delivery
from tests.consilium.nodule import one_nodule, radiograph

pytestmark = pytest.mark.slow

EVERY_KIND = tuple(one.kind for one in ENCODERS)


def engine_of(version):
    manifest = manifest_of(segmentation_document(version=version))
    return CannedEngine({"lung-nodule": one_nodule}, {"lung-nodule": manifest})


@pytest.fixture
def study(make_study):
    def make(**steps):
        return make_study("lung-nodule", engine_of("0.1.0"), radiograph, **steps)

    return make


def all_objects_of(study, key):
    with study.db.read() as conn:
        rows = result_objects(conn, key)
    return [(row.kind, dcmread(io.BytesIO(study.blobs.get(row.sha256)))) for row in rows]


def objects_of(study, key, revision=1):
    """Return kind -> the one object of it with this revision number."""
    found = [(kind, ds) for kind, ds in all_objects_of(study, key) if ds.InstanceNumber == revision]
    assert len(found) == len(dict(found))
    return dict(found)


def deliveries(study):
    with study.db.read() as conn:
        return {tuple(row) for row in conn.execute(select(delivery.c.destination, delivery.c.sop_instance_uid))}


def with_model(study, version):
    study.engine = engine_of(version)
    study.steps = replace(study.steps, engine=study.engine)


def test_the_setting_knows_every_kind_that_there_is():
    assert get_args(ResultKind) == EVERY_KIND


def test_the_setting_knows_how_private_data_sets_may_be_encoded():
    assert get_args(PrivateEncoding) == tuple(PRIVATE_ENCODINGS)


def test_every_kind_is_made_where_the_setting_says_so_and_named_in_the_imaging_study(study):
    study = study(results=EVERY_KIND)
    study.arrives("one")
    objects = objects_of(study, study.is_read())
    assert set(objects) == set(EVERY_KIND)
    # 64 pixels of the image, and below them the words.
    assert (objects["SC"].Columns >= 64, objects["SC"].pixel_array[:64].max() > 0) == (True, True)
    (imaging,) = study.resources("ImagingStudy")
    listed = {one["uid"]: one["modality"]["code"] for one in imaging["series"]}
    assert {str(ds.SeriesInstanceUID): ds.Modality for ds in objects.values()}.items() <= listed.items()


def test_a_destination_gets_the_kinds_that_it_takes_and_the_others_get_all(study):
    study = study(results=("SEG", "SR", "SC"), kinds_for={"old-archive": ("SC",)})
    study.steps = replace(study.steps, destinations=("pacs", "old-archive"))
    study.arrives("one")
    objects = objects_of(study, study.is_read())
    sent = {
        kind: {to for to, uid in deliveries(study) if uid == ds.SOPInstanceUID} for kind, ds in objects.items()
    }
    assert sent == {"SEG": {"pacs"}, "SR": {"pacs"}, "SC": {"pacs", "old-archive"}}


def test_a_new_version_of_the_model_replaces_what_the_old_one_said_of_the_same_image(study):
    study = study()
    study.arrives("one")
    first = objects_of(study, study.is_read())
    with_model(study, "0.2.0")
    study.arrives("late")  # opens the study again: the new version reads both images
    key = study.is_read()
    second, of_late = objects_of(study, key, revision=2), objects_of(study, key)
    for ds in (first["SR"], of_late["SR"]):
        assert "PredecessorDocumentsSequence" not in ds
    (replaced,) = second["SR"].PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert replaced.SeriesInstanceUID == first["SR"].SeriesInstanceUID
    assert replaced.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first["SR"].SOPInstanceUID
    assert second["SEG"].SeriesDescription == "lung-nodule 0.2.0 segmentation (revision 2)"
    assert second["SR"].SOPInstanceUID != first["SR"].SOPInstanceUID


def test_a_late_image_is_no_revision_of_another(study):
    study = study()
    study.arrives("one")
    study.is_read()
    study.arrives("late")
    objects = objects_of(study, study.is_read())
    assert objects["SR"].InstanceNumber == 1
    assert "PredecessorDocumentsSequence" not in objects["SR"]


def test_nothing_is_said_to_be_replaced_that_was_never_made(study):
    study = study(results=("SEG",))
    study.arrives("one")
    study.is_read()
    with_model(study, "0.2.0")
    study.steps = replace(study.steps, results=("SR",))
    study.arrives("late")
    again = objects_of(study, study.is_read(), revision=2)
    assert "PredecessorDocumentsSequence" not in again["SR"]


def read_again(study):
    """Have a new version of the model read the one image an hour later; the second job's key."""
    study.arrives("one")
    study.is_read()
    study.now += timedelta(hours=1)
    with_model(study, "0.2.0")
    study.arrives("late", ViewPosition="LL")  # opens the study, and is not read
    return study.is_read()


def test_of_two_readings_of_an_image_the_older_one_is_current_nowhere(study):
    study = study()
    key = read_again(study)
    reports = {one["status"]: one for one in study.resources("DiagnosticReport")}
    assert set(reports) == {"cancelled", "preliminary"}
    old, new = reports["cancelled"], reports["preliminary"]
    assert old["conclusion"].startswith(f"Replaced by DiagnosticReport/{new['id']}: ")
    (extension,) = new["extension"]
    assert extension["valueReference"]["reference"] == f"DiagnosticReport/{old['id']}"
    states = {one["id"]: one["status"] for one in study.resources("Observation")}
    for report, status in ((old, "cancelled"), (new, "preliminary")):
        assert {states[one["reference"].split("/")[1]] for one in report["result"]} == {status}
    with study.db.read() as conn:
        patient = readings_of_job(conn, key)[0].patient
        (shown,) = readings_of_patient(conn, [patient], 10)
    assert (shown.job_key, shown.reading.model.version) == (key, "0.2.0")


def test_what_an_archive_has_not_taken_yet_of_an_older_reading_is_not_sent_any_more(study):
    study = study()
    key = read_again(study)
    with study.db.read() as conn:
        new = {one.sop_instance_uid for one in result_objects(conn, key)}
        rows = conn.execute(select(delivery.c.sop_instance_uid, delivery.c.state)).all()
    assert len(rows) == 4
    assert {state for uid, state in rows if uid in new} == {"pending"}
    assert {state for uid, state in rows if uid not in new} == {"superseded"}


def test_the_older_job_published_last_is_still_the_older_one(study):
    study = study()
    study.arrives("one")
    late = study.closes()
    steps, study.now = study.steps, study.now + timedelta(hours=1)
    with_model(study, "0.2.0")
    study.arrives("late", ViewPosition="LL")
    study.is_read()
    study.steps = steps
    study.run(late)
    texts = {one["status"]: one["conclusion"] for one in study.resources("DiagnosticReport")}
    assert "lung-nodule 0.2.0" in texts["preliminary"]
    assert "lung-nodule 0.1.0" in texts["cancelled"]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (Unsupported("the image's header cannot be referred to"), "the image's header cannot be referred to"),
        (ValueError("Zzcanary"), "it cannot be written for this image (ValueError)"),
    ],
)
def test_a_kind_that_cannot_be_made_of_an_image_costs_nobody_the_others(study, monkeypatch, error, why):
    study = study(results=("SEG", "SR", "PM"))
    study.arrives("one")
    failing(monkeypatch, "PM", error)
    assert set(objects_of(study, study.is_read())) == {"SEG", "SR"}
    with study.db.read() as conn:
        history = history_of(conn, study.uid)
    (act,) = history.refused
    assert (act.detail["kind"], act.detail["why"]) == ("PM", why)
    assert explain(history, (), 5.0)[4].lines == (f"lung-nodule: no PM was made: {why}",)


def test_a_report_that_cannot_be_made_fails_the_job(study, monkeypatch):
    study = study(results=("SEG", "SR", "PM"))
    study.arrives("one")
    failing(monkeypatch, "SR", Unsupported("the image's header cannot be referred to"))
    with pytest.raises(Unsupported):
        study.is_read()


def failing(monkeypatch, kind, error):
    def encode(*_):
        raise error

    made = tuple(replace(one, encode=encode) if one.kind == kind else one for one in ENCODERS)
    monkeypatch.setattr("dicom_node.results.ENCODERS", made)
