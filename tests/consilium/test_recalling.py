"""A recall of an image model: archives, cards and the explain page say what became of its results."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from flask import Flask

from cds.links import LinkSigner
from cds.service import CdsContext
from cds.services.imaging_findings import SERVICE as FINDINGS
from cds.testing import counting_uuids
from clinical.errors import PreconditionMissing
from clinical.identity import PatientKey
from consilium.explain.stages import explain
from consilium.pages import views
from consilium.pages.views import PagesContext
from consilium.recalling import RecallDesk
from dicom_node.testing import CANARY_ID
from fhir_adapters.rest.ai.changes import Who, changed, with_status
from fhir_adapters.rest.ai.recall import Recalled
from fhir_adapters.rest.ai_recall import recall, told
from fhir_adapters.rest.fhir import Fhir
from model_runtime.testing import CannedEngine, manifest_of, segmentation_document
from record_store import deliveries
from record_store.deliveries import RetryPolicy
from record_store.readings import readings_of_patient
from record_store.resource_search import SearchQuery, search
from record_store.resources import put_all
from record_store.study_history import history_of
from tests.consilium.nodule import one_nodule, radiograph

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
WHAT = Recalled("lung-nodule", "0.1.0", "", "marks ribs")


@pytest.fixture
def study(make_study):
    engine = CannedEngine({"lung-nodule": one_nodule}, {"lung-nodule": manifest_of(segmentation_document())})
    made = make_study("lung-nodule", engine, radiograph)
    made.arrives("first")
    made.is_read()
    return made


@pytest.fixture
def fhir(study):
    return Fhir(
        db=study.db,
        now=lambda: NOW,
        new_id=lambda: "made",
        page_key=b"k" * 32,
        base_url="http://h/fhir",
        desk=RecallDesk(study.engine, lambda: NOW),
    )


def recalled(fhir, dry_run=False):
    total = recall(fhir, WHAT, Who("operator"), after="", most=1000, dry_run=dry_run)
    answer = told(fhir, WHAT, total, dry_run=dry_run)["parameter"]
    return total, [one for one in answer if one["name"] in ("delivered", "todo")]


def send_one(study):
    with study.db.write() as conn:
        first = deliveries.deliveries(conn)[0]
        deliveries.record_outcome(
            conn, first.delivery_id, status=0, problem=None, now=NOW, retry=RetryPolicy(jitter=lambda: 0)
        )


@pytest.mark.parametrize("dry_run", [True, False])
def test_the_answer_says_what_went_where_and_what_is_left_to_do(study, fhir, dry_run) -> None:
    send_one(study)
    total, said = recalled(fhir, dry_run)
    assert total.retracted == 2
    states = [[part["valueString"] for part in one["part"][:3]] for one in said if one["name"] == "delivered"]
    waiting = "pending" if dry_run else "superseded"
    assert sorted(states) == sorted([["pacs", "SEG", "sent"], ["pacs", "SR", waiting]])
    todo = [one["valueString"] for one in said if one["name"] == "todo"]
    assert "lung-nodule 0.1.0 is still in the models folder" in todo[0]
    assert "1 objects (SEG) were sent to pacs" in todo[1]
    assert "113037" in todo[1]


def test_what_waits_is_not_sent_any_more_and_the_explain_page_names_what_was(study, fhir) -> None:
    send_one(study)
    recalled(fhir)
    with study.db.read() as conn:
        assert [one.state for one in deliveries.deliveries(conn)] == ["sent", "superseded"]
        stages = {one.stage: one for one in explain(history_of(conn, study.uid), (), 5.0)}
    assert stages["delivered"].state == "stopped"
    assert "archives still keep them" in stages["delivered"].words
    assert any("recalled after it was sent" in line for line in stages["delivered"].lines)


def test_what_a_person_put_in_error_before_is_not_sent_any_more_either(study, fhir) -> None:
    with study.db.write() as conn:
        (report,) = [match.resource for match in search(conn, SearchQuery("DiagnosticReport", ()))]
        put_all(conn, [changed(fhir, report, with_status("entered-in-error", "A person says so."))])
    total, _ = recalled(fhir)
    assert (total.retracted, total.before) == (1, 1)
    with study.db.read() as conn:
        assert {one.state for one in deliveries.deliveries(conn)} == {"superseded"}


def test_a_recalled_reading_is_no_finding_on_a_card_and_no_silence_either(study, fhir) -> None:
    recalled(fhir)
    context = CdsContext(
        engine=study.engine,
        db=study.db,
        now=lambda: NOW,
        links=LinkSigner(b"k" * 32, "https://cds.example", lambda: NOW),
        new_uuid=counting_uuids(),
    )
    patient = {"resourceType": "Patient", "id": "p1", "identifier": [{"system": "urn:h", "value": CANARY_ID}]}
    call = SimpleNamespace(
        prefetch={"patient": SimpleNamespace(resources=lambda: iter([patient]))},
        request=SimpleNamespace(patient_id="p1"),
    )
    (card,) = FINDINGS.answer(call, context)
    assert card.summary == "1 imaging study has not been read by the model"
    assert "said of it was recalled" in card.detail


def test_the_page_of_a_recalled_reading_says_so_above_what_it_shows(study, fhir) -> None:
    links = LinkSigner(b"k" * 32, "https://cds.example", lambda: NOW)
    context = PagesContext(study.db, study.blobs, lambda: None, links, lambda: None, list, {}, lambda: None)
    app = Flask("pages")
    app.register_blueprint(views.blueprint(context))
    with study.db.read() as conn:
        (stored,) = readings_of_patient(conn, [PatientKey("urn:h", CANARY_ID)], 9)
    address = links.sign(stored.reading_id).removeprefix("https://cds.example")
    assert "Recalled" not in app.test_client().get(address).text
    recalled(fhir)
    assert "Recalled: what lung-nodule 0.1.0 said" in app.test_client().get(address).text


def test_a_recalled_model_publishes_nothing_more(study, fhir) -> None:
    recalled(fhir)
    study.arrives("late")
    with pytest.raises(PreconditionMissing, match="was recalled"):
        study.is_read()
    assert study.counts()["reports"] == 1
