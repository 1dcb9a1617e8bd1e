import dataclasses
import hashlib
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from clinical.errors import Fault
from model_export.onnx.gate import (
    MAX_FOLDER_BYTES,
    TREES,
    Candidate,
    ExportRefused,
    GraphCandidate,
    Limits,
    release,
    tabular_rows,
)
from model_export.testing import tiny_risk_onnx
from model_runtime.library import Library
from model_runtime.testing import DIABETES_FEATURES, risk_document

NAMES = [feature[0] for feature in DIABETES_FEATURES]
LOW, HIGH = (np.array([feature[end] for feature in DIABETES_FEATURES], float) for end in (4, 5))
OPTIONAL = ~np.array([feature[3] for feature in DIABETES_FEATURES])
FILLED_BY_THE_GATE = ("graphs", "arrays", "card")
TENSORS = {
    "features": {"axes": ["person", "feature"], "unit": "", "range": [None, None]},
    "probability": {"axes": ["person", "class"], "unit": "1", "range": [0, 1]},
}


def trainer(rows):
    """What the tiny risk model is meant to compute, in numpy."""
    glucose = rows["features"][:, 6:7]
    known = 1 / (1 + np.exp(-(glucose - 126) / 20))
    return {"probability": np.where(np.isnan(glucose), 0.2, known)}


def rows_to_compare():
    known = np.full((16, 7), 130.0)
    return tabular_rows(LOW, HIGH, OPTIONAL, known, seed=1, count=400)


def document(**changes):
    """Return what a recipe says; its policy begins at 0.2001, beside the answer for who has no glucose."""
    whole = {key: value for key, value in risk_document().items() if key not in FILLED_BY_THE_GATE}
    policy = {"report_from": 0.2001, "warn_from": 0.4, "rule": "chosen for tests"}
    whole["variants"] = [whole["variants"][0] | {"policy": policy}]
    return whole | changes


def graph_candidate(**changes):
    whole = GraphCandidate(
        model=onnx.load_from_string(tiny_risk_onnx()),
        reference=trainer,
        rows={"features": rows_to_compare()},
        limits=TREES,
        output="probability",
        thresholds=(0.2001, 0.4),
        tensors=TENSORS,
        precision="float64",
    )
    return dataclasses.replace(whole, **changes)


def candidate(graph=None, **changes):
    whole = Candidate(
        document=document(), graphs={"model": graph or graph_candidate()}, card=lambda _: "# A card\n"
    )
    return dataclasses.replace(whole, **changes)


def with_graph(change):
    """Return a candidate whose graph was changed."""
    model = onnx.load_from_string(tiny_risk_onnx())
    change(model)
    return candidate(graph_candidate(model=model))


def insert(op_type, domain="", **attributes):
    """Return a change that puts an operator in front of the first node."""

    def change(model):
        node = helper.make_node(op_type, ["features"], ["before"], domain=domain, **attributes)
        model.graph.node.insert(0, node)

    return change


def set_axis(boundary, axis, name):
    def change(model):
        dimension = getattr(model.graph, boundary)[0].type.tensor_type.shape.dim[axis]
        dimension.Clear()
        if isinstance(name, int):
            dimension.dim_value = name
        else:
            dimension.dim_param = name

    return change


def set_weight(index, name, value):
    return lambda model: model.graph.initializer[index].CopyFrom(numpy_helper.from_array(np.array(value), name))


def external(model):
    tensor = model.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"


def loop(model):
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("d", TensorProto.BOOL, [])],
    )
    model.graph.node.insert(0, helper.make_node("Loop", ["", ""], [], body=body))


def scan(model):
    body = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [7])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [7])],
    )
    node = helper.make_node("Scan", ["features"], ["scanned"], body=body, num_scan_inputs=1)
    model.graph.node.insert(0, node)


def nested_tile(model):
    """A Tile inside the branch of an If."""
    branch = helper.make_graph(
        [helper.make_node("Tile", ["features", "last"], ["tiled"])],
        "branch",
        [],
        [helper.make_tensor_value_info("tiled", TensorProto.DOUBLE, None)],
    )
    model.graph.node.insert(0, helper.make_node("If", ["yes"], ["either"], then_branch=branch, else_branch=branch))


def function(model):
    model.functions.append(
        helper.make_function("my.ops", "F", ["x"], ["y"], [helper.make_node("Identity", ["x"], ["y"])], [])
    )


def not_of_this_runtime(model):
    """Tan of float64 is valid ONNX for which onnxruntime has no kernel."""
    model.graph.node.insert(0, helper.make_node("Tan", ["features"], ["tangent"]))
    model.graph.node[1].input[0] = "tangent"


def future_opset(model):
    model.opset_import[0].version = 9_999


def of_two(model):
    """A second output that the trainer does not have."""
    model.graph.node.append(helper.make_node("Neg", ["probability"], ["other"]))
    model.graph.output.append(helper.make_tensor_value_info("other", TensorProto.DOUBLE, ["batch", 1]))


CORRUPTIONS = {
    "external data": (external, "external data"),
    "custom operator": (insert("Mystery", domain="my.ops"), "custom domain 'my.ops'"),
    "Tile": (insert("Tile"), "Tile chain"),
    "Erfc": (insert("Erfc"), "1 - Erf"),
    "Loop": (loop, "Loop: a recurrent"),
    "Scan": (scan, "Scan: a recurrent"),
    "Tile inside a branch": (nested_tile, "Tile chain"),
    "a function of its own": (function, "functions"),
    "an operator that onnxruntime does not have for this type": (not_of_this_runtime, "onnxruntime refuses"),
    "an opset that does not exist yet": (future_opset, "onnx.checker|onnxruntime refuses"),
    "an output that the recipe says nothing of": (of_two, "axes of 'other'"),
    "a type that the server does not carry": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING),
        "does not carry",
    ),
    "operator that does not exist": (insert("Sigmund"), "onnx.checker"),
    "dangling input": (lambda m: m.graph.node[0].input.__setitem__(0, "nothing"), "onnx.checker"),
    "batch axis of the input has a name of its own": (set_axis("input", 0, "unk__300"), "named 'batch'"),
    "batch axis of the output is fixed": (set_axis("output", 0, 1), "named 'batch'"),
    "another axis is free": (set_axis("input", 1, "features"), "no fixed length"),
    "the axis is one too long": (set_axis("input", 1, 8), r"\$\.graphs\.model\.inputs"),
    "a weight is off by 1e-9": (set_weight(2, "width", 20.0 + 1e-9), "differs from the trainer"),
    "the base is off by 1e-9": (set_weight(3, "base", 0.2 + 1e-9), "differs from the trainer"),
    "NaN comes out": (set_weight(3, "base", np.nan), "not a finite number"),
    "wrong axis in the file's code": (set_weight(0, "last", [5]), "differs from the trainer"),
    "the index is out of reach": (set_weight(0, "last", [9]), "refuses|failed|onnx.checker"),
}


def test_a_good_model_is_written_with_manifest_golden_and_card(tmp_path):
    folder, parity = release(candidate(), tmp_path)
    assert {file.name for file in folder.iterdir()} == {"model.onnx", "manifest.json", "golden.npz", "card.md"}
    assert parity["model"].rows >= 256
    assert parity["model"].difference <= 1e-12
    assert parity["model"].flips == 0
    session = Library(tmp_path).verify("diabetes-risk")
    assert session.graph.inputs[0].shape == ("batch", 7)
    assert (session.graph.precision, dict(session.graph.opset)) == ("float64", {"": 18})
    assert [path.name for path in tmp_path.iterdir()] == ["diabetes-risk"]


def test_the_file_itself_says_which_model_it_is(tmp_path):
    folder, _ = release(candidate(), tmp_path)
    props = {p.key: p.value for p in onnx.load(folder / "model.onnx").metadata_props}
    assert (props["name"], props["version"], props["graph"]) == ("diabetes-risk", "0.1.0", "model")
    assert json.loads(props["thresholds"]) == [0.2001, 0.4]
    assert json.loads(props["data_sha256"]) == {"none": "0" * 64}
    assert props["not_for"] == "Anything else."


def test_the_manifest_holds_the_digest_of_every_file_that_the_server_acts_on(tmp_path):
    folder, _ = release(candidate(arrays={"explain": {"base": np.array([0.2])}}), tmp_path)
    manifest = Library(tmp_path).manifest("diabetes-risk")
    graph = manifest.graph("model")
    digests = {graph.file: graph.sha256, graph.golden.file: graph.golden.sha256}
    digests |= {spec.file: spec.sha256 for spec in manifest.arrays.values()}
    assert set(digests) == {"model.onnx", "golden.npz", "explain.npz"}
    for file, digest in digests.items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
        (folder / file).write_bytes(b"")
        with pytest.raises(Fault, match=f"{file} is not the file"):
            Library(tmp_path).check_files("diabetes-risk")
        release(candidate(arrays={"explain": {"base": np.array([0.2])}}), tmp_path)


def test_the_card_is_written_from_the_complete_manifest_and_plots_lie_beside_it(tmp_path):
    def card(whole):
        return f"{whole['graphs']['model']['sha256']} {whole['card']}"

    folder, _ = release(candidate(card=card, extra={"plots/roc.png": b"PNG"}), tmp_path)
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert (folder / "card.md").read_text() == f"{digest} card.md"
    assert (folder / "plots" / "roc.png").read_bytes() == b"PNG"


def two_graphs(**changes):
    """A candidate of two graphs, the second of which may be changed."""
    variant = document()["variants"][0]
    variants = [variant | {"graph": "lab"}, variant | {"graph": "no_lab"}]
    graphs = {"lab": graph_candidate(), "no_lab": graph_candidate(**changes)}
    return candidate(document=document(variants=variants), graphs=graphs)


def test_each_graph_of_a_model_has_a_file_and_a_golden_of_its_own(tmp_path):
    folder, parity = release(two_graphs(), tmp_path)
    files = {"lab.onnx", "no_lab.onnx", "lab_golden.npz", "no_lab_golden.npz", "manifest.json", "card.md"}
    assert {file.name for file in folder.iterdir()} == files
    assert set(parity) == {"lab", "no_lab"}
    assert set(Library(tmp_path).verify_all("diabetes-risk")) == {"lab", "no_lab"}


def test_one_bad_graph_holds_back_the_whole_model(tmp_path):
    with pytest.raises(ExportRefused, match="no_lab differs from the trainer"):
        release(two_graphs(reference=lambda rows: {"probability": trainer(rows)["probability"] + 1e-9}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_golden_rows_are_edges_and_no_person(tmp_path):
    release(candidate(), tmp_path)
    golden = Library(tmp_path).golden("diabetes-risk").inputs["features"]
    assert np.isnan(golden).any()
    assert not (golden == 130.0).all(axis=1).any()


@pytest.mark.parametrize(("change", "reason"), CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def test_a_corrupted_graph_is_refused_and_nothing_is_written(tmp_path, change, reason):
    with pytest.raises(ExportRefused, match=reason):
        release(with_graph(change), tmp_path)
    assert list(tmp_path.iterdir()) == []


def flipped(rows):
    """The trainer, if it disagreed by less than the tolerance but on the other side of the threshold."""
    outputs = trainer(rows)
    return {"probability": outputs["probability"] - 1e-14}


def shifted(rows):
    return {"probability": trainer(rows)["probability"][:, 0]}


def moody():
    """A trainer that answers otherwise the second time it is asked."""
    asked = []

    def reference(rows):
        asked.append(rows)
        return {"probability": trainer(rows)["probability"] + (0.1 if len(asked) == 1 else 0.0)}

    return reference


def single(rows):
    """The trainer, if it answered in float32: the golden file would not be what the graph gives."""
    return {"probability": trainer(rows)["probability"].astype(np.float32)}


def without(wanted):
    """Return rows to compare from which some were taken."""
    rows = rows_to_compare()
    return {"rows": {"features": rows[~wanted(rows)]}}


AT_20 = {"report_from": 0.2, "warn_from": 0.4, "rule": "chosen for tests"}
GRAPH_REFUSED = {
    "too few rows": ({"rows": {"features": rows_to_compare()[:255]}}, "255 rows"),
    "no row without BMI": (without(lambda rows: np.isnan(rows[:, 2])), "no row to compare has bmi missing"),
    "no row at the lowest age": (without(lambda rows: rows[:, 0] == 18), "has age at its minimum"),
    "no row at the highest age": (without(lambda rows: rows[:, 0] == 120), "has age at its maximum"),
    "no row with a sex that training never saw": (
        without(lambda rows: ~((rows[:, 1] >= 0) & (rows[:, 1] <= 1))),
        "has sex_male .*beyond its range",
    ),
    "no decision is compared at the card's threshold": ({"thresholds": (0.2001,)}, "compared at 0.4"),
    "the trainer answers NaN": (
        {"reference": lambda rows: {"probability": rows["features"][:, :1] * np.nan}},
        "nan",
    ),
    "the trainer has another shape": ({"reference": shifted}, "trainer's shape"),
    "the trainer has another output": ({"reference": lambda _: {"p": np.zeros(1)}}, "trainer's shape"),
    "the trainer has another type": ({"reference": single, "limits": Limits(1e-6, 256)}, "shape or type"),
    "the golden output is not what was compared": ({"reference": moody()}, "golden output 'probability'"),
    "no golden row is stored": ({"golden_rows": 0}, "golden file"),
    "an input is not fed": (
        {"rows": {"other": np.zeros((256, 7))}, "reference": lambda rows: {"probability": rows["other"][:, :1]}},
        "no input 'other'",
    ),
    "float32 rows": (
        {"rows": {"features": rows_to_compare().astype(np.float32)}},
        "must be an array of float64",
    ),
    "no words for the axes of an input": (
        {"tensors": {"probability": TENSORS["probability"]}},
        "axes of 'features'",
    ),
    "a word too few for the axes": (
        {"tensors": TENSORS | {"features": {**TENSORS["features"], "axes": ["person"]}}},
        r"\$\.graphs\.model\.inputs\[0\]\.axes",
    ),
    "no unit": (
        {"tensors": TENSORS | {"features": {"axes": ["person", "feature"], "range": [None, None]}}},
        r"inputs\[0\]\.unit",
    ),
    "a precision that is none": ({"precision": "double"}, r"\$\.graphs\.model\.precision"),
}
REFUSED = {
    **{name: (graph_candidate(**change), {}, reason) for name, (change, reason) in GRAPH_REFUSED.items()},
    "a decision flips": (
        graph_candidate(reference=flipped, thresholds=(0.2, 0.4)),
        {"document": document(variants=[document()["variants"][0] | {"policy": AT_20}])},
        "decisions change side",
    ),
    "the manifest is incomplete": (None, {"document": document(title=None)}, r"\$\.title"),
    "the manifest has no version": (
        None,
        {"document": {key: value for key, value in document().items() if key != "version"}},
        "lacks name, version",
    ),
    "the data has no digest": (
        None,
        {"document": document(training={**document()["training"], "data": [{"name": "nhanes"}]})},
        "digests of training.data",
    ),
    "an attribute has no answer": (None, {"document": document(transparency={})}, r"\$\.transparency\.developer"),
    "the manifest holds NaN": (None, {"document": document(metrics={"auroc": float("nan")})}, "JSON"),
    "no graph": (None, {"graphs": {}}, r"\$\.graphs"),
    "a graph that is no name": (None, {"graphs": {"My Graph": graph_candidate()}}, r"\$\.graphs\.My Graph"),
    "arrays in the golden's place": (None, {"arrays": {"golden": {"a": np.zeros(1)}}}, "sha256 differs"),
    "a plot in the model's place": (None, {"extra": {"model.onnx": b""}}, "sha256 differs"),
    "arrays that are objects": (None, {"arrays": {"explain": {"a": np.array([{}])}}}, "does not hold arrays"),
    "the folder is too large": (None, {"card": lambda _: "x" * (MAX_FOLDER_BYTES + 1)}, "MB; the limit"),
}


@pytest.mark.parametrize(("graph", "change", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_agree_with_the_trainer_is_refused_and_nothing_is_written(tmp_path, graph, change, reason):
    with pytest.raises(ExportRefused, match=reason):
        release(candidate(graph, **change), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_leaves_the_older_model_in_place(tmp_path):
    release(candidate(), tmp_path)
    before = (tmp_path / "diabetes-risk" / "model.onnx").read_bytes()
    with pytest.raises(ExportRefused):
        release(with_graph(set_weight(3, "base", 0.3)), tmp_path)
    assert (tmp_path / "diabetes-risk" / "model.onnx").read_bytes() == before


def test_a_new_version_replaces_the_older_folder(tmp_path):
    release(candidate(), tmp_path)
    (tmp_path / "diabetes-risk" / "left-over.txt").write_text("old")
    release(candidate(card=lambda _: "# Another card\n"), tmp_path)
    assert Library(tmp_path).card("diabetes-risk") == "# Another card\n"
    assert not (tmp_path / "diabetes-risk" / "left-over.txt").exists()


def test_every_batch_length_of_1_3_and_8_is_compared(tmp_path):
    lengths = []

    def counting(rows):
        lengths.append(len(rows["features"]))
        return trainer(rows)

    whole = graph_candidate(reference=counting)
    release(candidate(whole), tmp_path)
    assert {1, 3, 8} <= set(lengths)
    compared = sum(lengths) - whole.golden_rows
    assert compared == len(whole.rows["features"])


def test_tabular_rows_hold_every_edge():
    rows = tabular_rows(LOW, HIGH, OPTIONAL, np.empty((0, 7)), seed=1, count=50)
    assert (rows == LOW).all(axis=1).any()
    assert (rows == HIGH).all(axis=1).any()
    assert (np.isnan(rows) == OPTIONAL).all(axis=1).any(), "everything optional missing at once"
    for column in np.flatnonzero(OPTIONAL):
        alone = np.arange(7) == column
        assert (np.isnan(rows) == alone).all(axis=1).any(), "each optional one missing alone"
    assert not np.isnan(rows[:, ~OPTIONAL]).any()
