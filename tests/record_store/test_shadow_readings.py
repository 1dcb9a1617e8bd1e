"""What a model said for nobody to see comes back as it went in, stands beside its results, and goes as a whole."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from clinical.codes import LUNG, NODULE_OF_LUNG
from clinical.errors import PreconditionMissing
from clinical.finding import FindingTerms, ImageRef, ModelRef, Reading
from record_store import shadow_readings, shadows
from record_store.readings import put_reading
from record_store.shadow_readings import Place, ShadowReading, Subgroup

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
MODEL = ModelRef("lung-nodule", "2.0.0", "a" * 64)
IMAGE = ImageRef("1.2", "1.9", "1.2.1", "1.2.840.10008.5.1.4.1.1.1.1", "DX", 64, 64, None)
TERMS = FindingTerms(NODULE_OF_LUNG, NODULE_OF_LUNG, NODULE_OF_LUNG, LUNG, "lung nodule")
READING = Reading(IMAGE, MODEL, TERMS, 0.5, ())
SAID = ShadowReading("r1", READING, b"mask", 0.25, Subgroup("DX", "ACME", "F", "40 to 59"), NOW)


def said(db, *ones):
    with db.write() as conn:
        return [shadow_readings.put(conn, one) for one in ones]


def test_a_reading_comes_back_as_it_went_in_and_only_once(db) -> None:
    assert said(db, SAID, replace(SAID, seconds=9.0)) == [True, False]
    with db.read() as conn:
        assert shadow_readings.by_id(conn, "r1") == SAID
        assert shadow_readings.known(conn, ["r1", "r2"]) == {"r1"}


def test_of_an_image_that_was_read_again_the_newest_counts(db) -> None:
    said(db, replace(SAID, reading_id="r2", created_at=NOW + timedelta(days=1)), SAID)
    with db.read() as conn:
        assert shadow_readings.by_image(conn, "lung-nodule", "2.0.0") == {
            "1.2.1": Place("r2", "1.2", 0, 0.25, SAID.subgroup)
        }


def test_what_it_said_as_a_result_is_another_thing(db) -> None:
    said(db, SAID)
    with db.write() as conn:
        put_reading(conn, READING, reading_id="r9", job_key="k", patient=None, mask_sha256="0" * 64, now=NOW)
    with db.read() as conn:
        assert shadow_readings.live_by_image(conn, "lung-nodule", "2.0.0") == {"1.2.1": Place("r9", "1.2", 0)}
        assert shadow_readings.by_id(conn, "r9") is None


def test_forgetting_a_version_leaves_the_others_and_all_results(db) -> None:
    other = replace(READING, model=replace(MODEL, version="3.0.0"))
    said(db, SAID, replace(SAID, reading_id="r3", reading=other))
    with db.write() as conn:
        put_reading(conn, READING, reading_id="r9", job_key="k", patient=None, mask_sha256="0" * 64, now=NOW)
        assert shadows.forget_some(conn, "lung-nodule", "2.0.0") == 1
    with db.read() as conn:
        assert shadow_readings.known(conn, ["r1", "r3"]) == {"r3"}
        assert len(shadow_readings.live_by_image(conn, "lung-nodule", "2.0.0")) == 1


def test_many_readings_go_in_slices_and_the_version_with_the_last_of_them(db, monkeypatch) -> None:
    monkeypatch.setattr(shadows, "FORGET_AT_ONCE", 2)
    said(db, *(replace(SAID, reading_id=f"r{number}") for number in range(3)))
    with db.write() as conn:
        shadows.know(conn, MODEL)
        assert shadows.forget_some(conn, "lung-nodule", "2.0.0") == 2
        with pytest.raises(PreconditionMissing):
            shadows.know(conn, replace(MODEL, digest="b" * 64))
        assert shadows.forget_some(conn, "lung-nodule", "2.0.0") == 1
        shadows.know(conn, replace(MODEL, digest="b" * 64))
