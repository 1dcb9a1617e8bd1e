import dataclasses
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_export.onnx.gate import (
    MAX_FOLDER_BYTES,
    TREES,
    Candidate,
    ExportRefused,
    Limits,
    release,
    tabular_rows,
)
from model_export.testing import tiny_risk_onnx
from model_runtime.library import Library
from model_runtime.testing import risk_document

LOW, HIGH = np.zeros(7), np.full(7, 200.0)
OPTIONAL = np.array([False, False, True, True, True, True, True])
FILLED_BY_THE_GATE = ("file", "sha256", "opset", "inputs", "outputs", "golden", "card")


def trainer(rows):
    """What the tiny risk model is meant to compute, in numpy."""
    glucose = rows["features"][:, 6:7]
    known = 1 / (1 + np.exp(-(glucose - 126) / 20))
    return {"probability": np.where(np.isnan(glucose), 0.2, known)}


def candidate(**changes):
    document = {key: value for key, value in risk_document().items() if key not in FILLED_BY_THE_GATE}
    known = np.full((16, 7), 130.0)
    whole = Candidate(
        document=document,
        model=onnx.load_from_string(tiny_risk_onnx()),
        card="# A card\n",
        reference=trainer,
        rows={"features": tabular_rows(LOW, HIGH, OPTIONAL, known, seed=1, count=256)},
        limits=TREES,
        output="probability",
        thresholds=(0.2001, 0.4),
    )
    return dataclasses.replace(whole, **changes)


def with_graph(change):
    """Return a candidate whose graph was changed."""
    model = onnx.load_from_string(tiny_risk_onnx())
    change(model)
    return candidate(model=model)


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


CORRUPTIONS = {
    "external data": (external, "external data"),
    "custom operator": (insert("Mystery", domain="my.ops"), "custom domain 'my.ops'"),
    "Tile": (insert("Tile"), "Tile chain"),
    "Erfc": (insert("Erfc"), "1 - Erf"),
    "Loop": (loop, "recurrent"),
    "operator that does not exist": (insert("Sigmund"), "onnx.checker"),
    "dangling input": (lambda m: m.graph.node[0].input.__setitem__(0, "nothing"), "onnx.checker"),
    "batch axis of the input has a name of its own": (set_axis("input", 0, "unk__300"), "named 'batch'"),
    "batch axis of the output is fixed": (set_axis("output", 0, 1), "named 'batch'"),
    "another axis is free": (set_axis("input", 1, "features"), "no fixed length"),
    "the axis is one too long": (set_axis("input", 1, 8), r"\$\.inputs"),
    "a weight is off by 1e-9": (set_weight(2, "width", 20.0 + 1e-9), "differs from the trainer"),
    "the base is off by 1e-9": (set_weight(3, "base", 0.2 + 1e-9), "differs from the trainer"),
    "NaN comes out": (set_weight(3, "base", np.nan), "not a finite number"),
    "wrong axis in the file's code": (set_weight(0, "last", [5]), "differs from the trainer"),
    "the index is out of reach": (set_weight(0, "last", [9]), "refuses|failed|onnx.checker"),
}


def test_a_good_model_is_written_with_manifest_golden_and_card(tmp_path):
    folder, parity = release(candidate(), tmp_path)
    assert {file.name for file in folder.iterdir()} == {"model.onnx", "manifest.json", "golden.npz", "card.md"}
    assert parity.rows >= 256
    assert parity.difference <= 1e-12
    session = Library(tmp_path).verify("diabetes-risk")
    assert session.manifest.inputs[0].shape == ("batch", 7)
    assert [path.name for path in tmp_path.iterdir()] == ["diabetes-risk"]


def test_the_file_itself_says_which_model_it_is(tmp_path):
    folder, _ = release(candidate(), tmp_path)
    props = {p.key: p.value for p in onnx.load(folder / "model.onnx").metadata_props}
    assert (props["name"], props["version"]) == ("diabetes-risk", "0.1.0")
    assert json.loads(props["thresholds"]) == [0.2001, 0.4]


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


REFUSED = {
    "too few rows": ({"rows": {"features": np.full((255, 7), 100.0)}}, "255 rows"),
    "a decision flips": ({"reference": flipped, "thresholds": (0.2,)}, "decisions change side"),
    "the trainer answers NaN": (
        {"reference": lambda rows: {"probability": rows["features"][:, :1] * np.nan}},
        "nan",
    ),
    "the trainer has another shape": ({"reference": shifted}, "trainer's shape"),
    "the trainer has another output": ({"reference": lambda _: {"p": np.zeros(1)}}, "trainer's shape"),
    "an input is not fed": (
        {"rows": {"other": np.zeros((256, 7))}, "reference": lambda rows: {"probability": rows["other"][:, :1]}},
        "no input 'other'",
    ),
    "float32 rows": ({"rows": {"features": np.zeros((256, 7), np.float32)}}, "must be an array of float64"),
    "the manifest is incomplete": ({"document": {**risk_document(), "policy": {}}}, r"\$\.policy\.report_from"),
    "the manifest holds NaN": ({"document": {**risk_document(), "metrics": {"auroc": float("nan")}}}, "JSON"),
    "the folder is too large": ({"card": "x" * (MAX_FOLDER_BYTES + 1)}, "MB; the limit"),
}


@pytest.mark.parametrize(("change", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_agree_with_the_trainer_is_refused_and_nothing_is_written(tmp_path, change, reason):
    with pytest.raises(ExportRefused, match=reason):
        release(candidate(**change), tmp_path)
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
    release(candidate(card="# Another card\n"), tmp_path)
    assert Library(tmp_path).card("diabetes-risk") == "# Another card\n"
    assert not (tmp_path / "diabetes-risk" / "left-over.txt").exists()


def test_every_batch_length_of_1_3_and_8_is_compared(tmp_path):
    lengths = []

    def counting(rows):
        lengths.append(len(rows["features"]))
        return trainer(rows)

    whole = candidate(reference=counting, limits=Limits(1e-12, 16))
    release(whole, tmp_path)
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
