"""imaging-findings: the numbers of the Finding, of this patient only, and a failing store is never silence."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from markdown_it import MarkdownIt

from cds.feedback.sent import SentCardLog
from cds.hygiene import CardHygiene
from cds.hygiene_rules import HygieneRules
from cds.links import LinkSigner
from cds.testing import hook_body
from clinical.codes import LONG_AXIS, LUNG, NODULE_OF_LUNG, SHORT_AXIS
from clinical.comparison import Comparison, Side
from clinical.finding import Finding, FindingTerms, ImageRef, Measurement, ModelRef, Reading
from clinical.identity import IssuerTable, PatientKey
from clinical.image import PixelSpacing, SpacingOrigin
from clinical.pseudonym import Pseudonyms
from record_store.database import open_database
from record_store.instances import ReceivedInstance, close_study, record_instance
from record_store.readings import DONE, FAILED, QUEUED, JobRow, add_job, put_reading
from record_store.tables import metadata
from record_store.testing import database, empty_all_tables

HOSPITAL = "urn:oid:1.2.3"
CANARY = PatientKey(HOSPITAL, "ZZCANARY-4711")
DAY = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
TERMS = FindingTerms(NODULE_OF_LUNG, NODULE_OF_LUNG, NODULE_OF_LUNG, LUNG, "lung nodule")
MEASURED = PixelSpacing(0.14, 0.14, SpacingOrigin.PIXEL_SPACING)
DETECTOR = PixelSpacing(0.14, 0.14, SpacingOrigin.IMAGER_PIXEL_SPACING)
UNCALIBRATED = PixelSpacing(0.14, 0.14, SpacingOrigin.UNCALIBRATED)


def finding(number, probability, long_axis, short_axis, unit="mm"):
    return Finding(
        number,
        probability,
        (10.0, 10.0),
        (0, 0, 20, 20),
        ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0)),
        Measurement(LONG_AXIS, long_axis, unit),
        Measurement(SHORT_AXIS, short_axis, unit),
    )


@pytest.fixture
def store(shared_db):
    """store(findings, study=..., patient=...) puts one reading; ids count up."""
    empty_all_tables(shared_db)
    count = iter(range(1, 99))

    def put(
        *findings, study="1.2.3", patient=CANARY, at=DAY, image=None, spacing=MEASURED, model="lung-nodule", **more
    ):
        number = next(count)
        sop = f"{study}.1.{image or number}"
        ref = ImageRef(study, f"{study}.1", sop, "1.2.840.10008.5.1.4.1.1.1", "DX", 64, 64, spacing)
        reading = Reading(ref, ModelRef(model, "0.1.0", "a" * 64), TERMS, 0.5, findings, **more)
        with shared_db.write() as conn:
            put_reading(
                conn,
                reading,
                reading_id=f"reading-{number}",
                job_key=f"job-{number}",
                patient=patient,
                mask_sha256="0" * 64,
                now=at,
            )

    return put


@pytest.fixture
def received(store, shared_db):
    """received(job=state) puts a closed study with one image, and its job unless that is None."""

    def put(*, job, reason=None, study="1.2.3"):
        image = ReceivedInstance(
            f"{study}.1",
            "1.2",
            "1.2.840.10008.1.2.1",
            study,
            "1.9",
            "DX",
            CANARY,
            "0" * 64,
            9,
            "PACS",
            "CONSILIUM",
        )
        with shared_db.write() as conn:
            record_instance(conn, image, DAY)
            assert close_study(conn, study, DAY + timedelta(seconds=1)) is not None
            if job is not None:
                add_job(conn, JobRow("job", study, 1, "0" * 64, "lung-nodule", "0.1.0", DAY, job, reason))

    return put


@pytest.fixture
def cards(client, post):
    def ask(*identifiers, status=200):
        sent = identifiers or ({"system": HOSPITAL, "value": "ZZCANARY-4711"},)
        patient = {"resourceType": "Patient", "id": "p1", "identifier": list(sent)}
        response = post(client, "imaging-findings", hook_body(prefetch={"patient": patient}))
        assert response.status_code == status, response.text
        return response.json["cards"] if status == 200 else response.json["issue"][0]

    return ask


def rows_of(card):
    first = next(block for block in card["detail"].split("\n\n") if block.startswith("|"))
    lines = first.splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_card_shows_the_digits_of_the_findings(store, cards):
    store(finding(1, 0.912, 9.0, 7.4), finding(2, 0.6, 12.3, 8.0))
    (card,) = cards()
    assert card["summary"] == "2 possible lung nodules (largest 12.3 mm) in a DX image read on 2026-11-20"
    assert rows_of(card) == [["1", "1", "9.0 mm", "7.4 mm", "0.912"], ["1", "2", "12.3 mm", "8.0 mm", "0.600"]]
    assert card["indicator"] == "warning"
    assert card["source"]["topic"]["code"] == NODULE_OF_LUNG.code
    assert "lung-nodule 0.1.0" in card["detail"]
    assert "reported from a probability of 0.500" in card["detail"]


def test_the_link_opens_the_overlay_of_this_reading(store, cards):
    store(finding(1, 0.9, 9.0, 7.0))
    (link,) = cards()[0]["links"]
    url = urlsplit(link["url"])
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert (link["type"], url.netloc, url.path) == ("absolute", "cds.example", "/overlay/reading-1")
    clock = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
    LinkSigner(b"k" * 32, "https://cds.example", lambda: clock).check("reading-1", query["expires"], query["sig"])


def test_the_card_says_what_an_earlier_image_showed(store, cards):
    prior = ImageRef("1.2.1", "1.2.1.1", "1.2.1.2", "1.2.840.10008.5.1.4.1.1.1.1", "DX", 64, 64, MEASURED)
    compared = Comparison(prior, "2025-11-01", 384, Side(2, 14.2), Side(1, 12.1), "lung nodule")
    store(finding(1, 0.9, 12.1, 7.0), comparison=compared)
    (card,) = cards()
    words = "2 lung nodules then, 1 now; longest axis 14.2 mm then, 12.1 mm now"
    assert words in card["detail"].replace("\\", "")


def test_a_second_nodule_in_a_study_is_another_finding_than_the_first_alone(store, shared_db, make_client, post):
    """Else alert hygiene would take the card for one that was just shown: its highest probability is the same."""
    names, clock = Pseudonyms(b"k" * 32), lambda: datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
    client = make_client(
        sent=SentCardLog(clock, names),
        hygiene=CardHygiene(shared_db, clock, names, HygieneRules(repeat_window_s=3600), lambda *_: None),
    )
    identifier = {"system": HOSPITAL, "value": "ZZCANARY-4711"}
    prefetch = {"patient": {"resourceType": "Patient", "id": "p1", "identifier": [identifier]}}
    instances = iter(f"d1577c69-dfbe-44ad-ba6d-3e05e953b2e{number}" for number in range(9))

    def shown():
        body = hook_body(prefetch=prefetch, hookInstance=next(instances))
        return len(post(client, "imaging-findings", body).json["cards"])

    store(finding(1, 0.9, 9.0, 7.0))
    assert [shown(), shown()] == [1, 0]
    store(finding(1, 0.6, 4.0, 3.0))
    assert [shown(), shown()] == [1, 0]


def test_sizes_without_spacing_are_pixels_and_say_so(store, cards):
    store(finding(1, 0.9, 30.5, 20.0, "{pixel}"), spacing=None)
    (card,) = cards()
    assert "(30.5 pixels)" in card["summary"]
    assert "mm" not in card["detail"].split("Probability is")[0]
    assert "does not state how large a pixel is" in card["detail"]


def test_pixels_and_millimetres_are_not_compared(store, cards):
    store(finding(1, 0.9, 300.5, 20.0, "{pixel}"), spacing=None)
    store(finding(1, 0.8, 6.5, 4.0))
    assert "largest 6.5 mm" in cards()[0]["summary"]


@pytest.mark.parametrize("spacing", [DETECTOR, UNCALIBRATED])
def test_a_size_that_is_not_one_in_the_patient_is_said_to_be_magnified(store, cards, spacing):
    store(finding(1, 0.9, 9.0, 7.0), spacing=spacing)
    assert "magnified" in cards()[0]["detail"]


def test_a_reading_for_which_the_cpu_stood_in_for_a_lost_gpu_says_so(store, cards):
    store(finding(1, 0.9, 9.0, 7.0), degraded=True)
    store(finding(1, 0.9, 9.0, 7.0), study="1.2.4")
    said = ["Computed on the CPU, because the GPU was away." in card["detail"] for card in cards()]
    assert sorted(said) == [False, True]


def test_a_reading_that_found_nothing_gives_no_card(store, cards):
    store()
    assert cards() == []


def test_a_patient_without_images_gives_no_card(store, cards):
    assert cards() == []


def test_a_later_reading_of_the_same_image_replaces_the_earlier(store, cards):
    store(finding(1, 0.9, 9.0, 7.0), image=1, at=DAY)
    store(finding(1, 0.7, 5.0, 4.0), image=1, at=DAY + timedelta(hours=1))
    (card,) = cards()
    assert "(5.0 mm)" in card["summary"]
    store(image=1, at=DAY + timedelta(hours=2))
    assert cards() == []


def test_an_image_that_came_late_does_not_hide_what_was_found_before(store, cards):
    store(finding(1, 0.9, 9.0, 7.0), image=1, at=DAY)
    store(image=2, at=DAY + timedelta(hours=1))
    (card,) = cards()
    assert "(9.0 mm)" in card["summary"]


def test_the_images_of_one_study_share_a_card_and_have_a_link_each(store, cards):
    store(finding(1, 0.9, 9.0, 7.0))
    store()
    store(finding(1, 0.8, 5.0, 4.0))
    (card,) = cards()
    assert card["summary"].startswith("2 possible lung nodules (largest 9.0 mm)")
    assert {row[0] for row in rows_of(card)} == {"1", "2"}
    assert len(card["links"]) == 2


def test_a_study_whose_job_failed_is_a_warning_with_its_reason_and_never_silence(received, cards):
    received(job=FAILED, reason="the image stopped its decoder")
    (card,) = cards()
    assert card["indicator"] == "warning"
    assert "1 imaging study has not been read" in card["summary"]
    assert rows_of(card)[0] == ["2026-11-20 08:30", "DX", "could not be read", "the image stopped its decoder"]


def test_a_study_that_waits_for_its_job_is_said_to_be_unread(received, cards):
    received(job=QUEUED)
    (card,) = cards()
    assert (card["indicator"], rows_of(card)[0][2]) == ("info", "not yet read")


def test_a_study_that_was_read_and_one_that_is_for_no_model_give_no_card(received, cards):
    received(job=DONE)
    received(job=None, study="1.2.4")
    assert cards() == []


def test_the_newest_three_studies_have_a_card_each(store, cards):
    for number in range(5):
        store(finding(1, 0.9, number + 1.0, 1.0), study=f"1.2.{number}", at=DAY + timedelta(days=number))
    assert [card["summary"].split("(")[1][:3] for card in cards()] == ["5.0", "4.0", "3.0"]


@pytest.mark.parametrize(
    "identifier",
    [
        {"system": "urn:oid:9.9.9", "value": "ZZCANARY-4711"},
        {"system": HOSPITAL, "value": "zzcanary-4711"},
        {"system": HOSPITAL, "value": "ZZCANARY-47111"},
    ],
)
def test_an_identity_never_matches_across_issuers_or_by_a_part(store, cards, identifier):
    store(finding(1, 0.9, 9.0, 7.0))
    assert cards(identifier) == []


def test_an_image_of_an_unknown_issuer_belongs_to_nobody_in_the_record(store, cards):
    store(finding(1, 0.9, 9.0, 7.0), patient=IssuerTable({}).from_dicom("ELSEWHERE", "ZZCANARY-4711"))
    assert (
        cards({"system": HOSPITAL, "value": "ZZCANARY-4711"}, {"system": "ELSEWHERE", "value": "ZZCANARY-4711"})
        == []
    )


@pytest.mark.parametrize(
    "identifier",
    [
        {"value": "ZZCANARY-4711"},
        {"system": "", "value": "ZZCANARY-4711"},
        {"system": HOSPITAL},
        {"system": HOSPITAL, "value": 4711},
        {"system": HOSPITAL, "value": "ZZCANARY-4711", "use": "old"},
        "ZZCANARY-4711",
    ],
)
def test_a_patient_who_cannot_be_matched_is_412_and_not_no_findings(store, cards, identifier):
    store(finding(1, 0.9, 9.0, 7.0))
    issue = cards(identifier, status=412)
    assert issue["expression"] == ["prefetch.patient.identifier"]
    assert "ZZCANARY" not in str(issue)


def test_another_patient_in_the_prefetch_is_400(client, post, store):
    patient = {"resourceType": "Patient", "id": "p2", "identifier": [{"system": HOSPITAL, "value": "1"}]}
    response = post(client, "imaging-findings", hook_body(prefetch={"patient": patient}))
    assert response.status_code == 400


def patient_body():
    identifier = [{"system": HOSPITAL, "value": "ZZCANARY-4711"}]
    return hook_body(prefetch={"patient": {"resourceType": "Patient", "id": "p1", "identifier": identifier}})


def test_a_missing_patient_is_412(client, post):
    response = post(client, "imaging-findings", hook_body())
    assert response.status_code == 412
    assert response.json["issue"][0]["expression"] == ["prefetch.patient"]


def test_a_store_that_is_away_is_503_and_never_no_cards(make_client, post, tmp_path):
    away = open_database(f"sqlite:///{tmp_path / 'absent' / 'x.db'}")
    response = post(make_client(db=away), "imaging-findings", patient_body())
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert response.json["resourceType"] == "OperationOutcome"


def test_a_store_without_its_tables_is_5xx_and_never_no_cards(make_client, post, tmp_path):
    empty = open_database(f"sqlite:///{tmp_path / 'empty.db'}")
    response = post(make_client(db=empty), "imaging-findings", patient_body())
    assert response.status_code >= 500
    assert response.json["resourceType"] == "OperationOutcome"
    empty.dispose()


def test_a_damaged_reading_is_500_and_never_no_cards(make_client, post, tmp_path, store, shared_db):
    store(finding(1, 0.9, 9.0, 7.0))
    with shared_db.write() as conn:
        conn.execute(metadata.tables["reading"].update().values(body=b"{}"))
    response = post(make_client(), "imaging-findings", patient_body())
    assert response.status_code == 500
    assert response.json["resourceType"] == "OperationOutcome"


def test_a_damaged_database_file_is_5xx_and_never_no_cards(make_client, post, tmp_path):
    database(tmp_path).dispose()
    (tmp_path / "consilium.db").write_bytes(b"SQLite format 3\x00" + b"x" * 5000)
    broken = open_database(f"sqlite:///{tmp_path / 'consilium.db'}")
    response = post(make_client(db=broken), "imaging-findings", patient_body())
    assert response.status_code >= 500
    assert response.json["resourceType"] == "OperationOutcome"
    broken.dispose()


def test_what_models_call_things_cannot_put_markup_into_a_card(store, cards):
    store(finding(1, 0.9, 9.0, 7.0), model="<b>[x](https://evil.example)")
    (card,) = cards()
    inline = [token.children or [] for token in MarkdownIt("commonmark").enable("table").parse(card["detail"])]
    assert not {child.type for children in inline for child in children} & {"link_open", "html_inline", "image"}
