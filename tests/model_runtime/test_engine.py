import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from clinical.errors import Busy, Fault, IncorrectInput, NotFound
from model_export.testing import onnx_bytes, write_model
from model_runtime import session as session_module
from model_runtime.engine import LocalEngine, Placement, Policy, State
from model_runtime.library import Library
from model_runtime.session import Device
from model_runtime.testing import (
    CannedEngine,
    Slow,
    manifest_of,
    risk_document,
)
from model_runtime.turns import MAX_WAITING

RISK, NODULE, TWO = "diabetes-risk", "lung-nodule", "two-risk"
ANSWER = {"probability": np.array([[0.3]])}


class SlowLibrary(Library):
    """Counts verifications, each of which takes a while; runs of what it opens can be held up."""

    opened = 0
    gate = None
    entered = threading.Event()  # a run has the turn

    def verify(self, name, device=Device.CPU, graph="model"):
        SlowLibrary.opened += 1
        time.sleep(0.02)
        session = super().verify(name, device, graph)
        if self.gate is not None:
            run = session.run
            session.run = lambda inputs: (self.entered.set(), self.gate.wait(60), run(inputs))[2]
        return session


@pytest.fixture
def engine(models):
    return LocalEngine(Library(models))


def test_a_model_answers_with_its_outputs_by_name(engine, one_row):
    assert engine.run(RISK, one_row)["probability"] == pytest.approx(np.array([[0.5]]))


def test_a_segmentation_model_answers_for_the_whole_batch(engine):
    image = np.full((3, 16, 16, 1), 0.25, np.float32)
    assert engine.run(NODULE, {"image": image})["probability"].shape == (3, 16, 16, 1)


def test_nothing_is_loaded_before_it_is_asked_for(engine, one_row):
    assert {state.state for state in engine.ready()} == {State.UNTRIED}
    engine.run(RISK, one_row)
    assert [(s.name, s.state, s.device) for s in engine.ready()] == [
        (RISK, State.READY, Device.CPU),
        (NODULE, State.UNTRIED, None),
        (TWO, State.UNTRIED, None),
    ]


def test_each_graph_of_a_model_answers_for_itself(engine, one_row):
    assert engine.run(TWO, one_row, graph="lab")["probability"].item() == pytest.approx(0.5)
    assert engine.run(TWO, {"features": np.array([[60.0]])}, graph="no_lab")["probability"].item() == 0.3


def test_a_graph_that_a_model_does_not_have_is_our_fault(engine, one_row):
    with pytest.raises(Fault, match="no graph named model"):
        engine.run(TWO, one_row)


def test_a_web_process_loads_no_heavy_graph(engine):
    """lung-nodule is an imaging network: workers load it, web processes never."""
    assert [engine.warm(name, heavy=False).state for name in (RISK, NODULE, TWO)] == [
        State.READY,
        State.UNTRIED,
        State.READY,
    ]
    assert engine.warm(NODULE).state is State.READY


def test_the_light_graphs_of_a_model_with_a_heavy_one_are_ready_without_it(models):
    manifest = json.loads((models / TWO / "manifest.json").read_text())
    manifest["graphs"]["lab"]["heavy"] = True
    (models / TWO / "manifest.json").write_text(json.dumps(manifest))
    (models / TWO / "lab.onnx").write_bytes(b"would be a fault if it were read")
    engine = LocalEngine(Library(models))
    assert engine.warm(TWO, heavy=False).state is State.READY
    assert engine.warm(TWO).state is State.BROKEN


def test_a_model_with_one_broken_graph_is_broken_in_the_report_and_its_other_graph_answers(models, one_row):
    (models / TWO / "lab.onnx").write_bytes(b"")
    engine = LocalEngine(Library(models))
    state = engine.warm(TWO)
    assert state.state is State.BROKEN
    assert "lab.onnx" in state.problem
    assert engine.run(TWO, {"features": np.array([[60.0]])}, graph="no_lab")["probability"].item() == 0.3
    with pytest.raises(Fault, match=r"lab\.onnx"):
        engine.run(TWO, one_row, graph="lab")


def test_the_digests_of_all_files_are_compared_without_loading_any(models):
    (models / TWO / "explain.npz").write_bytes(b"")
    engine = LocalEngine(Library(models))
    assert engine.check_files(RISK).state is State.UNTRIED
    assert (engine.check_files(TWO).state, engine.check_files(TWO).device) == (State.BROKEN, None)


def test_arrays_that_explain_a_model_are_read_once_and_cannot_be_replaced(models):
    engine = LocalEngine(Library(models))
    arrays = engine.arrays(TWO, "explain")
    (models / TWO / "explain.npz").unlink()
    assert engine.arrays(TWO, "explain") is arrays
    with pytest.raises(TypeError):
        arrays["base"] = np.array([0.9])
    with pytest.raises(ValueError, match="read-only"):
        arrays["base"][0] = 0.9


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "needs the input 'features'"),
        ({"features": np.zeros((1, 6))}, "'features' must have the shape"),
        ({"features": np.zeros(7)}, "'features' must have the shape"),
        ({"features": np.zeros((0, 7))}, "'features' must have the shape"),
        ({"features": np.zeros((1, 7), np.float32)}, "'features' must be an array of float64"),
        ({"features": np.zeros((1, 7)), "race": np.zeros((1, 1))}, "no input 'race'"),
    ],
)
def test_an_input_that_does_not_fit_is_named_and_its_values_are_not(engine, inputs, words):
    with pytest.raises(IncorrectInput, match=words):
        engine.run(RISK, inputs)


def test_an_unknown_model_is_not_found_and_leaves_no_trace(engine, one_row):
    with pytest.raises(NotFound):
        engine.run("palm-reading", one_row)
    assert {state.name for state in engine.ready()} == {RISK, NODULE, TWO}


def test_a_broken_model_is_a_fault_of_that_model_only(models, one_row):
    (models / NODULE / "model.onnx").write_bytes(b"")
    engine = LocalEngine(Library(models))
    for _ in range(2):
        with pytest.raises(Fault, match=NODULE):
            engine.run(NODULE, {"image": np.zeros((1, 16, 16, 1), np.float32)})
    assert engine.run(RISK, one_row)
    states = {state.name: state for state in engine.ready()}
    assert states[NODULE].state is State.BROKEN
    assert "sha256" in states[NODULE].problem
    assert states[RISK].state is State.READY


def test_a_model_with_a_broken_manifest_is_broken_in_the_report(models):
    (models / RISK / "manifest.json").write_text("{}")
    states = {state.name: state for state in LocalEngine(Library(models)).ready()}
    assert (states[RISK].state, states[RISK].version) == (State.BROKEN, None)


def test_warming_a_broken_model_reports_and_does_not_raise(models):
    (models / NODULE / "golden.npz").unlink()
    engine = LocalEngine(Library(models))
    assert engine.warm(NODULE).state is State.BROKEN
    assert engine.warm(RISK).state is State.READY


def test_a_result_that_is_not_a_number_is_a_fault_and_never_an_answer(models):
    square_root = helper.make_node("Sqrt", ["features"], ["roots"])
    total = helper.make_node("ReduceSumSquare", ["roots"], ["probability"], axes=[1], keepdims=1)
    document = risk_document("root-risk")
    document["graphs"]["model"]["opset"] = {"": 17}
    golden = {"in_features": np.ones((1, 7)), "out_probability": np.array([[7.0]])}
    write_model(models, document, onnx_bytes([square_root, total], [], document), golden)
    with pytest.raises(Fault, match="not a finite number") as caught:
        LocalEngine(Library(models)).run("root-risk", {"features": np.full((1, 7), -4711.0)})
    assert "4711" not in str(caught.value)


def test_a_failing_run_is_a_fault_without_the_values_that_made_it_fail(models):
    document = risk_document("row-risk")
    nodes = [
        helper.make_node("Cast", ["features"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Gather", ["whole", "first"], ["index"], axis=1),
        helper.make_node("Gather", ["table", "index"], ["probability"]),
    ]
    values = {"first": np.array([0]), "table": np.array([0.5, 0.6])}
    initializers = [numpy_helper.from_array(value, name) for name, value in values.items()]
    golden = {"in_features": np.zeros((1, 7)), "out_probability": np.array([[0.5]])}
    write_model(models, document, onnx_bytes(nodes, initializers, document), golden)
    with pytest.raises(Fault, match="failed while running") as caught:
        LocalEngine(Library(models)).run("row-risk", {"features": np.full((1, 7), 4711.0)})
    assert "4711" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_sixteen_threads_open_one_session(models, one_row):
    SlowLibrary.opened = 0
    engine = LocalEngine(SlowLibrary(models))
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda _: engine.run(RISK, one_row)["probability"].item(), range(64)))
    assert SlowLibrary.opened == 1
    assert results == [0.5] * 64


def held_engine(models, monkeypatch):
    """An engine with one turn per model; an event that is set once a run has it, and one that runs wait for."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    library = SlowLibrary(models)
    engine = LocalEngine(library)
    library.gate, library.entered = threading.Event(), threading.Event()
    engine.warm(RISK)
    return engine, library.entered, library.gate


def test_a_caller_that_gets_no_turn_in_time_is_told_busy(models, one_row, monkeypatch):
    engine, entered, gate = held_engine(models, monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(engine.run, RISK, one_row)
        assert entered.wait(60)
        with pytest.raises(Busy):  # while the first run still has the turn
            engine.run(RISK, one_row, timeout_s=0.05)
        gate.set()
        assert running.result()["probability"].item() == 0.5
    assert engine.run(RISK, one_row, timeout_s=60.0)["probability"].item() == 0.5


def test_the_queue_of_a_model_is_bounded(models, one_row, monkeypatch):
    engine, _, gate = held_engine(models, monkeypatch)

    def outcome(_):
        try:
            return engine.run(RISK, one_row)["probability"].item()
        except Busy:
            return "busy"

    with ThreadPoolExecutor(MAX_WAITING + 3) as pool:
        pending = [pool.submit(outcome, n) for n in range(MAX_WAITING + 3)]
        assert wait(pending, 60, FIRST_COMPLETED).done  # refused, for nobody is answered before the gate opens
        gate.set()
        results = [future.result() for future in pending]
    assert results.count("busy") >= 1
    assert results.count(0.5) >= MAX_WAITING


def test_asking_for_cuda_where_there_is_none_is_refused_and_not_silently_the_cpu(models):
    engine = LocalEngine(Library(models), Placement(Policy.CUDA, cpu_fallback=False))
    if engine.warm(RISK).device is Device.CUDA:
        return
    assert engine.warm(RISK).state is State.BROKEN


@pytest.mark.parametrize(("policy", "fallback"), [(Policy.CUDA, True), (Policy.AUTO, False)])
def test_the_cpu_answers_when_that_is_permitted(models, one_row, policy, fallback):
    engine = LocalEngine(Library(models), Placement(policy, fallback))
    found = engine.run(RISK, one_row)
    assert found["probability"].item() == pytest.approx(0.5)
    state = engine.warm(RISK)
    assert state.device is found.device
    assert state.degraded == found.degraded == (policy is Policy.CUDA and found.device is Device.CPU)


def test_forgetting_sessions_means_verifying_again(models, one_row):
    SlowLibrary.opened = 0
    engine = LocalEngine(SlowLibrary(models))
    engine.run(RISK, one_row)
    engine.forget_sessions()
    engine.run(RISK, one_row)
    assert SlowLibrary.opened == 2


def test_a_missing_onnxruntime_is_said_with_the_extra_to_install(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    session_module.onnxruntime.cache_clear()
    try:
        assert "consilium-cds[cpu]" in LocalEngine(Library(models)).warm(RISK).problem
    finally:
        session_module.onnxruntime.cache_clear()


def test_the_canned_engine_answers_from_its_table(one_row):
    manifest = manifest_of(risk_document())
    engine = CannedEngine(
        {
            RISK: ANSWER,
            "broken": Fault("the model failed"),
            "slow": Slow(0.5, ANSWER),
            "sum": lambda inputs: {"total": np.nansum(inputs["features"], keepdims=True)},
            (RISK, "lab"): {"probability": np.array([[0.7]])},
        },
        {RISK: manifest},
        {(RISK, "explain"): {"base": np.array([0.2])}},
    )
    assert engine.run(RISK, one_row) == ANSWER
    assert engine.run("sum", one_row)["total"].item() == 126.0
    assert engine.run(RISK, one_row, graph="lab")["probability"].item() == 0.7
    assert engine.manifest(RISK) is manifest
    assert engine.arrays(RISK, "explain")["base"].item() == 0.2
    for model, error in (("broken", Fault), ("slow", Busy), ("none", NotFound)):
        with pytest.raises(error):
            engine.run(model, one_row, timeout_s=0.01)
    assert [model for model, _ in engine.calls] == [RISK, "sum", RISK, "broken", "slow", "none"]


def run_python(code, home, **environment):
    """Run code in a new process with a home of its own."""
    keep = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(home), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=keep, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.slow
def test_running_a_model_leaves_no_telemetry_in_a_fresh_home(models, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "from pathlib import Path; import numpy as np\n"
        "from model_runtime.engine import LocalEngine; from model_runtime.library import Library\n"
        f"engine = LocalEngine(Library(Path({str(models)!r})))\n"
        "print(engine.run('diabetes-risk', {'features': np.full((1, 7), np.nan)})['probability'].item())\n"
    )
    # Even a setting that asks for telemetry does not bring it back.
    assert run_python(code, home, ORT_DISABLE_TELEMETRY="0").strip().endswith("0.2")
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_importing_the_engine_loads_no_training_library_and_no_runtime(tmp_path):
    heavy = "('tensorflow', 'keras', 'sklearn', 'pandas', 'onnx', 'onnxruntime', 'tf2onnx', 'skl2onnx')"
    code = f"import sys, model_runtime.engine; print([name for name in {heavy} if name in sys.modules])"
    assert run_python(code, tmp_path).strip() == "[]"


@pytest.mark.slow
def test_a_forked_child_loads_a_session_of_its_own_and_the_parent_keeps_its_one(models, tmp_path):
    code = (
        "import os, sys; from pathlib import Path; import numpy as np\n"
        "from model_runtime.engine import LocalEngine; from model_runtime.library import Library\n"
        f"engine = LocalEngine(Library(Path({str(models)!r})))\n"
        "row = {'features': np.full((1, 7), np.nan)}\n"
        "engine.run('diabetes-risk', row)\n"
        "states = lambda: ' '.join(state.state for state in engine.ready())\n"
        "if os.fork() == 0:\n"
        "    before = states(); engine.run('diabetes-risk', row)\n"
        "    print('child:', before, '->', states(), flush=True); os._exit(0)\n"
        "os.wait(); print('parent:', states())\n"
    )
    said = run_python(code, tmp_path)
    assert "child: untried untried untried -> ready untried untried" in said
    assert "parent: ready untried untried" in said
