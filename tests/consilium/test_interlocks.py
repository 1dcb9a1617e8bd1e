"""A study in doubt is held with a reason until a person releases it, and never becomes a silent result."""

from datetime import UTC, datetime, timedelta

import pytest

from consilium.closing import Closing
from consilium.completing import Completing
from consilium.holding import Holding
from consilium.interlocks import NO_SIDE, TEST_IMAGES, TWO_IDENTITIES, TWO_SIDES, Interlocks, why_held
from consilium.rules.completion import Waits
from consilium.selection import Selecting
from consilium.worker import ImageModels
from dicom_node.header import Header
from model_runtime.testing import CannedEngine, manifest_of, segmentation_document
from record_store.audit import append, digest
from record_store.instances import release_study, study_row
from record_store.readings import queued_jobs
from tests.consilium.nodule import radiograph

ON = Interlocks()


def chest(uid="1.1", **said) -> Header:
    stated = {"patient_id": "4711", "patient_name": "Quillon^Anna", "body_part": "CHEST"} | said
    return Header(sop_instance_uid=uid, **stated)


def breast(**said) -> Header:
    return chest(body_part="BREAST", **said)


@pytest.mark.parametrize(
    "said",
    [
        {"quality_control": "YES"},
        {"patient_name": "Phantom^Water"},
        {"patient_name": "TEST^Patient"},
        {"patient_id": "QC-2026-11"},
        {"study_description": "Daily QA, phantom 3"},
    ],
)
def test_images_of_a_phantom_or_a_test_are_held(said) -> None:
    assert why_held(ON, [chest(), chest("1.2", **said)]) == TEST_IMAGES
    assert why_held(Interlocks(test_images=False, changed_identity=False), [chest(), chest("1.2", **said)]) is None


@pytest.mark.parametrize(
    "said",
    [
        {"patient_name": "Testa^Maria"},
        {"patient_name": "Qadir^Amina"},
        {"study_description": "Cardiac stress test"},
        {"quality_control": "NO"},
        {"patient_id": "TESTING12"},
    ],
)
def test_a_name_or_description_that_only_sounds_like_a_test_is_read(said) -> None:
    assert why_held(ON, [chest(**said)]) is None


@pytest.mark.parametrize(
    "other", [{"patient_name": "Doe^John"}, {"birth_date": "19700101"}, {"sex": "M"}, {"sex": "m"}]
)
def test_one_identifier_with_two_identities_is_held(other) -> None:
    first = chest(birth_date="19691231", sex="F")
    assert why_held(ON, [first, chest("1.2", **other)]) == TWO_IDENTITIES


@pytest.mark.parametrize(
    "other",
    [
        {"patient_name": "QUILLON^ANNA^^^"},
        {"patient_name": ""},
        {"patient_name": "Quillon^Anna=漢字"},
        {"birth_date": ""},
        {"sex": "O"},
    ],
)
def test_a_name_that_is_only_written_differently_or_nothing_said_contradicts_nobody(other) -> None:
    assert why_held(ON, [chest(birth_date="19691231", sex="F"), chest("1.2", **other)]) is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, NO_SIDE),
        ({"laterality": "U"}, NO_SIDE),
        ({"laterality": "L"}, None),
        ({"image_laterality": "R"}, None),
        ({"image_laterality": "B", "laterality": "B"}, None),
        ({"image_laterality": "R", "laterality": "L"}, TWO_SIDES),
    ],
)
def test_a_breast_must_say_its_side_and_say_one(said, reason) -> None:
    assert why_held(ON, [breast(**said)]) == reason
    assert why_held(Interlocks(laterality=()), [breast(**said)]) is None


def test_what_a_person_has_seen_is_not_asked_again_but_a_new_image_is() -> None:
    seen = frozenset(("1.1",))
    assert why_held(ON, [breast()], seen) is None
    assert why_held(ON, [breast(), breast(uid="1.2")], seen) == NO_SIDE
    assert why_held(ON, [chest(), chest("1.2", patient_name="Doe^John")], seen) == TWO_IDENTITIES
    both = frozenset(("1.1", "1.2"))
    assert why_held(ON, [chest(), chest("1.2", patient_name="Doe^John")], both) is None


class Enqueued(list):
    def enqueue(self, key, payload):
        self.append(key)


def test_a_held_study_has_no_job_until_a_person_releases_it(make_study) -> None:
    manifest = manifest_of(segmentation_document())
    study = make_study("lung-nodule", CannedEngine({}, {}), radiograph)
    received = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
    holding = Holding(study.db, Selecting(study.blobs, study.steps.issuers), ON)
    closing = Closing(
        study.db,
        Enqueued(),
        lambda: ImageModels((manifest,), {}),
        Completing(Waits(5.0)),
        lambda: received + timedelta(seconds=60),
        holding.reason,
    )

    def state():
        with study.db.read() as conn:
            row = study_row(conn, study.uid)
            return row.state, row.hold_reason, len(queued_jobs(conn))

    study.arrives("one", QualityControlImage="YES")
    closing.once()
    assert state() == ("held", TEST_IMAGES, 0)
    with study.db.write() as conn:
        assert release_study(conn, study.uid)
        append(conn, at=received, action="study-released", outcome="open", actor="op", subject=digest(study.uid))
    closing.once()
    assert state() == ("closed", None, 1)
