import hashlib
import json

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from clinical.errors import Fault, NotFound
from model_export.onnx.gate import npz_bytes
from model_export.testing import onnx_bytes, write_model, write_tiny_risk
from model_runtime.library import Library, single_onnxruntime
from model_runtime.testing import risk_document

RISK = "diabetes-risk"


def alter_manifest(folder, **changes):
    """Change manifest.json as somebody would who knows how digests work."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    for file, part in (("model.onnx", document), ("golden.npz", document["golden"])):
        part["sha256"] = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    path.write_text(json.dumps({**document, **changes}))


def alter_graph(change):
    """Return a tampering that edits the ONNX graph and repairs the digest in the manifest."""

    def tamper(folder):
        model = onnx.load_from_string((folder / "model.onnx").read_bytes())
        change(model)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        alter_manifest(folder)

    return tamper


def flip(file, position):
    def tamper(folder):
        data = bytearray((folder / file).read_bytes())
        data[position] ^= 0x10
        (folder / file).write_bytes(bytes(data))

    return tamper


def write(file, content):
    return lambda folder: (folder / file).write_bytes(content)


def truncate(file):
    return lambda folder: (folder / file).write_bytes((folder / file).read_bytes()[:-9])


def resealed(tamper):
    """Return the tampering with a manifest whose digests fit it."""

    def both(folder):
        tamper(folder)
        alter_manifest(folder)

    return both


def external(model, name="mean"):
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"


def rename_output(model):
    model.graph.output[0].name = model.graph.node[-1].output[0] = "risk"


def golden(**arrays):
    inputs = {"in_features": np.full((1, 7), np.nan), "out_probability": np.array([[0.2]])}
    return resealed(write("golden.npz", npz_bytes({**inputs, **arrays})))


TAMPERINGS = {
    "first byte flipped": flip("model.onnx", 0),
    "middle byte flipped": flip("model.onnx", 200),
    "last byte flipped": flip("model.onnx", -1),
    "truncated": truncate("model.onnx"),
    "one byte longer": lambda folder: write("model.onnx", (folder / "model.onnx").read_bytes() + b"\0")(folder),
    "empty": write("model.onnx", b""),
    "absent": lambda folder: (folder / "model.onnx").unlink(),
    "golden byte flipped": flip("golden.npz", 60),
    "golden truncated": truncate("golden.npz"),
    "golden absent": lambda folder: (folder / "golden.npz").unlink(),
    "truncated, digest repaired": resealed(truncate("model.onnx")),
    "not a model, digest repaired": resealed(write("model.onnx", b"MZ" * 100)),
    "a pickle as golden, digest repaired": resealed(write("golden.npz", b"\x80\x04K\x01.")),
    "golden of another answer": golden(out_probability=np.array([[0.21]])),
    "golden of another shape": golden(out_probability=np.array([0.2])),
    "golden of another type": golden(out_probability=np.array([[0.2]], np.float32)),
    "golden answer is NaN": golden(out_probability=np.array([[np.nan]])),
    "golden input of another shape": golden(in_features=np.zeros((1, 6))),
    "golden with objects": golden(out_probability=np.array([{"a": 1}], object)),
    "a weight changed": alter_graph(
        lambda m: m.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array(90.0), "mean"))
    ),
    "other input width": alter_graph(
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 8)
    ),
    "batch axis fixed": alter_graph(
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 2)
    ),
    "output renamed": alter_graph(rename_output),
    "external data": alter_graph(external),
    "custom operator": alter_graph(lambda m: setattr(m.graph.node[0], "domain", "evil.ops")),
}


def test_an_unaltered_model_passes(models):
    session = Library(models).verify(RISK)
    assert session.manifest.name == RISK


@pytest.mark.parametrize("tamper", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_a_tampered_model_is_refused(models, tamper, monkeypatch):
    # The file that the external data names exists where onnxruntime would look for it.
    (models / "weights.bin").write_bytes(np.array(126.0).tobytes())
    monkeypatch.chdir(models)
    tamper(models / RISK)
    with pytest.raises(Fault, match=RISK):
        Library(models).verify(RISK)


def test_weights_in_another_file_are_refused_even_where_onnxruntime_would_find_them(models, monkeypatch):
    """The digest covers the ONNX file only, so every weight must lie in it."""
    document = risk_document("matrix-risk", opset={"": 17})
    weights = np.full((7, 64), 0.125)  # onnxruntime refuses small tensors for a reason of its own
    nodes = [
        helper.make_node("MatMul", ["features", "weights"], ["wide"]),
        helper.make_node("ReduceMean", ["wide"], ["probability"], axes=[1]),
    ]
    model = onnx.load_from_string(onnx_bytes(nodes, [numpy_helper.from_array(weights, "weights")], document))
    golden = {"in_features": np.ones((1, 7)), "out_probability": np.array([[0.875]])}
    write_model(models, document, model.SerializeToString(), golden)
    assert Library(models).verify("matrix-risk"), "with its weights inside it is a good model"
    for place in (models, models / "matrix-risk"):
        (place / "weights.bin").write_bytes(weights.tobytes())
    monkeypatch.chdir(models)
    alter_graph(lambda m: external(m, "weights"))(models / "matrix-risk")
    with pytest.raises(Fault, match="matrix-risk"):
        Library(models).verify("matrix-risk")


def test_the_other_models_stand_when_one_is_tampered_with(models):
    TAMPERINGS["first byte flipped"](models / RISK)
    assert Library(models).verify("lung-nodule")


def test_a_model_with_a_broken_manifest_is_listed_and_answers_with_its_fault(models):
    (models / RISK / "manifest.json").write_text("{}")
    library = Library(models)
    assert library.names() == (RISK, "lung-nodule")
    with pytest.raises(Fault, match=r"\$\.version"):
        library.manifest(RISK)
    assert library.manifest("lung-nodule")


def test_two_folders_with_one_name_stop_the_start(models):
    (models / RISK).rename(models / "copy")
    write_tiny_risk(models)
    with pytest.raises(Fault, match="two folders"):
        Library(models)


def test_an_absent_folder_stops_the_start(tmp_path):
    with pytest.raises(Fault, match="folder of models"):
        Library(tmp_path / "nowhere")


def test_an_unknown_model_is_not_found(models):
    library = Library(models)
    for ask in (library.manifest, library.verify, library.model_bytes, library.golden):
        with pytest.raises(NotFound):
            ask("palm-reading")


def test_the_card_is_served_from_the_folder(models):
    library = Library(models)
    assert library.card(RISK).startswith("# ")
    (models / RISK / "card.md").unlink()
    with pytest.raises(NotFound):
        library.card(RISK)


def test_two_onnxruntime_distributions_stop_the_start_with_the_fix():
    with pytest.raises(Fault, match=r"pip uninstall -y onnxruntime onnxruntime-gpu .*consilium-cds\[cpu\]"):
        single_onnxruntime(["numpy", "onnxruntime", "ONNXRuntime_GPU"])


def test_one_or_no_onnxruntime_is_named():
    assert single_onnxruntime(["numpy", "onnxruntime-gpu"]) == "onnxruntime-gpu"
    assert single_onnxruntime(["numpy"]) is None
    assert single_onnxruntime() in {"onnxruntime", "onnxruntime-gpu"}
