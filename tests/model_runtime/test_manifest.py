import contextlib
import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.errors import Category, Fault
from model_runtime import testing
from model_runtime.manifest import ManifestFault, Task, load_manifest, parse_manifest
from model_runtime.source_attributes import ATTRIBUTES
from model_runtime.tasks.risk import Risk
from model_runtime.tasks.segmentation import Segmentation
from model_runtime.testing import NO_DIGEST, manifest_of, risk_document, segmentation_document

MAKERS = {task.value: getattr(testing, f"{task}_document", None) for task in Task}
DOCUMENTS = {task: maker() for task, maker in MAKERS.items() if maker}
# Objects whose keys the manifest's author chooses, and whether one of them may be absent.
NAMED_FREELY = {
    "$.metrics": True,
    "$.training.versions": True,
    "$.arrays": True,
    "$.reference.features": True,
    "$.graphs": False,
}
NULL_IS_A_WORD = (".notice", ".local_radius_px", ".look_back_days", ".reference.score")


def every_key(node, path="$"):
    """Yield the JSON path of every key of every object whose keys the schema names."""
    if isinstance(node, dict):
        for key, value in node.items():
            if path not in NAMED_FREELY and not path.endswith(".opset"):
                yield f"{path}.{key}"
            if path not in {"$.metrics", "$.training.versions"}:
                yield from every_key(value, f"{path}.{key}")
    elif isinstance(node, list) and node and isinstance(node[0], dict):
        yield from every_key(node[0], f"{path}[0]")


def parent_of(document, path):
    """Return the object that holds the key of a JSON path, and the key."""
    *steps, key = path.removeprefix("$.").replace("[0]", ".0").split(".")
    for step in steps:
        document = document[int(step) if step.isdigit() else step]
    return document, key


KEYS = {kind: list(every_key(document)) for kind, document in DOCUMENTS.items()}


def problems_of(document):
    with pytest.raises(ManifestFault) as caught:
        manifest_of(document)
    return caught.value.problems


def changed(document, path, value):
    """Return a copy of a document with another value at a path."""
    document = copy.deepcopy(document)
    holder, key = parent_of(document, path)
    holder[key] = value
    return document


def with_graphs(*names):
    """Return a valid risk manifest with these graphs."""
    graph = risk_document()["graphs"]["model"]
    graphs = {
        name: graph | {"file": f"{name}.onnx", "golden": graph["golden"] | {"file": f"{name}.npz"}}
        for name in names
    }
    variants = [risk_document()["variants"][0] | {"graph": name} for name in names]
    return risk_document(graphs=graphs, variants=variants)


def test_a_risk_manifest_is_read_with_features_outcome_and_variants():
    manifest = manifest_of(risk_document())
    risk = manifest.require(Risk)
    variant = risk.variants[0]
    assert manifest.task is Task.RISK
    assert [feature.name for feature in risk.features][:3] == ["age", "sex_male", "bmi"]
    assert (variant.policy.report_from, variant.conformal.positive) == (0.2, 0.9)
    assert risk.outcome.code == "73211009"
    assert manifest.graph("model").inputs[0].shape == ("batch", 7)
    assert manifest.graph("model").inputs[0].axes == ("person", "feature")
    assert manifest.ref.label == "diabetes-risk 0.1.0"


def test_a_segmentation_manifest_is_read_with_image_terms_and_thresholds():
    part = manifest_of(segmentation_document()).require(Segmentation)
    assert (part.image.rows, part.image.modalities) == (16, ("CR", "DX"))
    assert part.terms.label == "lung nodule"
    assert part.terms.body_site.code == "39607008"
    assert part.thresholds.min_area_px == 4


def test_the_first_graph_whose_inputs_are_known_is_chosen():
    document = with_graphs("lab", "no_lab")
    document["variants"][0]["requires"] = ["age", "fasting_glucose_mg_dl"]
    risk = manifest_of(document).require(Risk)
    for known, graph in ({"age", "sex_male", "fasting_glucose_mg_dl"}, "lab"), ({"age", "sex_male"}, "no_lab"):
        assert risk.variant_for(known).graph == graph
    assert risk.variant_for({"bmi"}) is None


def test_the_features_of_a_variant_stand_in_the_order_of_its_tensor():
    document = risk_document()
    document["variants"][0]["features"] = document["variants"][0]["features"][::-1]
    risk = manifest_of(document).require(Risk)
    assert risk.features_of(risk.variants[0])[0].name == "fasting_glucose_mg_dl"


def test_the_digest_of_a_model_changes_with_any_word_of_its_manifest():
    one, other = manifest_of(risk_document()), manifest_of(risk_document(not_for="Children."))
    assert one.ref.digest != other.ref.digest


def test_asking_one_kind_of_model_for_the_other_kind_is_our_fault():
    with pytest.raises(Fault, match="not a segmentation model"):
        manifest_of(risk_document()).require(Segmentation)
    assert manifest_of(segmentation_document()).get(Risk) is None


def test_a_graph_that_the_model_does_not_have_is_our_fault():
    with pytest.raises(Fault, match="no graph named lab"):
        manifest_of(risk_document()).graph("lab")


def test_every_task_has_a_manifest_for_tests():
    assert all(MAKERS.values())


def names(document, path, end=""):
    """Whether the refusal of a document names a path; of an image's parts the image may be named."""
    named = "$.image" if path.startswith("$.image.") else path
    return any(problem.startswith(named + end) for problem in problems_of(document))


def without(document, path):
    document = copy.deepcopy(document)
    holder, key = parent_of(document, path)
    del holder[key]
    return document


def misspelt_beside(document, path):
    document = copy.deepcopy(document)
    parent_of(document, path)[0]["treshold"] = 1
    return document


# Hundreds of keys a task: one test for all of them, which lists the keys that are wrong.
@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_missing_key_is_named_by_its_path(kind):
    assert [path for path in KEYS[kind] if not names(without(DOCUMENTS[kind], path), path, ":")] == []


@pytest.mark.parametrize("kind", DOCUMENTS)
@pytest.mark.parametrize("wrong", [None, {"surprise": []}], ids=["null", "object"])
def test_a_value_of_the_wrong_type_is_refused_where_it_stands(kind, wrong):
    def free(path):
        return (path == "$.metrics" and wrong is not None) or (wrong is None and path.endswith(NULL_IS_A_WORD))

    document = DOCUMENTS[kind]
    taken = [path for path in KEYS[kind] if not free(path) and not names(changed(document, path, wrong), path)]
    assert taken == []
    assert all(manifest_of(changed(document, path, wrong)) for path in KEYS[kind] if free(path))


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_misspelt_key_beside_any_key_is_refused(kind):
    problems = {path: problems_of(misspelt_beside(DOCUMENTS[kind], path)) for path in KEYS[kind]}
    assert [path for path, found in problems.items() if not any("treshold" in problem for problem in found)] == []


@pytest.mark.parametrize("path", [path for path, empty in NAMED_FREELY.items() if empty])
def test_what_is_named_freely_may_be_empty(path):
    assert manifest_of(changed(risk_document(), path, {}))


def test_a_model_without_graphs_is_refused():
    assert any(problem.startswith("$.graphs") for problem in problems_of(risk_document(graphs={})))


def test_all_faults_are_told_at_once():
    document = risk_document(version="one", title=" ")
    document["graphs"]["model"]["opset"] = {"": "18"}
    del document["transparency"]["funding"]
    assert {problem.split(":")[0] for problem in problems_of(document)} == {
        "$.version",
        "$.title",
        "$.graphs.model.opset.",
        "$.transparency.funding",
    }


def graph(path, value):
    return (f"$.graphs.model.{path}", value)


def a_tensor(**changes):
    return [risk_document()["graphs"]["model"]["inputs"][0] | changes]


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("$.schema", 1, "$.schema"),
        ("$.schema", True, "$.schema"),
        ("$.name", "Diabetes Risk", "$.name"),
        ("$.version", "1.0", "$.version"),
        ("$.task", "prophecy", "$.task"),
        ("$.card", ".hidden", "$.card"),
        (*graph("file", "../model.onnx"), "$.graphs.model.file"),
        (*graph("file", "/etc/passwd"), "$.graphs.model.file"),
        (*graph("file", "golden.npz"), "$.graphs"),
        (*graph("sha256", "ABC"), "$.graphs.model.sha256"),
        (*graph("sha256", "A" * 64), "$.graphs.model.sha256"),
        (*graph("opset", {"": "18"}), "$.graphs.model.opset."),
        (*graph("intra_op_threads", 0), "$.graphs.model.intra_op_threads"),
        (*graph("heavy", 1), "$.graphs.model.heavy"),
        (*graph("precision", "double"), "$.graphs.model.precision"),
        (*graph("tested_on", []), "$.graphs.model.tested_on"),
        (*graph("tested_on", ["tpu"]), "$.graphs.model.tested_on[0]"),
        (*graph("golden.tolerance", 0.1), "$.graphs.model.golden.tolerance"),
        (*graph("golden.tolerance", -1e-9), "$.graphs.model.golden.tolerance"),
        (*graph("inputs", a_tensor(shape=["batch", 6])), "$.graphs.model.inputs"),
        (*graph("inputs", a_tensor(shape=[7, "batch"])), "$.graphs.model.inputs[0].shape"),
        (*graph("inputs", a_tensor(shape=["n", 7])), "$.graphs.model.inputs[0].shape[0]"),
        (*graph("inputs", a_tensor(shape=["batch", 0])), "$.graphs.model.inputs[0].shape[1]"),
        (*graph("inputs", a_tensor(shape=["batch", True])), "$.graphs.model.inputs[0].shape[1]"),
        (*graph("inputs", a_tensor(axes=["person"])), "$.graphs.model.inputs[0].axes"),
        (*graph("inputs", a_tensor(axes=["person", " "])), "$.graphs.model.inputs[0].axes[1]"),
        (*graph("inputs", a_tensor(range=[1, 0])), "$.graphs.model.inputs[0].range"),
        (*graph("inputs", a_tensor(range=[0])), "$.graphs.model.inputs[0].range"),
        (*graph("inputs", a_tensor(range=["0", 1])), "$.graphs.model.inputs[0].range"),
        (*graph("inputs", a_tensor() * 2), "$.graphs.model.inputs"),
        (*graph("outputs", a_tensor(dtype="double")), "$.graphs.model.outputs[0].dtype"),
        ("$.graphs", {"Model": risk_document()["graphs"]["model"]}, "$.graphs.Model"),
        ("$.arrays", {"explain": {"file": "explain.npz"}}, "$.arrays.explain.sha256"),
        ("$.training.minutes", -1, "$.training.minutes"),
        ("$.training.data", [], "$.training.data"),
        ("$.training.seed", 1.5, "$.training.seed"),
        ("$.features", [risk_document()["features"][0]] * 7, "$.features"),
        ("$.features", [risk_document()["features"][0] | {"minimum": 200}], "$.features[0].maximum"),
        ("$.features", [risk_document()["features"][0] | {"look_back_days": 0}], "$.features[0].look_back_days"),
        ("$.variants[0].graph", "lab", "$.variants[0].graph"),
        ("$.variants[0].features", ["age", "height"], "$.variants[0].features"),
        ("$.variants[0].requires", ["height"], "$.variants[0].features"),
        ("$.variants[0].policy.report_from", 0.5, "$.variants[0].policy.warn_from"),
        ("$.variants[0].policy.report_from", 2, "$.variants[0].policy.report_from"),
        ("$.variants[0].conformal.alpha", 0.6, "$.variants[0].conformal.alpha"),
        ("$.variants[0].conformal.positive", 1.1, "$.variants[0].conformal.positive"),
    ],
)
def test_a_contradiction_is_refused_where_it_stands(path, value, named):
    assert any(problem.startswith(f"{named}:") for problem in problems_of(changed(risk_document(), path, value)))


def histogram(**changes):
    whole = {"edges": [1.0, 2.0], "shares": [0.2, 0.3, 0.5], "missing": 0.1} | changes
    return changed(risk_document(), "$.reference.features", {"bmi": whole})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"edges": [2.0, 1.0]}, "edges"),
        ({"edges": [1.0, 1.0]}, "edges"),
        ({"edges": [1.0, "2"]}, "edges[1]"),
        ({"shares": [0.5, 0.5]}, "shares"),
        ({"shares": [0.2, 0.3, 0.4]}, "shares"),
        ({"shares": [-0.2, 0.7, 0.5]}, "shares[0]"),
        ({"shares": [0.2, 0.3, None]}, "shares[2]"),
        ({"missing": 1.5}, "missing"),
    ],
)
def test_a_reference_histogram_that_is_none_is_refused_where_it_stands(change, named):
    problems = problems_of(histogram(**change))
    assert any(problem.startswith(f"$.reference.features.bmi.{named}:") for problem in problems)


def test_a_reference_histogram_is_read():
    found = manifest_of(histogram()).reference.features["bmi"]
    assert (found.edges, found.shares, found.missing) == ((1.0, 2.0), (0.2, 0.3, 0.5), 0.1)


def test_two_graphs_of_one_file_are_refused():
    document = with_graphs("lab", "no_lab")
    assert set(manifest_of(document).graphs) == {"lab", "no_lab"}
    document["graphs"]["lab"]["file"] = "no_lab.onnx"
    assert any(problem.startswith("$.graphs:") for problem in problems_of(document))


def test_a_segmentation_model_needs_a_graph_named_model_that_fits_its_image():
    document = segmentation_document()
    document["graphs"] = {"net": document["graphs"]["model"]}
    assert any("a graph named model" in problem for problem in problems_of(document))
    document = changed(segmentation_document(), "$.image.rows", 32)
    assert any(problem.startswith("$.graphs.model.inputs") for problem in problems_of(document))


def test_every_source_attribute_is_answered_and_silence_is_no_answer():
    assert len(ATTRIBUTES) == 31
    document = changed(risk_document(), f"$.transparency.{ATTRIBUTES[-1].key}", "  ")
    assert problems_of(document) == (f"$.transparency.{ATTRIBUTES[-1].key}: expected a text",)


def test_whether_a_set_was_trained_on_is_told_by_its_digest():
    training = manifest_of(risk_document()).training
    assert training.was_on(NO_DIGEST)
    assert not training.was_on("1" * 64)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400, "1e999"])
def test_a_number_that_no_float_can_hold_is_a_fault_and_no_crash(number):
    data = json.dumps(risk_document()).replace('"minutes": 0', f'"minutes": {number}').encode()
    with pytest.raises(ManifestFault) as caught:
        parse_manifest(data, "some-model")
    assert any(problem.startswith("$.training.minutes:") for problem in caught.value.problems)


def test_a_manifest_of_the_wrong_task_is_refused():
    assert any("$.features" in problem for problem in problems_of(risk_document(task="segmentation")))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"\xff", b'{"schema": 2, "schema": 2}', b'{"schema": NaN}', b"[" * 100_000]
)
def test_what_is_not_strict_json_is_a_fault(data):
    with pytest.raises(ManifestFault) as caught:
        parse_manifest(data, "some-model")
    assert caught.value.category is Category.FAULT
    assert "$" in caught.value.problems[0]


@settings(max_examples=settings.default.max_examples // 2)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: (
            st.dictionaries(st.sampled_from(sorted({key for one in DOCUMENTS.values() for key in one})), inner)
            | st.lists(inner)
        ),
    )
)
def test_any_json_is_a_manifest_or_a_manifest_fault(document):
    with pytest.raises(ManifestFault):
        parse_manifest(json.dumps(document).encode(), "some-model")


@settings(max_examples=settings.default.max_examples // 2)
@given(
    st.sampled_from([(kind, path) for kind, paths in KEYS.items() for path in paths]),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.dictionaries(st.text(max_size=3), inner) | st.lists(inner, max_size=3),
        max_leaves=5,
    ),
)
def test_anything_at_any_key_is_a_manifest_or_a_manifest_fault(key, value):
    kind, path = key
    with contextlib.suppress(ManifestFault):
        assert manifest_of(changed(DOCUMENTS[kind], path, value))


def test_an_absent_file_is_a_fault_that_names_the_model_and_no_path(tmp_path):
    with pytest.raises(ManifestFault, match="some-model") as caught:
        load_manifest(tmp_path / "some-model" / "manifest.json")
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("models/*/manifest.json")), ids=lambda p: p.parent.name
)
def test_every_shipped_manifest_is_valid_and_names_its_folder(path):
    assert load_manifest(path).name == path.parent.name
