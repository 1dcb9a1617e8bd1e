"""The record of a breast lesion from FHIR: coded descriptors, the newest statement, never a guess."""

from datetime import UTC, datetime

import pytest

from clinical.breast_codes import BREAST_RECORD
from clinical.codes import AI_ASSERTED
from clinical.lesion import Side
from fhir_adapters.features.breast_lesion import lesion_record

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
LEXICON, DCM, SCT = (
    "urn:consilium:breast-lexicon",
    "http://dicom.nema.org/resources/ontology/DCM",
    "http://snomed.info/sct",
)
WOMAN = {"resourceType": "Patient", "id": "p1", "birthDate": "1969-05-01", "gender": "female"}


def concept(*codings):
    return {"coding": [{"system": system, "code": code} for system, code in codings]}


def said(code, *values, on="2026-11-01", ident="o1", **more):
    return {
        "resourceType": "Observation",
        "id": ident,
        "status": "final",
        "code": concept(code),
        "effectiveDateTime": on,
        **({"valueCodeableConcept": concept(*values)} if values else {}),
        **more,
    }


def own(words):
    return (LEXICON, words)


def read(*resources):
    return lesion_record(resources, BREAST_RECORD, NOW)


def why(record, name):
    return next(one.reason for one in record.missing if one.name == name)


def test_a_record_is_read_with_what_was_used_and_what_is_missing():
    record = read(
        WOMAN,
        said(own("shape"), own("shape-irregular"), ident="s"),
        said((DCM, "111360"), (DCM, "111364"), ident="e"),
        said(own("birads"), own("birads-4b"), on="2026-11-02T10:00:00+01:00", ident="b"),
    )
    assert record.values == {
        "age": 57.0,
        "shape": frozenset({"irregular"}),
        "echogenicity": frozenset({"hypoechoic"}),
        "birads": frozenset({"4b"}),
    }
    shown = {
        used.name: (used.shown, used.source, used.taken_at and used.taken_at.date().isoformat())
        for used in record.used
    }
    assert shown == {
        "age": ("57", "Patient/p1", None),
        "shape": ("irregular", "Observation/s", "2026-11-01"),
        "echogenicity": ("hypoechoic", "Observation/e", "2026-11-01"),
        "birads": ("4B", "Observation/b", "2026-11-02"),
    }
    assert {one.name for one in record.missing} == {feature.name for feature in BREAST_RECORD} - set(record.values)
    assert why(record, "margin") == "none recorded"


@pytest.mark.parametrize(
    ("feature", "code", "value", "name"),
    [
        ("shape", (SCT, "300842002"), (SCT, "84360004"), "oval"),
        ("margin", (DCM, "111037"), (SCT, "129742005"), "spiculated"),
        ("posterior_features", (DCM, "111366"), (DCM, "111369"), "shadowing"),
        ("halo", (DCM, "111357"), (DCM, "111359"), "yes"),
        ("halo", (DCM, "111357"), (DCM, "111358"), "no"),
        ("tissue_composition", (DCM, "111350"), (DCM, "111351"), "homogeneous_fat"),
        ("calcifications", (SCT, "309587003"), (DCM, "111346"), "in_mass"),
        ("skin_thickening", (SCT, "129797000"), (SCT, "272519000"), "no"),
        ("birads", (DCM, "111413"), (SCT, "397145000"), "5"),
        ("symptoms", own("symptoms"), (SCT, "429740004"), "family_history"),
    ],
)
def test_codes_of_dicom_and_snomed_mean_the_same_as_ours(feature, code, value, name):
    assert read(said(code, value)).values == {feature: frozenset({name})}


def test_every_feature_and_value_has_a_code_of_ours():
    for feature in BREAST_RECORD[1:]:
        for value in feature.values:
            words = own(f"{feature.name}-{value.name}".replace("_", "-"))
            record = read(said(own(feature.name.replace("_", "-")), words))
            assert record.values == {feature.name: frozenset({value.name})}


def test_descriptors_may_be_components_of_one_lesion():
    parts = [
        {"code": concept(own("shape")), "valueCodeableConcept": concept(own("shape-oval"))},
        {"code": concept(own("margin")), "valueCodeableConcept": concept(own("margin-indistinct"))},
        {"code": concept(own("margin")), "valueCodeableConcept": concept(own("margin-angular"))},
        {"code": concept(own("skin-thickening")), "valueBoolean": False},
    ]
    record = read(said(own("lesion"), component=parts))
    assert record.values == {
        "shape": frozenset({"oval"}),
        "margin": frozenset({"indistinct", "angular"}),
        "skin_thickening": frozenset({"no"}),
    }
    assert next(used.shown for used in record.used if used.name == "margin") == "indistinct, angular"


def test_the_newest_statement_counts_and_later_ones_than_now_do_not():
    record = read(
        said(own("birads"), own("birads-3"), on="2026-05-01"),
        said(own("birads"), own("birads-4a"), on="2026-10-01"),
        said(own("birads"), own("birads-5"), on="2027-01-01"),
    )
    assert record.values == {"birads": frozenset({"4a"})}


@pytest.mark.parametrize(
    ("observations", "reason"),
    [
        (
            [said(own("shape"), (SCT, "999"), on="2026-11-02"), said(own("shape"), own("shape-oval"))],
            "not one that the model",
        ),
        ([said(own("shape"), own("shape-oval"), own("shape-round"))], "not one that the model"),
        ([said(own("shape"), own("shape-oval")), said(own("shape"), own("shape-round"))], "contradict"),
        ([said(own("shape"), own("shape-oval"), on="2025-01-01")], "older than 365 days"),
        ([said(own("shape"), own("shape-oval"), on="2026")], "no value has a full date"),
        ([said(own("shape"), own("shape-oval"), status="entered-in-error")], "none recorded"),
        ([said(own("shape"), valueString="oval")], "none recorded"),
        ([said(own("shape"), ("urn:other", "shape-oval"))], "not one that the model"),
        ([said((SCT, "shape"), own("shape-oval"))], "none recorded"),
    ],
)
def test_what_is_not_certain_is_missing_with_its_reason_and_no_older_value_takes_its_place(observations, reason):
    record = read(*observations)
    assert "shape" not in record.values
    assert reason in why(record, "shape")


def of_the_left(**more):
    return said(own("shape"), own("shape-oval"), bodySite=concept((SCT, "80248007")), **more)


def test_what_is_said_of_the_other_breast_is_not_read_for_an_image_of_this_one():
    signs = said(own("signs"), own("signs-redness"), bodySite=concept((SCT, "80248007")), ident="s")
    assert lesion_record([of_the_left()], BREAST_RECORD, NOW, Side.LEFT).values == {"shape": frozenset({"oval"})}
    right = lesion_record([of_the_left(), signs], BREAST_RECORD, NOW, Side.RIGHT)
    assert right.values == {"signs": frozenset({"redness"})}  # of the patient, not of a lesion
    assert why(right, "shape") == "recorded of the other breast only"
    assert read(of_the_left()).values == {"shape": frozenset({"oval"})}


def test_a_statement_without_a_side_counts_for_both_and_a_newer_one_of_the_other_does_not_hide_it():
    record = lesion_record(
        [said(own("shape"), own("shape-irregular")), of_the_left(on="2026-11-10")], BREAST_RECORD, NOW, Side.RIGHT
    )
    assert record.values == {"shape": frozenset({"irregular"})}


def test_what_an_ai_asserted_is_no_record():
    label = {"security": [{"system": AI_ASSERTED.system, "code": AI_ASSERTED.code}]}
    assert read(said(own("shape"), own("shape-oval"), meta=label)).values == {}


@pytest.mark.parametrize(("born", "reason"), [("2020-01-01", "outside 18 to 120"), (None, "not recorded")])
def test_an_age_that_the_model_was_not_made_for_is_missing(born, reason):
    assert reason in why(read(WOMAN | {"birthDate": born}), "age")


@pytest.mark.parametrize(
    "broken",
    [
        {"resourceType": "Observation"},
        {"resourceType": "Observation", "code": "x", "valueCodeableConcept": [], "component": {}},
        {
            "resourceType": "Observation",
            "code": {"coding": [None, {"system": 1}]},
            "meta": [],
            "valueBoolean": "yes",
        },
        {"resourceType": "Patient", "birthDate": 5},
    ],
)
def test_a_broken_resource_of_another_system_raises_nothing(broken):
    assert read(broken).values == {}
