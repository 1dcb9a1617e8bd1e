"""diabetes-risk: what the clinician reads, and that a failure is never silence."""

import math
import time
from pathlib import Path

import numpy as np
import pytest

from cds.testing import FHIR_SERVER, CannedReader, hook_body
from clinical.errors import Busy, Fault, IncorrectInput, NotFound
from model_runtime.engine import LocalEngine
from model_runtime.library import Library
from model_runtime.testing import CannedEngine, Slow, manifest_of, risk_document


def call(post, client, prefetch, **more):
    return post(client, "diabetes-risk", hook_body(prefetch=prefetch, **more))


def outcome_of(response, status):
    assert response.status_code == status, response.text
    assert response.json["resourceType"] == "OperationOutcome"
    assert "cards" not in response.json
    return response.json["issue"][0]


def rows_of(detail, title):
    block = detail.split(title, 1)[1].split("\n\n")[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()[2:]]


def test_the_card_tells_the_risk_the_inputs_with_dates_and_the_model(client, post, adult):
    (card,) = call(post, client, adult).json["cards"]
    assert card["summary"] == "Estimated probability of diabetes: 25.0 %; not sure enough, refer for a test"
    assert card["indicator"] == "info"
    assert card["source"]["topic"]["code"] == "73211009"
    assert card["overrideReasons"][0]["code"] == "patient-ineligible"
    assert rows_of(card["detail"], "**Inputs used**") == [
        ["Age", "57", "years", ""],
        ["Sex", "male", "", ""],
        ["Body mass index", "31.2", "kg/m²", "2026-03-04"],
        ["Waist", r"101.6 (sent as 40 \[in\_i\])", "cm", "2026-03-04"],
        ["Diastolic pressure", "84", "mmHg", "2026-03-04"],
        ["Diabetes in a close relative", "yes", "", "2020-02-03"],
        ["Fasting glucose", "127.9 (sent as 7.1 mmol/L)", "mg/dL", "2026-03-04"],
    ]
    assert "diabetes-risk 0.1.0" in card["detail"]
    assert "not a medical device" in card["detail"]
    assert "Inputs missing" not in card["detail"]


def test_the_model_reads_the_values_of_the_record_in_its_own_order(make_client, post, adult, risk_engine_of):
    engine = risk_engine_of(0.25)
    call(post, make_client(engine=engine), adult)
    ((model, inputs),) = engine.calls
    assert model == "diabetes-risk"
    # 40 in x 2.54 cm/in = 101.6 cm; 7.1 mmol/L x 18.0156 mg/dL per mmol/L = 127.91076 mg/dL
    assert inputs["features"][0] == pytest.approx([57, 1, 31.24, 101.6, 84, 1, 127.91076])
    assert inputs["features"].dtype == np.float64


def explained(document, parts):
    """A canned model whose explanation is one line a feature: the part is 1 where the feature is known."""
    names = document["variants"][0]["features"]
    number = np.arange(len(names), dtype=np.int16)
    height = np.array([parts.get(name, 0.0) for name in names])
    return {
        "kind": np.zeros(len(names), np.int16), "first": number, "second": number, "owner": number,
        "features": np.array(len(names)), "intercept": np.array(-1.0),
        "path_column": np.full((1, 1), -1, np.int16), "path_low": np.full((1, 1), -np.inf),
        "path_high": np.full((1, 1), np.inf), "path_unknown": np.ones((1, 1), bool),
        "path_share": np.ones((1, 1)), "path_value": np.zeros(1),
        "line_corner": np.tile([0.0, 1e6], (len(names), 1)), "line_height": np.tile(height[:, None], (1, 2)),
        "line_missing": np.full(len(names), 0.3), "line_mean": np.zeros(len(names)),
    }  # fmt: skip


def explained_engine(parts, probability):
    document = risk_document(arrays={"model_explanation": {"file": "model_explanation.npz", "sha256": "0" * 64}})
    return CannedEngine(
        {"diabetes-risk": lambda inputs: {"probability": np.full((len(inputs["features"]), 1), probability)}},
        {"diabetes-risk": manifest_of(document)},
        {("diabetes-risk", "model_explanation"): explained(document, parts)},
    )


PARTS = {
    "age": 0.5,
    "bmi": 0.2,
    "waist_cm": -0.4,
    "diastolic_mm_hg": 0.1,
    "family_history": 0.6,
    "sex_male": 0.001,
}


def test_the_card_shows_the_five_largest_parts_as_factors_of_the_odds(make_client, post, adult):
    # Everything is known: -1 + 0.5 + 0.2 - 0.4 + 0.1 + 0.6 + 0.001 = 0.001 in log-odds.
    engine = explained_engine(PARTS, 1 / (1 + math.exp(-0.001)))
    (card,) = call(post, make_client(engine=engine), adult).json["cards"]
    assert rows_of(card["detail"], "**What moved the estimate**") == [
        ["Diabetes in a close relative", "× 1.82", "+0.60"],
        ["Age", "× 1.65", "+0.50"],
        ["Waist", "× 0.67", "-0.40"],
        ["Body mass index", "× 1.22", "+0.20"],
        ["Diastolic pressure", "× 1.11", "+0.10"],
    ]
    assert len(engine.calls) == 1


def test_what_is_not_known_has_one_line_for_all_of_it(make_client, post, adult, make_bundle):
    # Without waist and family history: -1 + 0.5 + 0.2 + 0.1 + 0.001 + 2 * 0.3 = 0.401.
    engine = explained_engine(PARTS, 1 / (1 + math.exp(-0.401)))
    sent = adult | {"waist": make_bundle(), "family-history": make_bundle()}
    (card,) = call(post, make_client(engine=engine), sent).json["cards"]
    assert rows_of(card["detail"], "**What moved the estimate**")[-1] == [
        "what is not known, taken together",
        "× 1.82",
        "+0.60",
    ]


def test_an_explanation_that_does_not_add_up_to_the_answer_is_a_fault_and_no_card(make_client, post, adult):
    outcome_of(call(post, make_client(engine=explained_engine(PARTS, 0.6)), adult), 500)


def test_the_shipped_model_gives_a_card_with_an_explanation_by_either_graph(
    make_client, post, adult, make_bundle, make_observation
):
    client = make_client(engine=LocalEngine(Library(Path(__file__).parents[2] / "models")), budget_s=60.0)
    adult["insulin"] = make_bundle(make_observation("27873-9", 120, "pmol/L"))
    (card,) = call(post, client, adult).json["cards"]
    assert "model variant with laboratory values" in card["detail"]
    assert ["Fasting insulin", "20 (sent as 120 pmol/L)", "u[IU]/mL", "2026-03-04"] in [
        [cell.replace("\\", "") for cell in row] for row in rows_of(card["detail"], "**Inputs used**")
    ]
    assert len(rows_of(card["detail"], "**What moved the estimate**")) == 6  # five, and what is not known
    (card,) = call(post, client, adult | {"glucose": make_bundle()}).json["cards"]
    assert "model variant without laboratory values" in card["detail"]
    assert ["Fasting insulin", "recorded, but this variant of the model does not read it"] in rows_of(
        card["detail"], "**Inputs missing or not used**"
    )


def test_a_model_without_explanation_has_a_card_without_that_part(client, post, adult):
    (card,) = call(post, client, adult).json["cards"]
    assert "What moved" not in card["detail"]


def two_graphs(probability_of):
    """A canned model with a graph that needs glucose and one that does not, as the shipped one has."""
    document = risk_document()
    (lab,), (variant,) = document["graphs"].values(), document["variants"]
    narrow = {**lab["inputs"][0], "shape": ["batch", 6]}
    document["graphs"] = {
        name: {
            **lab,
            "file": f"{name}.onnx",
            "golden": {**lab["golden"], "file": f"{name}.npz"},
            "inputs": [tensor],
        }
        for name, tensor in (("lab", lab["inputs"][0]), ("no_lab", narrow))
    }
    names = variant["features"]
    document["variants"] = [
        {**variant, "graph": "lab", "requires": [*names[:2], "fasting_glucose_mg_dl"]},
        {**variant, "graph": "no_lab", "features": names[:6]},
    ]

    def says(graph):
        return lambda inputs: {"probability": np.full((len(inputs["features"]), 1), probability_of[graph])}

    answers = {("diabetes-risk", graph): says(graph) for graph in ("lab", "no_lab")}
    return CannedEngine(answers, {"diabetes-risk": manifest_of(document)})


def test_the_graph_is_chosen_by_what_the_chart_holds_and_the_card_says_which(
    make_client, post, adult, make_bundle
):
    client = make_client(engine=two_graphs({"lab": 0.35, "no_lab": 0.25}))
    (card,) = call(post, client, adult).json["cards"]
    assert "35.0 %" in card["summary"]
    assert "model variant with laboratory values" in card["detail"]
    (card,) = call(post, client, adult | {"glucose": make_bundle()}).json["cards"]
    assert "25.0 %" in card["summary"]
    assert "model variant without laboratory values" in card["detail"]
    assert ["Fasting glucose", "none recorded"] in rows_of(card["detail"], "**Inputs missing or not used**")


def answering(probability, conformal):
    document = risk_document()
    document["variants"] = [{**document["variants"][0], "conformal": {"alpha": 0.1, "rows": 100, **conformal}}]
    return CannedEngine(
        {"diabetes-risk": lambda inputs: {"probability": np.full((len(inputs["features"]), 1), probability)}},
        {"diabetes-risk": manifest_of(document)},
    )


# A class is kept while its nonconformity is small: "no" up to 0.5, "yes" from 0.3 on.
CONFORMAL = {"negative": 0.5, "positive": 0.7}


@pytest.mark.parametrize("probability", [0.3, 0.45, 0.5])
def test_where_both_classes_are_possible_the_card_refers_for_a_test_and_names_none(
    make_client, post, adult, probability
):
    (card,) = call(post, make_client(engine=answering(probability, CONFORMAL)), adult).json["cards"]
    assert "not sure enough, refer for a test" in card["summary"]
    assert "Answer at 90 % confidence: not sure enough, refer for a test." in card["detail"]
    assert "likely.**" not in card["detail"]
    assert card["indicator"] == "info"  # 0.45 and 0.5 are above warn_from, but it is not sure


def test_where_one_class_is_possible_it_is_named(make_client, post, adult):
    (card,) = call(post, make_client(engine=answering(0.6, CONFORMAL)), adult).json["cards"]
    assert "not sure" not in card["summary"]
    assert "**Answer at 90 % confidence: likely.** At least 90 % of people without diabetes" in card["detail"]
    assert card["indicator"] == "warning"
    (card,) = call(post, make_client(engine=answering(0.25, CONFORMAL)), adult).json["cards"]
    assert "**Answer at 90 % confidence: unlikely.** At least 90 % of people with diabetes" in card["detail"]


def test_every_answer_is_told_to_the_drift_observer_also_one_without_a_card(
    make_client, post, adult, risk_engine_of
):
    class Heard:
        def __init__(self):
            self.cases = []

        def observe(self, manifest, values, score, answer=None):
            self.cases.append((manifest.name, values["age"], score, answer))

    heard = Heard()
    call(post, make_client(engine=risk_engine_of(0.1), drift=heard), adult)
    assert heard.cases == [("diabetes-risk", 57, 0.1, "unsure")]


@pytest.mark.parametrize(
    ("probability", "indicator"), [(0.2, "info"), (0.3999, "info"), (0.4, "warning"), (1.0, "warning")]
)
def test_the_indicator_follows_the_manifests_policy(make_client, post, adult, probability, indicator):
    sure = {"negative": 0.1, "positive": 0.9}
    response = call(post, make_client(engine=answering(probability, sure)), adult)
    assert response.json["cards"][0]["indicator"] == indicator


def test_a_low_risk_is_the_one_case_without_a_card(make_client, post, adult, risk_engine_of):
    response = call(post, make_client(engine=risk_engine_of(0.1999)), adult)
    assert (response.status_code, response.json) == (200, {"cards": []})


def test_inputs_that_are_not_recorded_are_missing_for_the_model_and_on_the_card(
    make_client, post, adult, risk_engine_of, make_bundle
):
    engine = risk_engine_of(0.3)
    sent = adult | {"bmi": make_bundle(), "waist": None, "family-history": make_bundle()}
    (card,) = call(post, make_client(engine=engine), sent).json["cards"]
    assert rows_of(card["detail"], "**Inputs missing or not used**") == [
        ["Body mass index", "none recorded"],
        ["Waist", "none recorded"],
        ["Diabetes in a close relative", "none recorded"],
    ]
    assert [math.isnan(value) for value in engine.calls[0][1]["features"][0]] == [0, 0, 1, 1, 0, 1, 0]


def test_a_part_of_the_record_that_was_not_seen_is_named_on_the_card(make_client, post, adult):
    del adult["waist"]
    adult["glucose"] = {"resourceType": "OperationOutcome", "issue": []}
    (card,) = call(post, make_client(), adult).json["cards"]
    assert rows_of(card["detail"], "**Parts of the record") == [
        ["waist", "it was not sent, and no fhirServer was named"],
        ["glucose", "the client's own query for it failed"],
    ]


@pytest.mark.parametrize(
    ("change", "element"),
    [
        ({"gender": "other"}, "prefetch.patient.gender"),
        ({"gender": None}, "prefetch.patient.gender"),
        ({"birthDate": None}, "prefetch.patient.birthDate"),
        ({"birthDate": "2020-01-01"}, "prefetch.patient.birthDate"),
        ({"birthDate": "2027-01-01"}, "prefetch.patient.birthDate"),
    ],
)
def test_without_sex_or_an_age_for_the_model_the_answer_is_412(client, post, adult, change, element):
    adult["patient"] |= change
    issue = outcome_of(call(post, client, adult), 412)
    assert (issue["code"], issue["expression"]) == ("required", [element])


def test_null_for_the_patient_is_412(client, post, adult):
    issue = outcome_of(call(post, client, adult | {"patient": None}), 412)
    assert issue["expression"] == ["prefetch.patient.birthDate", "prefetch.patient.gender"]


@pytest.mark.parametrize("key", ["patient", "bmi"])
def test_missing_required_prefetch_is_412_and_names_the_key(client, post, adult, key):
    del adult[key]
    issue = outcome_of(call(post, client, adult), 412)
    assert issue["expression"] == [f"prefetch.{key}"]
    assert "was not sent" in issue["diagnostics"]


def test_no_prefetch_at_all_is_fetched_from_the_allowed_server(make_client, post, adult):
    reader = CannedReader(
        {
            "Patient/p1": adult["patient"],
            "Observation?patient=p1&code=http://loinc.org|39156-5": adult["bmi"],
            "Observation?patient=p1&code=http://loinc.org|8280-0": adult["waist"],
        }
    )
    response = post(make_client(fhir=reader), "diabetes-risk", hook_body(fhirServer=FHIR_SERVER))
    (card,) = response.json["cards"]
    assert len(reader.asked) == 8
    assert "the FHIR server answered 404" in card["detail"]


def test_another_patients_observation_is_400_and_no_card(client, post, adult, make_bundle, make_observation):
    foreign = make_observation("8280-0", 90, "cm", subject={"reference": "Patient/p2"})
    issue = outcome_of(call(post, client, adult | {"waist": make_bundle(foreign)}), 400)
    assert issue["expression"] == ["prefetch.waist.entry[0].resource.subject"]


def test_another_patients_record_is_400_and_no_card(client, post, adult):
    adult["patient"]["id"] = "p2"
    outcome_of(call(post, client, adult), 400)


def raises(error):
    def answer(inputs):
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Fault("broken"), 500),
        (NotFound("no such model"), 500),
        (IncorrectInput("wrong shape"), 500),
        (Busy("no turn"), 503),
        (raises(RuntimeError("Zzcanary")), 500),
        (raises(MemoryError()), 500),
        ({}, 500),
        ({"probability": np.full((3, 1), 0.3)}, 500),
        (lambda inputs: {"probability": np.full((len(inputs["features"]), 1), np.nan)}, 500),
        (lambda inputs: {"probability": np.full((len(inputs["features"]), 1), 1.5)}, 500),
    ],
)
def test_a_model_that_fails_is_5xx_and_never_no_cards(make_client, post, adult, risk_engine_of, answer, status):
    outcome_of(call(post, make_client(engine=risk_engine_of(answer)), adult), status)


def test_a_model_that_is_not_installed_is_500(make_client, post, adult):
    outcome_of(call(post, make_client(engine=CannedEngine({})), adult), 500)


def test_a_model_that_is_too_slow_is_503_within_the_budget(make_client, post, adult, risk_engine_of):
    slow = Slow(5.0, {"probability": np.full((6, 1), 0.9)})
    issue = outcome_of(call(post, make_client(engine=risk_engine_of(slow), budget_s=0.05), adult), 503)
    assert issue["code"] == "throttled"


def test_a_model_that_ignores_its_time_is_503_and_its_late_card_is_not_shown(
    make_client, post, adult, risk_engine_of
):
    def late(inputs):
        time.sleep(0.03)
        return {"probability": np.full((len(inputs["features"]), 1), 0.9)}

    outcome_of(call(post, make_client(engine=risk_engine_of(late), budget_s=0.02), adult), 503)


def test_a_record_cannot_put_markup_or_a_link_into_a_card(client, post, adult, make_bundle, make_observation):
    evil = make_observation("8280-0", 90, "cm")
    evil["valueQuantity"]["unit"] = "<img src=x>"
    evil["valueQuantity"]["code"] = "[click](https://evil.example)|"
    (card,) = call(post, client, adult | {"waist": make_bundle(evil)}).json["cards"]
    assert "evil" not in card["detail"]
    assert "<img" not in card["detail"]


def test_the_card_holds_no_name_and_no_number_of_the_patient(client, post, adult):
    text = call(post, client, adult).text.lower()
    assert "zzcanary" not in text
    assert "quillon" not in text


def offered(make_client, post, adult, risk_engine_of, probability):
    (card,) = call(post, make_client(engine=risk_engine_of(probability)), adult).json["cards"]
    return {one["label"]: one for one in card["suggestions"]}


def test_the_test_that_decides_is_offered_as_a_draft_and_recommended_when_it_is_not_clear(
    make_client, post, adult, risk_engine_of
):
    one = offered(make_client, post, adult, risk_engine_of, 0.25)["Order HbA1c, the test that decides"]
    assert one["isRecommended"] is True
    order = one["actions"][0]["resource"]
    assert (order["resourceType"], order["status"], order["intent"]) == ("ServiceRequest", "draft", "proposal")
    assert order["code"]["coding"][0]["code"] == "4548-4"
    assert order["reasonCode"][0]["text"] == "Estimated probability of diabetes 25.0 % by diabetes-risk 0.1.0."


def test_a_suspicion_is_offered_only_when_the_answer_is_likely(make_client, post, adult, risk_engine_of):
    suspected = "Note diabetes as suspected, to be confirmed by a test"
    assert suspected not in offered(make_client, post, adult, risk_engine_of, 0.25)
    one = offered(make_client, post, adult, risk_engine_of, 0.95)[suspected]
    assert "isRecommended" not in one
    assert one["actions"][0]["resource"]["verificationStatus"]["coding"][0]["code"] == "provisional"


def test_the_estimate_can_be_recorded_with_what_it_rests_on(make_client, post, adult, risk_engine_of):
    one = offered(make_client, post, adult, risk_engine_of, 0.25)["Record the estimate in the chart"]
    risk = one["actions"][0]["resource"]
    assert risk["prediction"][0]["probabilityDecimal"] == 25.0
    assert {"reference": "Observation/b1"} in risk["basis"]
    assert "id" not in risk
