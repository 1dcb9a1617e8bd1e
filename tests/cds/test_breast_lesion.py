"""breast-lesion: record, image or both, and which; unsure is said; nothing known is no card, unseen is 412."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from markdown_it import MarkdownIt

from cds.testing import hook_body
from clinical.breast_codes import BREAST_LESION_TERMS
from clinical.codes import LONG_AXIS, MALIGNANT_NEOPLASM_OF_BREAST, SHORT_AXIS
from clinical.conformal import Answer
from clinical.errors import Busy, Fault
from clinical.finding import Finding, ImageRef, Measurement, ModelRef, Reading
from clinical.identity import PatientKey
from clinical.image import PixelSpacing, SpacingOrigin
from clinical.lesion import Basis, LesionAssessment, Side, image_tokens
from model_export.testing import write_tiny_lesion
from model_runtime.engine import LocalEngine
from model_runtime.library import Library
from model_runtime.testing import CannedEngine
from record_store.database import open_database
from record_store.instances import ReceivedInstance, close_study, record_instance
from record_store.readings import DONE, FAILED, NO_IMAGE_READ, NOT_MEANT, QUEUED, JobRow, add_job, put_reading
from record_store.testing import empty_all_tables

HOSPITAL = "urn:oid:1.2.3"
CANARY = PatientKey(HOSPITAL, "ZZCANARY-4711")
DAY = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
MEASURED = PixelSpacing(0.1, 0.1, SpacingOrigin.ULTRASOUND_REGION)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """The tiny lesion model: sigmoid(-2 + 4 * token 0 + 3 for BI-RADS 5 - 2 for BI-RADS 2)."""
    return LocalEngine(Library(write_tiny_lesion(tmp_path_factory.mktemp("models")).parent))


def shown(score):
    return f"{round(100 / (1 + math.exp(-score)), 1)} %"


@pytest.fixture
def image(shared_db, engine):
    """image(token, ...) stores a reading with one lesion whose first token that is; None: no lesion outlined."""
    empty_all_tables(shared_db)
    count = iter(range(1, 99))

    def put(token, *, study="1.2.3", patient=CANARY, at=DAY, model=None, spacing=MEASURED, side=None, said=0.612):
        number = next(count)
        unit = "mm" if spacing else "{pixel}"
        found = Finding(
            1, 0.9, (10.0, 10.0), (0, 0, 20, 20), ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0)),
            Measurement(LONG_AXIS, 12.3, unit), Measurement(SHORT_AXIS, 8.1, unit),
        )  # fmt: skip
        tokens = image_tokens(np.array([token or 0, 0, 0]))
        lesion = LesionAssessment(
            1, MALIGNANT_NEOPLASM_OF_BREAST, Basis.IMAGE, said, 0.604, Answer.UNSURE, (), (), tokens, side=side
        )
        ref = ImageRef(
            study, f"{study}.1", f"{study}.1.{number}", "1.2.840.10008.5.1.4.1.1.6.1", "US", 64, 64, spacing
        )
        reading = Reading(
            ref, model or engine.manifest("breast-lesion").ref, BREAST_LESION_TERMS, 0.5,
            () if token is None else (found,), () if token is None else (lesion,),
        )  # fmt: skip
        with shared_db.write() as conn:
            put_reading(
                conn, reading, reading_id=f"reading-{number}", job_key=f"job-{number}", patient=patient,
                mask_sha256="0" * 64, now=at,
            )  # fmt: skip

    return put


@pytest.fixture
def received(image, shared_db):
    """received(state, reason) puts a closed ultrasound study with one image and the lesion model's job."""

    def put(state, reason=None, at=DAY, model="breast-lesion"):
        one = ReceivedInstance(
            "9.1", "1.2", "1.2.840.10008.1.2.1", "9", "1.9", "US", CANARY, "0" * 64, 9, "PACS", "CONSILIUM"
        )
        with shared_db.write() as conn:
            record_instance(conn, one, at)
            assert close_study(conn, "9", at + timedelta(seconds=1)) is not None
            add_job(conn, JobRow("job", "9", 1, "0" * 64, model, "0.1.0", at, state, reason))

    return put


def descriptor(name, value, on="2026-11-01", ident="o1"):
    return {
        "resourceType": "Observation",
        "id": ident,
        "status": "final",
        "code": {"coding": [{"system": "urn:consilium:breast-lexicon", "code": name}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": on,
        "valueCodeableConcept": {
            "coding": [
                {"system": "urn:consilium:breast-lexicon", "code": f"{name}-{value}", "display": "<b>x</b>"}
            ]
        },
    }


def patient(**more):
    return {
        "resourceType": "Patient",
        "id": "p1",
        "identifier": [{"system": HOSPITAL, "value": "ZZCANARY-4711"}],
        "birthDate": "1969-05-01",
        **more,
    }


@pytest.fixture
def ask(make_client, post, engine, make_bundle):
    """ask(*descriptors) -> the response; prefetch=... replaces it, other arguments go to the client."""

    def send(*descriptors, prefetch=None, **context):
        body = {"patient": patient(), "descriptors": make_bundle(*descriptors)} if prefetch is None else prefetch
        return post(make_client(**{"engine": engine} | context), "breast-lesion", hook_body(prefetch=body))

    return send


@pytest.fixture
def cards(ask):
    def of(*descriptors, **more):
        response = ask(*descriptors, **more)
        assert response.status_code == 200, response.text
        return response.json["cards"]

    return of


def test_the_record_alone_is_judged_and_the_card_says_that_there_was_no_image(image, cards):
    (card,) = cards(descriptor("birads", "5"))
    assert card["summary"] == f"Breast lesion: probability of malignancy {shown(1)} (record only)"
    assert card["indicator"] == "warning"
    assert card["source"]["topic"]["code"] == MALIGNANT_NEOPLASM_OF_BREAST.code
    assert "| BI-RADS category | 5 |  | 2026-11-01 |" in card["detail"]
    assert "| Ultrasound image | no breast ultrasound of this patient has been read |" in card["detail"]
    assert "| Shape | none recorded |" in card["detail"]
    assert "links" not in card


def test_the_image_alone_is_judged_with_a_link_to_its_overlay(image, cards):
    image(0.75)
    (card,) = cards(prefetch={"patient": patient(birthDate=None), "descriptors": None})
    assert card["summary"] == f"Breast lesion: probability of malignancy {shown(1)} (image only)"
    seen = "lesion of 12.3 mm x 8.1 mm outlined; it does not say which breast; image alone: 60.4 %"
    assert seen in card["detail"]
    assert [link["url"].split("?")[0] for link in card["links"]] == ["https://cds.example/overlay/reading-1"]


def test_both_together_say_so_and_what_each_input_changed(image, cards):
    image(0.75)
    (card,) = cards(descriptor("birads", "5"))
    assert card["summary"].endswith(f"{shown(4)} (record and image)")
    moved = card["detail"].split("What moved the estimate")[1]
    change = f"{round(100 / (1 + math.exp(-4)) - 100 / (1 + math.exp(-1)), 1):+.1f}"
    assert f"| BI-RADS category | {change} |" in moved
    assert f"| Ultrasound image | {change} |" in moved
    assert "please check" in card["detail"]


def test_what_is_below_the_threshold_is_an_information_and_not_silence(image, cards):
    (card,) = cards(descriptor("birads", "2"))
    assert card["indicator"] == "info"
    assert "Answer at 90 % confidence: benign" in card["detail"]
    assert "warning from 50.0 %" in card["detail"]
    assert "chosen for tests" in card["detail"]


def test_when_the_model_is_not_sure_enough_the_card_says_refer_and_names_no_class(image, cards):
    image(0.5)
    (card,) = cards()
    assert card["summary"].startswith("Breast lesion: not sure enough, refer; probability of malignancy 50.0 %")
    assert card["indicator"] == "warning"
    assert "benign" not in card["detail"]


def test_nothing_known_of_a_lesion_is_no_card(image, cards):
    assert cards() == []
    image(None)
    assert cards() == []
    assert cards(descriptor("symptoms", "nipple-discharge")) == []


def test_nothing_known_because_nothing_was_seen_is_412_and_not_no_card(image, ask, make_bundle):
    response = ask(prefetch={"patient": patient()})
    assert response.status_code == 412
    assert response.json["issue"][0]["expression"] == ["prefetch.descriptors"]
    failed = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
    assert ask(prefetch={"patient": patient(), "descriptors": failed}).status_code == 412


def test_an_image_is_judged_also_when_the_record_was_not_seen_and_that_is_said(image, cards):
    image(0.75)
    (card,) = cards(prefetch={"patient": patient()})
    assert "not seen, or not wholly" in card["detail"]
    assert "| descriptors |" in card["detail"]


def test_the_newest_study_counts_and_its_most_suspicious_lesion(image, cards):
    image(0.9, study="1.1", at=DAY - timedelta(days=30))
    image(0.25)
    image(0.75)
    (card,) = cards()
    assert shown(1) in card["summary"]
    assert "outlined 2 lesions or views" in card["detail"]
    assert [link["url"].split("?")[0][-1] for link in card["links"]] == ["3", "2"]


def test_of_many_lesions_those_that_looked_worst_when_read_are_judged(image, cards):
    for _ in range(5):
        image(0.25, said=0.1)
    image(0.75, said=0.9)
    (card,) = cards()
    assert shown(1) in card["summary"]
    assert "outlined 6 lesions or views" in card["detail"]


def test_an_image_is_joined_with_what_is_said_of_its_own_breast_only(image, cards):
    image(0.5, side=Side.RIGHT)
    left = {"bodySite": {"coding": [{"system": "http://snomed.info/sct", "code": "80248007"}]}}
    (card,) = cards(descriptor("birads", "5") | left)
    assert "probability of malignancy 50.0 %" in card["summary"]
    assert "right breast" in card["detail"]
    assert "| BI-RADS category | recorded of the other breast only |" in card["detail"]


def test_a_newest_study_without_a_lesion_leaves_the_record_alone(image, cards):
    image(0.9, study="1.1", at=DAY - timedelta(days=30))
    image(None)
    (card,) = cards(descriptor("birads", "5"))
    assert "(record only)" in card["summary"]
    assert "no lesion was outlined in what was read on 2026-11-20" in card["detail"]


def test_an_image_of_long_ago_is_not_joined_with_what_is_recorded_now(image, cards):
    image(0.9, at=DAY - timedelta(days=400))
    assert cards() == []
    (card,) = cards(descriptor("birads", "5"))
    assert "more than 365 days ago" in card["detail"]


def test_what_another_version_of_the_model_saw_is_not_joined_and_not_hushed_up(image, cards, engine):
    image(0.9, model=ModelRef("breast-lesion", "0.0.9", "e" * 64))
    (card,) = cards()
    assert "61.2 %, as breast-lesion 0.0.9 said" in card["summary"]
    (card,) = cards(descriptor("birads", "5"))
    assert "(record only)" in card["summary"]
    assert "another version of the model" in card["detail"]


@pytest.mark.parametrize(
    ("state", "reason", "indicator"),
    [
        (QUEUED, None, "info"),
        (FAILED, "the image stopped its decoder", "warning"),
        (DONE, f"{NO_IMAGE_READ}: it is a cine loop", "warning"),
    ],
)
def test_a_stored_study_that_nobody_has_read_is_a_card_and_never_silence(
    received, cards, state, reason, indicator
):
    received(state, reason)
    (card,) = cards()
    assert card["indicator"] == indicator
    assert "has not been read" in card["summary"]
    assert (reason or "not yet read") in card["detail"]


@pytest.mark.parametrize(
    ("state", "reason", "model"),
    [
        (DONE, None, "breast-lesion"),
        (DONE, f"{NOT_MEANT}: it shows another part of the body", "breast-lesion"),
        (FAILED, "it broke", "lung-nodule"),
    ],
)
def test_what_is_read_or_not_meant_for_this_model_is_no_card(received, cards, state, reason, model):
    received(state, reason, model=model)
    assert cards() == []


def test_a_study_left_unread_before_another_was_read_is_not_brought_up_again(received, image, cards):
    received(DONE, f"{NO_IMAGE_READ}: it is a cine loop", at=DAY - timedelta(days=9))
    image(0.75)
    assert len(cards()) == 1


@pytest.mark.parametrize(
    "key", [PatientKey("urn:oid:9.9.9", "ZZCANARY-4711"), PatientKey(HOSPITAL, "ZZCANARY-4712")]
)
def test_an_image_of_another_patient_is_never_joined(image, cards, key):
    image(0.9, patient=key)
    assert cards() == []


def test_another_patient_s_descriptor_is_400(image, ask, make_bundle):
    stranger = descriptor("birads", "5") | {"subject": {"reference": "Patient/p2"}}
    assert ask(stranger).status_code == 400


def test_a_patient_who_cannot_be_matched_is_412(image, ask, make_bundle):
    body = {"patient": patient(identifier=[{"value": "ZZCANARY-4711"}]), "descriptors": make_bundle()}
    assert ask(prefetch=body).status_code == 412


@pytest.mark.parametrize(
    ("error", "status"), [(Fault("the model crashed"), 500), (Busy("no turn"), 503), (None, 500)]
)
def test_a_model_that_fails_is_5xx_and_never_no_cards(image, ask, engine, error, status):
    image(0.75)
    answers = {} if error is None else {"breast-lesion": error}
    manifests = {} if error is None else {"breast-lesion": engine.manifest("breast-lesion")}
    assert ask(engine=CannedEngine(answers, manifests)).status_code == status


@pytest.mark.parametrize("probability", [[[1.7]], [[math.nan]], [[0.1, 0.2]], []])
def test_an_answer_that_is_no_probability_is_500(image, ask, engine, probability):
    image(0.75)
    said = {"probability": np.array(probability, np.float32)}
    canned = CannedEngine({"breast-lesion": said}, {"breast-lesion": engine.manifest("breast-lesion")})
    assert ask(engine=canned).status_code == 500


def test_a_store_that_is_away_is_503_and_never_no_cards(image, ask, tmp_path):
    away = open_database(f"sqlite:///{tmp_path / 'absent' / 'x.db'}")
    assert ask(db=away).status_code == 503


def test_only_the_small_graph_is_loaded_for_a_hook(image, ask, tmp_path):
    folder = write_tiny_lesion(tmp_path)
    (folder / "outline.onnx").write_bytes(b"not an onnx file")
    (folder / "image.onnx").unlink()
    assert ask(descriptor("birads", "5"), engine=LocalEngine(Library(tmp_path))).status_code == 200


def test_what_is_asked_and_answered_is_told_to_the_drift_counters(image, cards, engine):
    told = []

    class Counting:
        def observe(self, *case):
            told.append(case[1:])

    cards(descriptor("birads", "5"), drift=Counting())
    assert told == [({"age": 57.0}, 0.731, "positive")]


def test_the_card_of_imaging_findings_tells_what_was_said_when_the_image_was_read(
    image, make_client, post, engine
):
    image(0.75)
    reply = post(make_client(engine=engine), "imaging-findings", hook_body(prefetch={"patient": patient()}))
    (card,) = reply.json["cards"]
    assert (
        "image 1, finding 1: probability of malignancy 61.2 % (image only; not sure enough, refer)"
        in card["detail"]
    )


def test_nothing_of_the_record_can_put_markup_into_a_card(image, cards):
    image(0.75)
    (card,) = cards(descriptor("birads", "5"), descriptor("shape", "oval", ident="o2"))
    inline = [token.children or [] for token in MarkdownIt("commonmark").enable("table").parse(card["detail"])]
    assert not {child.type for children in inline for child in children} & {"link_open", "html_inline", "image"}
