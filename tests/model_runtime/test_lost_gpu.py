"""What becomes of a model whose GPU is lost, with a session that fails as onnxruntime's CUDA provider does."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clinical.errors import Busy, Category, Fault
from model_runtime.circuit import Circuit
from model_runtime.engine import LocalEngine, Placement, Policy, State
from model_runtime.library import Library, check_golden
from model_runtime.session import Device, runtime_errors

RISK = "diabetes-risk"
LOST = (
    "Non-zero status code returned while running Div node. Name:'' Status Message: CUDA failure 700: an illegal "
    "memory access was encountered ; GPU=0 ; hostname=x ; file=/onnxruntime/core/providers/cuda/cuda_call.cc ; "
    "line=129 ; expr=cudaStreamSynchronize(stream); "
)
FULL = "bfc_arena.cc:359 Failed to allocate memory for requested buffer of size 268435456"


def error(kind, text):
    return next(each for each in runtime_errors() if each.__name__ == kind)(text)


class Gpu:
    """A GPU to be broken. away: no session starts; wrong: it computes something else; problem: runs fail so."""

    away = False
    wrong = False
    problem = None


class CudaSession:
    """Looks to model_runtime.session like an InferenceSession on CUDA."""

    def __init__(self, session, gpu):
        self._session = session
        self._gpu = gpu

    def run(self, *arguments):
        if self._gpu.problem is not None:
            raise self._gpu.problem
        results = self._session.run(*arguments)
        return [result + 0.01 for result in results] if self._gpu.wrong else results


class LibraryWithGpu(Library):
    """Opens sessions that are said to run on CUDA. opened: the devices, in order."""

    def __init__(self, folder, gpu):
        super().__init__(folder)
        self.gpu = gpu
        self.opened = []

    def verify(self, name, device=Device.CPU, graph="model"):
        self.opened.append(device)
        session = super().verify(name, Device.CPU, graph)
        if device is Device.CUDA:
            if self.gpu.away:
                raise Fault("CUDAExecutionProvider could not be started")
            session.device = Device.CUDA
            session._session = CudaSession(session._session, self.gpu)
            golden = self.golden(name, graph)
            check_golden(name, session.run, golden, session.graph.golden.tolerance)
        return session


class House:
    """An engine, its GPU and its clock."""

    def __init__(self, folder, policy, cpu_fallback):
        self.gpu, self.at = Gpu(), 0.0
        self.library = LibraryWithGpu(folder, self.gpu)
        placement = Placement(
            policy, cpu_fallback, lambda: Circuit(lambda: self.at, 30.0, 900.0), spawn=lambda work: work()
        )
        self.engine = LocalEngine(self.library, placement)

    def ask(self, **more):
        return self.engine.run(RISK, {"features": np.full((1, 7), np.nan)}, **more)

    @property
    def state(self):
        return next(state for state in self.engine.ready() if state.name == RISK)


@pytest.fixture
def auto(models):
    return House(models, Policy.AUTO, cpu_fallback=False)


@pytest.fixture
def permitted(models):
    return House(models, Policy.CUDA, cpu_fallback=True)


@pytest.fixture
def strict(models):
    return House(models, Policy.CUDA, cpu_fallback=False)


def test_where_the_gpu_works_it_answers_and_nothing_is_marked(auto):
    found = auto.ask()
    assert (found["probability"].item(), found.device, found.degraded) == (0.2, Device.CUDA, False)
    assert (auto.state.device, auto.state.degraded) == (Device.CUDA, False)


@pytest.mark.parametrize(
    "problem",
    [
        ("RuntimeException", LOST),
        ("Fail", LOST.replace("CUDA failure 700", "CUDNN failure 8")),
        ("EPFail", LOST.replace("CUDA failure 700", "CUBLAS failure 13")),
        ("RuntimeException", FULL),
        ("DeviceReset", "device removed"),
    ],
    ids=["CUDA", "cuDNN", "cuBLAS", "no memory", "reset"],
)
@pytest.mark.parametrize("house", ["auto", "permitted"])
def test_when_the_gpu_is_lost_the_cpu_answers_the_same_question_and_the_result_is_marked(house, problem, request):
    house = request.getfixturevalue(house)
    house.ask()
    house.gpu.problem = error(*problem)
    found = house.ask()
    assert (found["probability"].item(), found.device, found.degraded) == (0.2, Device.CPU, True)
    assert (house.state.state, house.state.device, house.state.degraded) == (State.READY, Device.CPU, True)


def test_an_open_circuit_does_not_ask_the_gpu_again_before_its_time(auto):
    auto.ask()
    auto.gpu.problem = error("RuntimeException", LOST)
    for _ in range(5):
        auto.at += 5
        assert auto.ask().degraded
    assert auto.library.opened == [Device.CUDA, Device.CPU]


def test_when_the_gpu_is_back_it_answers_again(auto):
    auto.ask()
    auto.gpu.problem = error("RuntimeException", LOST)
    auto.ask()
    auto.gpu.problem = None
    auto.at += 30
    found = auto.ask()
    assert (found.device, found.degraded) == (Device.CUDA, False)
    assert not auto.state.degraded
    assert auto.library.opened == [Device.CUDA, Device.CPU, Device.CUDA]


def test_while_it_stays_away_it_is_tried_after_pauses_that_double(auto):
    auto.ask()
    auto.gpu.problem = error("RuntimeException", LOST)
    auto.ask()
    auto.gpu.away = True
    tried = []
    for second in range(0, 300, 10):
        auto.at = float(second)
        before = len(auto.library.opened)
        assert auto.ask().degraded
        tried += [second] * (len(auto.library.opened) > before)
    assert tried == [30, 90, 210]


def test_a_gpu_that_comes_back_and_computes_something_else_is_not_believed(auto):
    auto.ask()
    auto.gpu.problem = error("RuntimeException", LOST)
    auto.ask()
    auto.gpu.problem, auto.gpu.wrong = None, True
    auto.at += 30
    found = auto.ask()
    assert (found["probability"].item(), found.device) == (0.2, Device.CPU)


def test_the_cpu_session_stays_until_the_new_one_on_the_gpu_was_checked(auto):
    auto.ask()
    auto.gpu.problem = error("RuntimeException", LOST)
    auto.ask()
    auto.gpu.problem = None
    auto.at += 30
    during = []
    verify = auto.library.verify

    def watched(*arguments):
        during.append(auto.ask().device)  # somebody asks while the GPU is tried
        return verify(*arguments)

    auto.library.verify = watched
    assert auto.ask().device is Device.CUDA
    assert during == [Device.CPU]


def test_without_permission_nobody_answers_for_a_lost_gpu_and_callers_are_told_when_to_come_back(strict):
    strict.ask()
    strict.gpu.problem = error("RuntimeException", LOST)
    for after in (0, 10):
        strict.at = float(after)
        with pytest.raises(Busy, match="waits for its GPU") as caught:
            strict.ask()
        assert caught.value.retry_after_s == 30 - after
    assert strict.library.opened == [Device.CUDA]
    strict.gpu.problem = None
    strict.at = 30.0
    assert strict.ask().device is Device.CUDA


def test_without_permission_a_gpu_that_does_not_start_is_a_broken_model(strict):
    strict.gpu.away = True
    with pytest.raises(Fault, match="could not be started"):
        strict.ask()
    assert strict.state.state is State.BROKEN


def test_with_permission_a_gpu_that_does_not_start_is_answered_for_marked_and_tried_again(permitted):
    permitted.gpu.away = True
    assert permitted.ask().degraded
    permitted.gpu.away = False
    permitted.at += 30
    assert permitted.ask().device is Device.CUDA


def test_with_auto_a_machine_without_gpu_is_no_makeshift(auto):
    auto.gpu.away = True
    assert (auto.ask().device, auto.ask().degraded) == (Device.CPU, False)
    auto.at += 10_000
    assert auto.ask()
    assert auto.library.opened == [Device.CUDA, Device.CPU]


def test_a_run_that_fails_for_another_reason_is_a_fault_and_the_gpu_is_kept(auto):
    auto.ask()
    auto.gpu.problem = error(
        "InvalidArgument", "indices element out of data bounds, idx=4711 (CUDAExecutionProvider)"
    )
    with pytest.raises(Fault) as caught:
        auto.ask()
    assert caught.value.category is Category.FAULT
    assert "4711" not in str(caught.value)
    auto.gpu.problem = None
    assert auto.ask().device is Device.CUDA


def test_what_cuda_said_is_never_passed_on(strict, caplog):
    strict.ask()
    strict.gpu.problem = error("RuntimeException", LOST + "values: 4711")
    with pytest.raises(Busy) as caught:
        strict.ask()
    assert "4711" not in str(caught.value)
    assert "4711" not in caplog.text
    assert "gpu lost" in caplog.text


def test_many_callers_at_the_moment_of_the_loss_are_all_answered_by_one_new_session(auto):
    auto.ask()
    auto.gpu.problem = error("RuntimeException", LOST)
    gate = threading.Barrier(8)

    def ask(_):
        gate.wait()
        return auto.ask()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert all(each.degraded and each["probability"].item() == 0.2 for each in found)
    assert auto.library.opened == [Device.CUDA, Device.CPU]


def test_each_graph_has_a_circuit_of_its_own(auto):
    row = {"features": np.array([[50.0]])}
    auto.engine.run("two-risk", row, graph="no_lab")
    auto.ask()
    auto.gpu.problem = error("RuntimeException", LOST)
    assert auto.ask().degraded
    auto.gpu.problem = None
    assert auto.engine.run("two-risk", row, graph="no_lab").device is Device.CUDA
