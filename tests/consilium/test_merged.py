"""A patient merged or otherwise described since acquisition: held, and never in the old or a guessed chart."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from clinical.errors import PreconditionMissing
from clinical.identity import PatientKey
from consilium.holding import Holding, merged
from consilium.interlocks import MERGED, OTHER_PERSON, Interlocks, contradicts_chart
from consilium.operator import release_held_study
from consilium.selection import Selecting
from consilium.settings import load_settings
from consilium.wiring import House
from consilium.withholding import Withholding
from dicom_node.header import Header
from dicom_node.testing import CANARY_ID
from fhir_adapters.charts import charts_of, surviving
from fhir_adapters.publish import find_or_add_patient, publish
from model_runtime.testing import CannedEngine, manifest_of, segmentation_document
from record_store.instances import close_study, hold_study, study_row
from record_store.tables import delivery, resource
from tests.consilium.nodule import one_nodule, radiograph

KEY = PatientKey("urn:h", "1")
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def chart(ident, *, value="1", **more) -> dict:
    return {
        "resourceType": "Patient",
        "id": ident,
        "identifier": [{"system": "urn:h", "value": value}],
    } | more


def link(kind, to) -> dict:
    return {"link": [{"other": {"reference": f"Patient/{to}"}, "type": kind}]}


def stored(db, *charts, at=NOW) -> None:
    with db.write() as conn:
        publish(conn, list(charts), at)


@pytest.mark.parametrize(
    ("charts", "is_merged", "in_use"),
    [
        ([], False, []),
        ([chart("old")], False, ["old"]),
        ([chart("old", **link("replaced-by", "new")), chart("new", value="2")], True, ["new"]),
        ([chart("old"), chart("new", value="2", **link("replaces", "old"))], True, ["new"]),
        ([chart("old", **link("replaced-by", "new")), chart("new")], True, ["new"]),  # it has both identifiers
        ([chart("old", **link("replaced-by", "gone"))], True, []),
        ([chart("old", active=False)], True, []),
        ([chart("old", **link("seealso", "new")), chart("new", value="2")], False, ["old"]),
        (
            [
                chart("old", **link("replaced-by", "mid")),
                chart("mid", value="2", **link("replaced-by", "new")),
                chart("new", value="3"),
            ],
            True,
            ["new"],
        ),
        (
            [chart("old", **link("replaced-by", "new")), chart("new", value="2", **link("replaced-by", "old"))],
            True,
            [],
        ),  # a circle
    ],
)
def test_a_merge_is_seen_from_either_chart_and_followed_to_the_one_in_use(
    store, charts, is_merged, in_use
) -> None:
    stored(store, *charts)
    with store.read() as conn:
        assert charts_of(conn, KEY).merged is is_merged
        assert surviving(conn, KEY) == in_use


def test_results_go_to_the_chart_in_use_or_to_none(store) -> None:
    stored(store, chart("old", **link("replaced-by", "new")))
    with store.write() as conn, pytest.raises(PreconditionMissing):
        find_or_add_patient(conn, KEY, "derived", NOW)
    stored(store, chart("new", value="2"))
    with store.write() as conn:
        assert find_or_add_patient(conn, KEY, "derived", NOW) == "new"
        assert find_or_add_patient(conn, PatientKey("urn:h", "9"), "derived", NOW) == "derived"


@pytest.mark.parametrize(
    ("birth_date", "sex", "births", "genders", "contradicts"),
    [
        ("19691231", "F", ["1969-12-31"], ["female"], False),
        ("19691231", "F", ["1969"], ["unknown"], False),
        ("19691231", "F", ["1969-12-30"], [], True),
        ("19691231", "F", [], ["male"], True),
        ("", "O", ["1969-12-30"], ["male"], False),
        ("19691231", "F", ["1970-01-01", "1969-12-31"], ["male", "female"], False),
    ],
)
def test_an_image_contradicts_a_chart_only_by_what_both_say(birth_date, sex, births, genders, contradicts) -> None:
    images = [Header(birth_date=birth_date, sex=sex)]
    assert contradicts_chart(images, births, genders) is contradicts


@pytest.fixture
def study(make_study):
    manifests = {"lung-nodule": manifest_of(segmentation_document())}
    one = make_study("lung-nodule", CannedEngine({"lung-nodule": one_nodule}, manifests), radiograph)
    one.arrives("a")
    return one


def reason(study, interlocks=None):
    return Holding(study.db, Selecting(study.blobs, study.steps.issuers), interlocks or Interlocks()).reason(
        study.uid, {"DX"}
    )


def operated(study, tmp_path, monkeypatch):
    monkeypatch.setattr(House, "db", study.db)
    return load_settings(data_dir=tmp_path)


@pytest.mark.slow
def test_a_merge_before_the_closing_holds_and_after_a_release_the_result_is_in_the_surviving_chart(
    study, tmp_path, monkeypatch
) -> None:
    assert reason(study) is None
    stored(study.db, chart("old", value=CANARY_ID, **link("replaced-by", "new")), chart("new", value="2"))
    assert reason(study) == MERGED
    with study.db.write() as conn:
        hold_study(conn, study.uid, MERGED)
    release_held_study(operated(study, tmp_path, monkeypatch), study.uid, by="dr-blue", why="merge of yesterday")
    assert reason(study) is None
    study.is_read()
    (report,) = study.resources("DiagnosticReport")
    assert report["subject"]["reference"] == "Patient/new"
    again = datetime.now(UTC) + timedelta(seconds=1)
    stored(study.db, chart("new", value="2", **link("replaced-by", "third")), at=again)
    stored(study.db, chart("old", value=CANARY_ID, **link("replaced-by", "third")), at=again)
    with study.db.read() as conn:
        assert merged(conn, study.uid) == MERGED, "a later merge is asked anew"


@pytest.mark.slow
def test_a_merge_while_the_model_reads_publishes_nothing_and_holds_the_study(study) -> None:
    key = study.closes()
    made = {}
    for _, step in study.steps.in_order()[:-1]:
        made = step(key, made)
    stored(study.db, chart("old", value=CANARY_ID), chart("new", value="2", **link("replaces", "old")))
    with pytest.raises(PreconditionMissing):
        study.steps.publish(key, made)
    assert study.counts() == {"reading": 0, "result_object": 0, "delivery": 0, "reports": 0}
    with study.db.read() as conn:
        row = study_row(conn, study.uid)
    assert (row.state, row.hold_reason) == ("held", MERGED)


@pytest.mark.slow
def test_a_merge_after_publishing_keeps_what_was_not_sent_yet_from_the_archives(study) -> None:
    study.is_read()
    with study.db.read() as conn:
        uids = list(conn.execute(select(delivery.c.sop_instance_uid)).scalars())
        chart_id = json.loads(
            conn.execute(select(resource.c.body).where(resource.c.type == "Patient")).scalar_one()
        )
    withholding = Withholding(study.db)
    assert withholding(uids) == {}
    stored(study.db, chart("new", value="2", **link("replaces", chart_id["id"])))
    assert withholding(uids) == dict.fromkeys(uids, MERGED)


def test_results_of_a_held_study_are_kept_here(study) -> None:
    study.is_read()
    with study.db.write() as conn:
        uids = list(conn.execute(select(delivery.c.sop_instance_uid)).scalars())
        hold_study(conn, study.uid, "a doubt")
    assert Withholding(study.db)(uids) == dict.fromkeys(uids, "its study is held")


def test_images_that_contradict_the_chart_are_held_unless_a_rule_says_not_to_look(study) -> None:
    stored(study.db, chart("one", value=CANARY_ID, birthDate="1999-01-01"))
    assert reason(study) == OTHER_PERSON
    assert reason(study, Interlocks(chart=False)) is None
    with study.db.write() as conn:
        close_study(conn, study.uid, NOW + timedelta(seconds=1))
