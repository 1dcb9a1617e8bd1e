"""What a lesion model's manifest says, and which answer it gives for what is known."""

import copy

import pytest

from clinical.breast_codes import BREAST_RECORD
from clinical.lesion import Basis
from model_runtime.manifest import ManifestFault
from model_runtime.tasks.lesion import Lesion, basis_of, record_columns
from model_runtime.testing import lesion_document, manifest_of


@pytest.fixture(scope="module")
def lesion():
    return manifest_of(lesion_document()).require(Lesion)


def test_the_record_comes_back_from_the_manifest_as_it_was_written(lesion):
    assert lesion.record == BREAST_RECORD


def test_a_record_has_one_column_for_a_number_and_one_for_each_value_of_a_choice():
    age, tissue = BREAST_RECORD[:2]
    assert (record_columns([age]), record_columns([age, tissue])) == (1, 1 + len(tissue.values))


def test_no_two_values_of_a_feature_share_a_code():
    for feature in BREAST_RECORD:
        codes = [(code.system, code.code) for value in feature.values for code in value.codes]
        assert len(set(codes)) == len(codes), feature.name


@pytest.mark.parametrize(
    ("values", "image", "variant", "basis"),
    [
        ({}, False, None, Basis.RECORD),
        ({"age": 50.0, "symptoms": frozenset({"no"})}, False, None, Basis.RECORD),
        ({}, True, "image", Basis.IMAGE),
        ({"age": 50.0}, True, "image", Basis.BOTH),
        ({"birads": frozenset({"4a"})}, False, "category", Basis.RECORD),
        ({"shape": frozenset({"oval"})}, False, "descriptors", Basis.RECORD),
        ({"shape": frozenset({"oval"}), "birads": frozenset({"3"})}, True, "category and image", Basis.BOTH),
        ({"shape": frozenset({"oval"})}, True, "descriptors and image", Basis.BOTH),
    ],
)
def test_the_answer_follows_what_is_known_and_the_patient_alone_is_no_lesion(
    lesion, values, image, variant, basis
):
    chosen = lesion.variant_for(lesion.known(values, image=image))
    assert (chosen and chosen.name) == variant
    assert basis_of(values, image=image) is basis


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("graphs", "diagnosis", "heavy"), True, "$.graphs.diagnosis.heavy"),
        (("graphs", "diagnosis", "inputs", 0, "shape"), ["batch", 3], "$.graphs.diagnosis.inputs"),
        (("graphs", "image", "outputs", 1, "name"), "p", "$.graphs.image.outputs"),
        (("shape", 0), "extent", "$.shape"),
        (("crop", "high_percentile"), 0.0, "$.crop.high_percentile"),
        (("record", 1, "name"), "age", "$.record"),
        (("record", 1, "values"), [], "$.record[1].values"),
        (("record", 1, "minimum"), 3, "$.record[1].minimum"),
        (("variants", 0, "policy", "report_from"), 0.9, "$.variants[0].policy.warn_from"),
        (("variants", 0, "requires"), ["outline"], "$.variants[0].requires[0]"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused_where_it_does(path, value, named):
    document = copy.deepcopy(lesion_document())
    node = document
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    with pytest.raises(ManifestFault) as caught:
        manifest_of(document)
    assert any(problem.startswith(named) for problem in caught.value.problems)


@pytest.mark.parametrize("word", ["category", "descriptors", "image"])
def test_whatever_is_known_alone_must_have_an_answer(word):
    document = lesion_document()
    document["variants"] = [one for one in document["variants"] if one["requires"] != [word]]
    with pytest.raises(ManifestFault, match=f"for which {word} alone is enough"):
        manifest_of(document)


def test_no_two_features_share_a_code():
    codes = [(code.system, code.code) for feature in BREAST_RECORD for code in feature.codes]
    assert len(set(codes)) == len(codes)


def test_every_graph_of_the_task_must_be_there():
    document = lesion_document()
    del document["graphs"]["image"]
    with pytest.raises(ManifestFault, match="graph named image"):
        manifest_of(document)
