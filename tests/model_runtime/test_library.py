import base64
import hashlib
import io
import json

import numpy as np
import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import helper, numpy_helper

from clinical.errors import Fault, IncorrectInput, NotFound
from model_export.onnx.gate import npz_bytes
from model_export.testing import onnx_bytes, write_model, write_tiny_risk
from model_runtime.distribution import single_onnxruntime
from model_runtime.library import Library
from model_runtime.signature import public_key
from model_runtime.testing import risk_document

RISK = "diabetes-risk"


def alter_manifest(folder, **changes):
    """Change manifest.json as somebody would who knows how digests work."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    for graph in document["graphs"].values():
        for part in (graph, graph["golden"]):
            part["sha256"] = hashlib.sha256((folder / part["file"]).read_bytes()).hexdigest()
    for part in document["arrays"].values():
        part["sha256"] = hashlib.sha256((folder / part["file"]).read_bytes()).hexdigest()
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


def npy_bytes(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


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
    "golden empty, digest repaired": resealed(write("golden.npz", b"")),
    "golden is a lone array, digest repaired": resealed(write("golden.npz", npy_bytes(np.array([[0.2]])))),
    "golden without the output": resealed(write("golden.npz", npz_bytes({"in_features": np.zeros((1, 7))}))),
    "golden without rows": golden(in_features=np.zeros((0, 7)), out_probability=np.zeros((0, 1))),
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
    assert (session.model, session.graph.name) == (RISK, "model")


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
    document = risk_document("matrix-risk")
    document["graphs"]["model"]["opset"] = {"": 17}
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


TWO = "two-risk"


def test_every_graph_and_every_array_of_a_model_is_verified(models):
    sessions = Library(models).verify_all(TWO)
    assert set(sessions) == {"lab", "no_lab"}
    assert sessions["no_lab"].run({"features": np.array([[40.0]])})["probability"].item() == pytest.approx(0.2)
    assert Library(models).arrays(TWO, "explain")["base"] == pytest.approx([0.2])


@pytest.mark.parametrize("file", ["lab.onnx", "no_lab.onnx", "lab.npz", "no_lab.npz", "explain.npz"])
@pytest.mark.parametrize("tamper", [flip, lambda file, _: truncate(file)], ids=["flipped", "truncated"])
def test_a_digest_covers_every_file_that_the_server_acts_on(models, file, tamper):
    tamper(file, 50)(models / TWO)
    library = Library(models)
    for check in (library.check_files, library.verify_all):
        with pytest.raises(Fault, match=rf"{TWO}: {file} is not the file"):
            check(TWO)


def test_the_other_graph_of_a_model_stands_when_one_is_tampered_with(models):
    flip("lab.onnx", 50)(models / TWO)
    assert Library(models).verify(TWO, graph="no_lab")


def test_a_file_that_holds_no_arrays_is_a_fault(models):
    for content in (b"", b"\x80\x04K\x01.", npy_bytes(np.zeros(2)), npz_bytes({"a": np.zeros(9)})[:-40]):
        resealed(write("explain.npz", content))(models / TWO)
        with pytest.raises(Fault, match="does not hold arrays"):
            Library(models).arrays(TWO, "explain")


def test_arrays_that_the_manifest_does_not_list_are_not_read(models):
    with pytest.raises(Fault, match="no arrays named golden"):
        Library(models).arrays(RISK, "golden")


def test_a_golden_of_another_tensor_is_refused(models):
    document = json.loads((models / TWO / "manifest.json").read_text())
    lab, no_lab = document["graphs"]["lab"], document["graphs"]["no_lab"]
    lab["golden"], no_lab["golden"] = no_lab["golden"], lab["golden"]
    (models / TWO / "manifest.json").write_text(json.dumps(document))
    for graph in ("lab", "no_lab"):
        with pytest.raises(Fault, match="golden"):
            Library(models).verify(TWO, graph=graph)


def new_key():
    """Return a private key and the bytes of its public one."""
    private = Ed25519PrivateKey.generate()
    return private, private.public_key().public_bytes_raw()


def sign_manifest(folder, private):
    signature = private.sign((folder / "manifest.json").read_bytes())
    (folder / "manifest.sig").write_bytes(base64.b64encode(signature) + b"\n")


def test_a_manifest_signed_by_any_trusted_key_is_read(models):
    (private, public), (_, other) = new_key(), new_key()
    sign_manifest(models / RISK, private)
    assert Library(models, [other, public]).verify(RISK)


def other_key(folder):
    sign_manifest(folder, Ed25519PrivateKey.generate())


def signature(change):
    return lambda folder: write("manifest.sig", change((folder / "manifest.sig").read_bytes()))(folder)


def one_bit(data):
    raw = bytearray(base64.b64decode(data))
    raw[40] ^= 1
    return base64.b64encode(raw)


FORGERIES = {
    "no signature": lambda folder: (folder / "manifest.sig").unlink(),
    "signed by another key": other_key,
    "one bit of the signature flipped": signature(one_bit),
    "a shorter signature": signature(lambda data: base64.b64encode(base64.b64decode(data)[:-1])),
    "an empty signature": signature(lambda _: b""),
    "not Base64": signature(lambda _: b"\xff\xfe!"),
    "one bit of the manifest flipped": flip("manifest.json", 5),
    "a blank at the manifest's end": lambda folder: write(
        "manifest.json", (folder / "manifest.json").read_bytes() + b" "
    )(folder),
    "the model replaced, digests repaired": resealed(write("golden.npz", b"")),
    "the manifest of another model": lambda folder: write(
        "manifest.json", (folder.parent / TWO / "manifest.json").read_bytes()
    )(folder),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_where_keys_are_trusted_a_manifest_without_a_good_signature_is_refused(models, forge):
    private, public = new_key()
    for name in (RISK, TWO, "lung-nodule"):
        sign_manifest(models / name, private)
    assert Library(models, [public]).verify(RISK)
    forge(models / RISK)
    library = Library(models, [public])
    with pytest.raises(Fault, match="not signed by a trusted key"):
        library.manifest(RISK)
    assert library.verify("lung-nodule"), "the others stand"


def test_where_no_key_is_trusted_a_signature_is_not_asked_for(models):
    assert not (models / RISK / "manifest.sig").exists()
    assert Library(models).manifest(RISK)


@pytest.mark.parametrize("text", ["", "abc", "é" * 44, "A" * 40, base64.b64encode(b"x" * 33).decode()])
def test_a_key_that_is_none_is_refused_without_being_shown(text):
    with pytest.raises(IncorrectInput) as caught:
        public_key(text)
    assert not text or text not in caught.value.message


def test_a_key_is_read_from_its_base64_text():
    _, public = new_key()
    assert public_key(f" {base64.b64encode(public).decode()}\n") == public


def test_the_other_models_stand_when_one_is_tampered_with(models):
    TAMPERINGS["first byte flipped"](models / RISK)
    assert Library(models).verify("lung-nodule")


def test_a_model_with_a_broken_manifest_is_listed_and_answers_with_its_fault(models):
    (models / RISK / "manifest.json").write_text("{}")
    library = Library(models)
    assert library.names() == (RISK, "lung-nodule", TWO)
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
