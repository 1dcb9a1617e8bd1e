"""A result computed again says whether it is the same, where it is not, and what is missing when it cannot be."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from sqlalchemy import delete, update

from clinical.errors import NotFound, PreconditionMissing
from consilium.replaying import MASK, Replaying
from fhir_adapters.publish import publish
from model_runtime.testing import CannedEngine, manifest_of, segmentation_document
from record_store.tables import ai_result, instance, reading
from record_store.testing import database
from tests.consilium.nodule import one_nodule, radiograph
from tests.consilium.test_filing import KINDS, House, engine, prefetch_of  # noqa: F401 - a fixture

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
RESULTS = ("RiskAssessment", "Observation", "DiagnosticReport")


@pytest.fixture
def said_house(sqlite_store, engine):  # noqa: F811
    house = House(sqlite_store, engine)
    house.has_chart()
    return house


@pytest.fixture
def sqlite_store(tmp_path):
    db = database(tmp_path)
    yield db
    db.dispose()


def replaying(house):
    return Replaying(house.db, None, house.engine, lambda: None, lambda: NOW)


@pytest.mark.parametrize("service", KINDS)
def test_every_result_of_a_hook_is_computed_again_from_what_was_kept(said_house, service):
    said_house.asks(service, fhirServer="https://ehr.example/fhir")
    results = said_house.stored(*RESULTS)
    assert results
    for one in results:
        replayed = replaying(said_house).run(one["resourceType"], one["id"])
        assert replayed.differences == ()
        assert replayed.result.endswith("/_history/1")
        assert len(replayed.input_sha256) == 64


def test_a_difference_is_named_by_its_place_with_both_values(said_house):
    said_house.asks("diabetes-risk")
    (risk,) = said_house.stored("RiskAssessment")
    said_house.engine._answers["diabetes-risk"] = lambda _inputs: {"probability": np.array([[0.31]])}
    found = {one.place: one for one in replaying(said_house).run("RiskAssessment", risk["id"]).differences}
    percent = found["RiskAssessment.prediction[0].probabilityDecimal"]
    assert (percent.stored, percent.computed) == ("25.0", "31.0")
    assert "RiskAssessment.prediction[0].outcome.extension[0].valueDecimal" in found


def test_what_a_person_has_made_of_a_result_is_not_what_is_compared(said_house):
    said_house.asks("diabetes-risk")
    (risk,) = said_house.stored("RiskAssessment")
    with said_house.db.write() as conn:
        publish(conn, [risk | {"status": "final", "mitigation": "none"}], NOW)
    assert replaying(said_house).run("RiskAssessment", risk["id"]).differences == ()


def test_another_digest_under_the_same_version_is_another_model(said_house):
    said_house.asks("diabetes-risk")
    (risk,) = said_house.stored("RiskAssessment")
    manifests = said_house.engine._manifests
    manifests["diabetes-risk"] = replace(manifests["diabetes-risk"], digest="0" * 64)
    with pytest.raises(PreconditionMissing, match="models folder, but diabetes-risk"):
        replaying(said_house).run("RiskAssessment", risk["id"])
    del manifests["diabetes-risk"]
    with pytest.raises(PreconditionMissing, match="is not in the models folder"):
        replaying(said_house).run("RiskAssessment", risk["id"])


def test_without_its_inputs_a_result_cannot_be_computed_again(said_house):
    said_house.asks("diabetes-risk")
    (risk,) = said_house.stored("RiskAssessment")
    with said_house.db.write() as conn:
        conn.execute(delete(ai_result))
    with pytest.raises(NotFound, match="not kept"):
        replaying(said_house).run("RiskAssessment", risk["id"])


def test_what_no_model_made_is_not_found(said_house):
    with pytest.raises(NotFound):
        replaying(said_house).run("Observation", "nobody")


# ---------------------------------------------------------------- images


@pytest.fixture
def study(make_study):
    canned = CannedEngine({"lung-nodule": one_nodule}, {"lung-nodule": manifest_of(segmentation_document())})
    made = make_study("lung-nodule", canned, radiograph)
    made.arrives("first")
    made.is_read()
    return made


def again(study):
    return Replaying(study.db, study.blobs, study.engine, lambda: study.steps.decoder, lambda: NOW)


@pytest.mark.slow
def test_an_image_is_read_again_and_gives_the_same_resources_and_pixels(study):
    for kind in ("DiagnosticReport", "Observation"):
        (one,) = study.resources(kind)
        replayed = again(study).run(kind, one["id"])
        assert replayed.differences == ()
        assert study.blobs.get(replayed.input_sha256)


@pytest.mark.slow
def test_what_an_image_no_longer_gives_and_what_is_gone_is_told_apart(study):
    def other(_inputs):
        probability = np.zeros((1, 16, 16, 1), np.float32)
        probability[0, 4:9, 5:9, 0] = 0.8
        return {"probability": probability}

    study.engine._answers["lung-nodule"] = other
    (one,) = study.resources("Observation")
    places = [each.place for each in again(study).run("Observation", one["id"]).differences]
    assert MASK in places
    assert "Observation.component[3].valueQuantity.value" in places  # the certainty
    study.engine._answers["lung-nodule"] = lambda _inputs: {"probability": np.zeros((1, 16, 16, 1), np.float32)}
    (gone,) = [each for each in again(study).run("Observation", one["id"]).differences if each.place != MASK]
    assert (gone.place, gone.computed) == ("Observation", "(the model does not say it any more)")
    with study.db.write() as conn:
        conn.execute(update(instance).values(sha256="0" * 64))
    with pytest.raises(PreconditionMissing, match="no longer stored"):
        again(study).run("Observation", one["id"])
    with study.db.write() as conn:
        conn.execute(delete(reading))
    with pytest.raises(NotFound, match="not kept"):
        again(study).run("Observation", one["id"])
