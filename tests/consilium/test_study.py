"""A study to its results, over a store, canned answers and the real decoder and encoders."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pynetdicom.dsutils import encode

from clinical.errors import Fault, PreconditionMissing, Unsupported
from clinical.identity import IssuerTable
from dicom_node.part10 import file_beginning
from model_runtime.outputs import Outputs
from model_runtime.session import Device
from model_runtime.testing import CannedEngine, manifest_of, segmentation_document
from record_store.instances import hold_study, release_study
from record_store.readings import DONE, FAILED
from tests.consilium.nodule import one_nodule, radiograph

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
ISSUERS = IssuerTable({"": "urn:h"})


@pytest.fixture
def study(make_study):
    engine = CannedEngine({"lung-nodule": one_nodule}, {"lung-nodule": manifest_of(segmentation_document())})
    return make_study("lung-nodule", engine, radiograph)


def test_an_image_that_comes_late_adds_its_results_and_repeats_no_others(study) -> None:
    study.arrives("first")
    study.is_read()
    assert study.counts() == {"reading": 1, "result_object": 2, "delivery": 2, "reports": 1}
    study.arrives("late")
    key = study.is_read()
    assert study.counts() == {"reading": 2, "result_object": 4, "delivery": 4, "reports": 2}
    assert len(study.engine.calls) == 2
    assert study.job(key).state == DONE


def test_our_own_result_coming_back_from_the_archive_makes_no_new_results(study) -> None:
    study.arrives("first")
    study.is_read()
    study.arrives("routed-back", Modality="SEG", SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4")
    key = study.is_read()
    assert study.counts() == {"reading": 1, "result_object": 2, "delivery": 2, "reports": 1}
    assert (study.job(key).state, study.job(key).reason) == (DONE, None)


@pytest.mark.parametrize("syntax", ["1.3.46.670589.33.1.4.1", "1.2.840.113619.5.2"])
def test_an_image_in_a_vendors_own_transfer_syntax_is_not_read_and_its_syntax_is_named(study, tmp_path, syntax):
    ds = radiograph("one", StudyInstanceUID=study.uid)
    data = encode(ds, is_implicit_vr=syntax == "1.2.840.113619.5.2", is_little_endian=True)
    path = tmp_path / "private.dcm"
    path.write_bytes(file_beginning(str(ds.SOPClassUID), str(ds.SOPInstanceUID), syntax) + data)
    study.comes(path, syntax)
    with pytest.raises(Unsupported, match=f"its transfer syntax {syntax} is private to a vendor"):
        study.is_read()
    assert study.counts()["reading"] == 0


def test_a_reading_for_which_the_cpu_stood_in_for_a_lost_gpu_says_so_in_every_text(study) -> None:
    study.engine._answers["lung-nodule"] = lambda inputs: Outputs(one_nodule(inputs), Device.CPU, degraded=True)
    study.arrives("first")
    study.is_read()
    said = "Computed on the CPU, because the GPU was away."
    assert study.resources("DiagnosticReport")[0]["conclusion"].endswith(said)
    assert study.resources("Observation")[0]["note"][0]["text"].endswith(said)


def test_a_reading_that_was_computed_as_planned_says_nothing_of_it(study) -> None:
    study.arrives("first")
    study.is_read()
    assert "GPU" not in study.resources("DiagnosticReport")[0]["conclusion"]


def test_each_image_is_counted_for_drift_with_what_the_network_saw_and_its_highest_probability(study) -> None:
    seen = []

    class Watching:
        def observe(self, manifest, values, score, answer=None):
            seen.append((manifest.name, sorted(values), score))

    study.steps = replace(study.steps, drift=Watching())
    study.arrives("first")
    study.is_read()
    assert seen == [("lung-nodule", ["bright", "dark", "deviation", "mean"], pytest.approx(0.9))]


def test_a_job_that_is_carried_out_again_writes_the_same_identities(study) -> None:
    study.arrives("first")
    key = study.closes()
    before = study.steps.infer(key, study.steps.read(key, {}))
    once, again = study.steps.encode(key, before), study.steps.encode(key, before)
    assert once == again
    study.run(key)
    study.run(key)
    assert study.counts() == {"reading": 1, "result_object": 2, "delivery": 2, "reports": 1}


def test_a_study_of_lateral_views_only_says_that_nothing_was_read(study) -> None:
    study.arrives("side", ViewPosition="LL")
    key = study.is_read()
    assert study.counts()["reports"] == 0
    assert study.job(key).reason == "no image was read: it is not a frontal view"


def test_a_study_that_is_held_meanwhile_publishes_nothing(study) -> None:
    study.arrives("first")
    key = study.closes()
    with study.db.write() as conn:
        hold_study(conn, study.uid, "its images name different patients")
    with pytest.raises(PreconditionMissing):
        study.run(key)
    assert study.counts() == {"reading": 0, "result_object": 0, "delivery": 0, "reports": 0}


def test_a_released_study_still_keeps_the_other_patient_s_image_out_of_the_chart(study) -> None:
    study.arrives("first")
    study.arrives("strangers", PatientID="SOMEBODY-ELSE")
    with study.db.write() as conn:
        assert release_study(conn, study.uid)
    key = study.closes()
    chosen = study.steps.read(key, {})
    assert (len(chosen["images"]), chosen["left_out"]) == (1, ["it names another patient than its study"])
    study.run(key)
    assert study.counts()["reading"] == 1


def test_a_model_that_fails_publishes_nothing_and_the_job_keeps_the_reason(study) -> None:
    study.arrives("first")
    key = study.closes()
    study.engine._answers["lung-nodule"] = Fault("the model crashed")
    with pytest.raises(Fault):
        study.run(key)
    study.steps.failed(key, Fault.category, "the model crashed")
    assert study.counts() == {"reading": 0, "result_object": 0, "delivery": 0, "reports": 0}
    assert (study.job(key).state, study.job(key).reason) == (FAILED, "the model crashed")
