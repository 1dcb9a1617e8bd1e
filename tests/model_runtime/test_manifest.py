import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.errors import Category, Fault
from model_runtime.manifest import ManifestFault, Task, load_manifest, parse_manifest
from model_runtime.testing import manifest_of, risk_document, segmentation_document

DOCUMENTS = {"risk": risk_document(), "segmentation": segmentation_document()}
# What a manifest's author chooses freely, so that a missing part of it is no fault.
FREE = ("$.metrics.", "$.training.versions.", "$.opset.")


def every_key(node, path="$"):
    """Yield the JSON path of every key of every object."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{path}.{key}"
            yield from every_key(value, f"{path}.{key}")
    elif isinstance(node, list) and node and isinstance(node[0], dict):
        yield from every_key(node[0], f"{path}[0]")


def parent_of(document, path):
    """Return the object that holds the key of a JSON path, and the key."""
    *steps, key = path.removeprefix("$.").replace("[0]", ".0").split(".")
    for step in steps:
        document = document[int(step) if step.isdigit() else step]
    return document, key


KEYS = [
    pytest.param(kind, path, id=f"{kind} {path}")
    for kind, document in DOCUMENTS.items()
    for path in every_key(document)
    if not path.startswith(FREE)
]


def problems_of(document):
    with pytest.raises(ManifestFault) as caught:
        manifest_of(document)
    return caught.value.problems


def test_a_risk_manifest_is_read_with_features_outcome_and_policy():
    manifest = manifest_of(risk_document())
    risk = manifest.require_risk()
    assert manifest.task is Task.RISK
    assert [feature.name for feature in risk.features][:3] == ["age", "sex_male", "bmi"]
    assert risk.policy.report_from == 0.2
    assert risk.outcome.code == "73211009"
    assert manifest.inputs[0].shape == ("batch", 7)
    assert manifest.ref.label == "diabetes-risk 0.1.0"


def test_a_segmentation_manifest_is_read_with_image_terms_and_thresholds():
    part = manifest_of(segmentation_document()).require_segmentation()
    assert (part.image.rows, part.image.modalities) == (16, ("CR", "DX"))
    assert part.terms.label == "lung nodule"
    assert part.terms.body_site.code == "39607008"
    assert part.thresholds.min_area_px == 4


def test_asking_one_kind_of_model_for_the_other_kind_is_our_fault():
    with pytest.raises(Fault):
        manifest_of(risk_document()).require_segmentation()
    with pytest.raises(Fault):
        manifest_of(segmentation_document()).require_risk()


@pytest.mark.parametrize(("kind", "path"), KEYS)
def test_a_missing_key_is_named_by_its_path(kind, path):
    document = copy.deepcopy(DOCUMENTS[kind])
    holder, key = parent_of(document, path)
    del holder[key]
    named = path if not path.startswith("$.image.") else "$.image"
    assert any(problem.startswith(f"{named}:") for problem in problems_of(document))


@pytest.mark.parametrize(("kind", "path"), KEYS)
@pytest.mark.parametrize("wrong", [None, {"surprise": []}], ids=["null", "object"])
def test_a_value_of_the_wrong_type_is_refused(kind, path, wrong):
    if path == "$.image.normalise.local_radius_px" and wrong is None:
        return  # null is its word for "no local channel"
    document = copy.deepcopy(DOCUMENTS[kind])
    holder, key = parent_of(document, path)
    if path == "$.metrics" and wrong is not None:
        return  # metrics are free
    holder[key] = wrong
    assert problems_of(document)


@pytest.mark.parametrize(
    ("kind", "path"), [("risk", "$"), *[("segmentation", f"$.{k}") for k in ("golden", "image")]]
)
def test_an_unknown_key_is_refused(kind, path):
    document = copy.deepcopy(DOCUMENTS[kind])
    holder = document if path == "$" else parent_of(document, path)[0][path[2:]]
    holder["treshold"] = 1
    assert any("treshold" in problem for problem in problems_of(document))


def test_all_faults_are_told_at_once():
    problems = problems_of(risk_document(version="one", policy={"report_from": 2, "warn_from": 0.4}))
    assert [problem.split(":")[0] for problem in problems] == ["$.version", "$.policy.report_from"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"file": "../model.onnx"}, "$.file"),
        ({"file": "/etc/passwd"}, "$.file"),
        ({"card": ".hidden"}, "$.card"),
        ({"sha256": "ABC"}, "$.sha256"),
        ({"schema": 2}, "$.schema"),
        ({"schema": True}, "$.schema"),
        ({"name": "Diabetes Risk"}, "$.name"),
        ({"intra_op_threads": 0}, "$.intra_op_threads"),
        ({"policy": {"report_from": 0.5, "warn_from": 0.4}}, "$.policy.warn_from"),
        ({"inputs": [{"name": "features", "dtype": "float64", "shape": ["batch", 6]}]}, "$.inputs"),
        ({"inputs": [{"name": "features", "dtype": "float64", "shape": [7, "batch"]}]}, "$.inputs[0].shape"),
        ({"inputs": [{"name": "features", "dtype": "float64", "shape": ["n", 7]}]}, "$.inputs[0].shape[0]"),
        ({"outputs": [{"name": "p", "dtype": "double", "shape": [1]}]}, "$.outputs[0].dtype"),
        ({"outputs": [{"name": "p", "dtype": "int64", "shape": [1]}] * 2}, "$.outputs"),
        ({"features": [risk_document()["features"][0]] * 7}, "$.features"),
        ({"features": [{**risk_document()["features"][0], "minimum": 200}]}, "$.features[0].maximum"),
        ({"opset": {"": "18"}}, "$.opset."),
        ({"task": "prophecy"}, "$.task"),
    ],
)
def test_a_contradiction_is_refused_where_it_stands(change, path):
    assert any(problem.startswith(path) for problem in problems_of(risk_document(**change)))


def test_a_manifest_of_the_wrong_task_is_refused():
    assert any("$.features" in problem for problem in problems_of(risk_document(task="segmentation")))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"\xff", b'{"schema": 1, "schema": 1}', b'{"schema": NaN}', b"[" * 100_000]
)
def test_what_is_not_strict_json_is_a_fault(data):
    with pytest.raises(ManifestFault) as caught:
        parse_manifest(data, "some-model")
    assert caught.value.category is Category.FAULT
    assert "$" in caught.value.problems[0]


@settings(max_examples=settings.default.max_examples // 2)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.dictionaries(st.sampled_from(sorted({*risk_document(), *segmentation_document()})), inner)
            | st.lists(inner)
        ),
    )
)
def test_any_json_is_a_manifest_or_a_manifest_fault(document):
    with pytest.raises(ManifestFault):
        parse_manifest(json.dumps(document).encode(), "some-model")


def test_an_absent_file_is_a_fault_that_names_the_model_and_no_path(tmp_path):
    with pytest.raises(ManifestFault, match="some-model") as caught:
        load_manifest(tmp_path / "some-model" / "manifest.json")
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("models/*/manifest.json")), ids=lambda p: p.parent.name
)
def test_every_shipped_manifest_is_valid_and_names_its_folder(path):
    assert load_manifest(path).name == path.parent.name
