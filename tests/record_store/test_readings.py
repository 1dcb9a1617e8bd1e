"""Readings come back as they went in, once."""

import math
from dataclasses import replace
from datetime import UTC, timedelta, timezone

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.codes import AREA, LONG_AXIS, LUNG, MALIGNANT_NEOPLASM_OF_BREAST, NODULE_OF_LUNG, SHORT_AXIS
from clinical.conformal import Answer
from clinical.errors import Fault
from clinical.finding import Finding, FindingTerms, ImageRef, Measurement, ModelRef, Reading
from clinical.identity import PatientKey
from clinical.image import PixelSpacing, SpacingOrigin
from clinical.inputs import InputUsed
from clinical.lesion import Basis, ImageTokens, LesionAssessment, Occlusion, Side
from record_store.reading_json import from_json, to_json
from record_store.readings import (
    DONE,
    FAILED,
    QUEUED,
    JobRow,
    ResultObject,
    add_job,
    add_result_object,
    finish_job,
    job,
    job_key_of,
    jobs_of_study,
    put_reading,
    queued_jobs,
    reading_by_id,
    readings_of_image,
    readings_of_job,
    readings_of_patient,
    requeue_job,
    result_object,
    result_objects,
)

number = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
pair = st.tuples(number, number)
millimetres = st.floats(0.001, 99)
measurement = st.builds(Measurement, st.sampled_from([LONG_AXIS, SHORT_AXIS, AREA]), number, st.just("mm"))
findings = st.builds(
    Finding,
    number=st.integers(1, 999),
    probability=number,
    centroid_px=pair,
    box_px=st.tuples(*[st.integers(0, 5000)] * 4),
    outline_px=st.lists(pair, max_size=5).map(tuple),
    long_axis=measurement,
    short_axis=measurement,
)
images = st.builds(
    ImageRef,
    study_uid=text,
    series_uid=text,
    sop_instance_uid=text,
    sop_class_uid=text,
    modality=text,
    rows=st.integers(1, 5000),
    columns=st.integers(1, 5000),
    spacing=st.none() | st.builds(PixelSpacing, millimetres, millimetres, st.sampled_from(SpacingOrigin)),
)
inputs = st.builds(
    InputUsed,
    name=text,
    label=text,
    value=number,
    shown=text,
    unit=text,
    taken_at=st.none() | st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])),
    source=st.none() | text,
)
assessments = st.builds(
    LesionAssessment,
    finding=st.integers(1, 9),
    outcome=st.just(MALIGNANT_NEOPLASM_OF_BREAST),
    basis=st.sampled_from(Basis),
    probability=number,
    image_probability=number,
    answer=st.sampled_from(Answer),
    inputs=st.lists(inputs, max_size=2).map(tuple),
    missing=st.lists(text, max_size=2).map(tuple),
    tokens=st.binary(max_size=8).map(lambda data: ImageTokens((len(data),), data * 4)),
    occlusion=st.none()
    | st.builds(
        Occlusion,
        box=st.tuples(*[st.integers(-50, 5000)] * 4),
        changes=st.lists(pair, min_size=1, max_size=2).map(tuple),
    ),
    side=st.none() | st.sampled_from(Side),
)
readings = st.builds(
    Reading,
    image=images,
    model=st.builds(ModelRef, text, text, text),
    terms=st.just(FindingTerms(NODULE_OF_LUNG, NODULE_OF_LUNG, NODULE_OF_LUNG, LUNG, "lung nodule")),
    threshold=number,
    findings=st.lists(findings, max_size=2).map(tuple),
    lesions=st.lists(assessments, max_size=2).map(tuple),
)
FINDING = Finding(
    number=1,
    probability=0.871,
    centroid_px=(100.5, 200.25),
    box_px=(90, 190, 111, 211),
    outline_px=((90.0, 190.0), (90.0, 210.0), (110.0, 200.0)),
    long_axis=Measurement(LONG_AXIS, 12.3, "mm"),
    short_axis=Measurement(SHORT_AXIS, 9.8, "mm"),
)
READING = Reading(
    image=ImageRef("1.2.3", "1.2.3.9", "1.2.3.1", "1.2.840.10008.5.1.4.1.1.1.1", "DX", 2000, 1800, None),
    model=ModelRef("lung-nodule", "0.1.0", "ab" * 32),
    terms=FindingTerms(NODULE_OF_LUNG, NODULE_OF_LUNG, NODULE_OF_LUNG, LUNG, "lung nodule"),
    threshold=0.5,
    findings=(FINDING,),
)
PATIENT = PatientKey("urn:hospital", "ZZCANARY-4711")
MASK = "c" * 64


@given(readings)
def test_a_reading_comes_back_from_json_equal(reading):
    assert from_json(to_json(reading)) == reading


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_json_cannot_hold_is_a_fault_and_not_another_number(value):
    with pytest.raises(Fault):
        to_json(replace(READING, threshold=value))


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[]", b'{"schema": 2, "reading": {}}', b'{"schema": 1, "reading": {}}']
)
def test_a_damaged_body_is_a_fault(damage):
    with pytest.raises(Fault):
        from_json(damage)


def test_a_reading_without_assessments_is_written_as_before_there_were_any():
    document = orjson.loads(to_json(READING))
    assert set(document) == {"schema", "reading"}
    del document["reading"]["lesions"]
    assert from_json(orjson.dumps(document)) == READING


def test_a_reading_says_whether_the_cpu_stood_in_for_a_lost_gpu_and_one_of_an_earlier_version_did_not():
    assert from_json(to_json(replace(READING, degraded=True))).degraded
    document = orjson.loads(to_json(READING))
    del document["reading"]["degraded"]
    assert from_json(orjson.dumps(document)) == READING


@pytest.mark.parametrize("damage", [{"version": 2}, {"assessments": [{}]}, {"assessments": None}])
def test_assessments_that_this_version_does_not_know_are_a_fault_and_not_left_out(damage):
    document = orjson.loads(to_json(READING)) | {"lesions": {"version": 1, "assessments": []} | damage}
    with pytest.raises(Fault):
        from_json(orjson.dumps(document))


def test_an_unknown_key_in_a_body_is_a_fault():
    document = orjson.loads(to_json(READING))
    document["reading"]["image"]["surprise"] = 1
    with pytest.raises(Fault):
        from_json(orjson.dumps(document))


def put(db, now, reading_id, patient=PATIENT, reading=READING):
    with db.write() as conn:
        return put_reading(
            conn, reading, reading_id=reading_id, job_key="job", patient=patient, mask_sha256=MASK, now=now()
        )


def test_a_reading_is_stored_once_and_the_first_is_kept(db, now):
    assert put(db, now, "r1") is True
    assert put(db, now, "r1", reading=replace(READING, findings=())) is False
    with db.read() as conn:
        stored = reading_by_id(conn, "r1")
        assert readings_of_job(conn, "job") == [stored]
        assert reading_by_id(conn, "absent") is None
    assert (stored.reading, stored.patient, stored.mask_sha256, stored.created_at) == (
        READING,
        PATIENT,
        MASK,
        now(),
    )


def test_readings_of_a_patient_are_the_newest_first_and_nobody_elses(db, now):
    put(db, now, "old", reading=of_image("1.2.3.2"))
    now.advance(1)
    put(db, now, "new")
    put(db, now, "same number, other hospital", PatientKey("urn:elsewhere", PATIENT.value))
    put(db, now, "nobody", None)
    with db.read() as conn:

        def ids(*keys, limit=10):
            return [stored.reading_id for stored in readings_of_patient(conn, keys, limit)]

        assert ids(PATIENT) == ["new", "old"]
        assert ids(PATIENT, limit=1) == ["new"]
        assert ids(PatientKey("urn:second-number", "1"), PATIENT) == ["new", "old"]
        assert ids(PatientKey("urn:hospital", "1")) == []
        assert ids() == []


def of_image(uid, model="lung-nodule", version="0.1.0"):
    return replace(
        READING, image=replace(READING.image, sop_instance_uid=uid), model=ModelRef(model, version, "ab" * 32)
    )


def test_a_model_that_read_an_image_again_speaks_once_and_another_model_beside_it(db, now):
    put(db, now, "first")
    put(db, now, "other model", reading=of_image("1.2.3.1", "breast-lesion"))
    now.advance(1)
    put(db, now, "again", reading=of_image("1.2.3.1", version="0.2.0"))
    with db.read() as conn:
        shown = [one.reading_id for one in readings_of_patient(conn, [PATIENT], 10)]
        every = [one.reading_id for one in readings_of_image(conn, PATIENT, "1.2.3.1", "lung-nodule")]
    assert (shown, every) == (["again", "other model"], ["first", "again"])


def a_job(now, model="lung-nodule"):
    key = job_key_of("1.2.3", "d" * 64, model, "0.1.0")
    return JobRow(key, "1.2.3", 1, "d" * 64, model, "0.1.0", now())


def test_a_job_is_added_once_and_is_queued_until_it_ends(db, now):
    row = a_job(now)
    with db.write() as conn:
        assert add_job(conn, row) is True
        assert add_job(conn, replace(row, revision=9)) is False
        assert queued_jobs(conn) == [row] == jobs_of_study(conn, "1.2.3")
        finish_job(conn, row.job_key, DONE, None, now.advance(1))
        assert queued_jobs(conn) == []
        assert job(conn, row.job_key) == replace(row, state=DONE, finished_at=now())
        assert job(conn, "absent") is None


def test_a_done_job_stays_done_and_a_failed_one_may_be_queued_again(db, now):
    done, failed = a_job(now), a_job(now, "other")
    with db.write() as conn:
        add_job(conn, done)
        add_job(conn, failed)
        finish_job(conn, done.job_key, DONE, None, now())
        finish_job(conn, done.job_key, FAILED, "a late report", now())
        finish_job(conn, failed.job_key, FAILED, "the pixels cannot be decoded", now())
        assert job(conn, done.job_key).state == DONE
        assert job(conn, failed.job_key).reason == "the pixels cannot be decoded"
        assert not requeue_job(conn, done.job_key)
        assert requeue_job(conn, failed.job_key)
        assert job(conn, failed.job_key) == failed
        assert job(conn, failed.job_key).state == QUEUED


def test_the_name_of_a_job_depends_on_every_part_and_only_on_them():
    parts = ("1.2.3", "d" * 64, "lung-nodule", "0.1.0")
    names = {job_key_of(*parts)}
    for place in range(4):
        names.add(job_key_of(*(part + ("x" if i == place else "") for i, part in enumerate(parts))))
    assert len(names) == 5
    assert job_key_of(*parts) in names


def test_a_result_object_is_stored_once(db, now):
    seg = ResultObject("2.25.1", "job", "SEG", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.3", MASK, now())
    sr = replace(seg, sop_instance_uid="2.25.2", kind="SR")
    with db.write() as conn:
        assert [add_result_object(conn, item) for item in (sr, seg, seg)] == [True, True, False]
        assert result_objects(conn, "job") == [seg, sr]
        assert result_object(conn, "2.25.2") == sr
        assert result_object(conn, "2.25.3") is None
