"""One graph in this process: opened once, moved to the CPU when its GPU is lost, and back when that returns."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import structlog

from clinical.errors import Busy, Fault
from model_runtime.batching import Batcher
from model_runtime.circuit import Circuit
from model_runtime.library import Library
from model_runtime.outputs import Array, Outputs
from model_runtime.session import Device, DeviceLost, Session
from model_runtime.turns import Turns

log = structlog.get_logger()
Spawn = Callable[[Callable[[], None]], None]


class Policy(StrEnum):
    """Where sessions run. auto: CUDA when a session really starts there, else the CPU."""

    CPU = "cpu"
    CUDA = "cuda"
    AUTO = "auto"


def in_a_thread(work: Callable[[], None]) -> None:
    """Do it beside the caller."""
    threading.Thread(target=work, name="gpu-probe", daemon=True).start()


@dataclass(frozen=True, slots=True)
class Placement:
    """Where graphs run. cpu_fallback: with policy `cuda`, permit the CPU while CUDA is away.

    circuit: makes the breaker of one graph. spawn: runs the try whether a lost GPU is back.
    """

    policy: Policy
    cpu_fallback: bool
    circuit: Callable[[], Circuit] = Circuit
    spawn: Spawn = in_a_thread

    @property
    def cpu_permitted(self) -> bool:
        """True when the CPU may answer where the GPU cannot."""
        return self.policy is not Policy.CUDA or self.cpu_fallback


@dataclass(frozen=True, slots=True)
class Loaded:
    """A session and the turns to run it. degraded: it runs on the CPU because the GPU is away."""

    session: Session
    turns: Turns | Batcher
    degraded: bool = False

    def run(self, inputs: Mapping[str, Array], deadline: float | None) -> Outputs:
        """Run when it is our turn, or in a batch. Raises as Session.run, and Busy when no turn came in time."""
        if isinstance(self.turns, Batcher):
            return Outputs(self.turns.run(inputs, deadline), self.session.device, degraded=self.degraded)
        with self.turns.take(deadline):
            return Outputs(self.session.run(inputs), self.session.device, degraded=self.degraded)


class Slot:
    """What became of one graph: nothing yet, loaded, or broken. The lock makes that happen once."""

    def __init__(self, library: Library, model: str, graph: str, placement: Placement) -> None:
        self._library = library
        self._model = model
        self._graph = graph
        self._placement = placement
        self._circuit = placement.circuit()
        self.lock = threading.Lock()
        self.loaded: Loaded | None = None
        self.fault: Fault | None = None

    def run(self, inputs: Mapping[str, Array], deadline: float | None) -> Outputs:
        """Run once; a lost GPU is answered for by the CPU, where that is permitted. See Engine.run."""
        if self._circuit.is_open and self._circuit.take_try():
            self._placement.spawn(self._probe)
        loaded = self.loaded or self.load(deadline)
        loaded.session.check(inputs)
        try:
            return loaded.run(inputs, deadline)
        except DeviceLost as lost:
            self._leave(loaded, lost)
        return self.load(deadline).run(inputs, deadline)

    def load(self, deadline: float | None) -> Loaded:
        """Load once. A failure is kept: the same bytes would fail again. A lost GPU is Busy."""
        if not self.lock.acquire(timeout=_left(deadline)):
            raise Busy(f"model {self._model} is still being loaded")
        try:
            if self.loaded is None and self.fault is None:
                self._fill()
            loaded, fault = self.loaded, self.fault
        finally:
            self.lock.release()
        if loaded is None:
            raise Fault(fault.message if fault else f"model {self._model} was not loaded")
        return loaded

    def _fill(self) -> None:
        if self._circuit.is_open:
            raise Busy(f"model {self._model} waits for its GPU", retry_after_s=round(self._circuit.left_s))
        try:
            self.loaded = self._first()
        except Fault as fault:
            self.fault = fault
            log.warning("model is broken", model=self._model, graph=self._graph, problem=fault.message)
            return
        version = self._library.manifest(self._model).version
        device = self.loaded.session.device
        log.info("model loaded", model=self._model, graph=self._graph, version=version, device=device)

    def _first(self) -> Loaded:
        if self._placement.policy is Policy.CPU:
            return self._opened(Device.CPU)
        try:
            return self._opened(Device.CUDA)
        except Fault as fault:
            if not self._placement.cpu_permitted:
                raise
            log.warning("model falls back to the cpu", model=self._model, problem=fault.message)
        # With `auto` the CPU is as good an answer; with `cuda` it is a makeshift, and the GPU is tried again.
        wanted = self._placement.policy is Policy.CUDA
        standby = self._opened(Device.CPU, degraded=wanted)
        if wanted:
            self._circuit.fail()
        return standby

    def _leave(self, lost: Loaded, problem: DeviceLost) -> None:
        """Put the CPU in the place of a session whose GPU failed; nothing, where the CPU is not permitted."""
        with self.lock:
            if self.loaded is not lost:
                return  # another caller met the same failure first
            self._circuit.fail()
            log.error("gpu lost", model=self._model, graph=self._graph, problem=problem.message)
            self.loaded = None
            if self._placement.cpu_permitted:
                self.loaded = self._opened(Device.CPU, degraded=True)

    def _probe(self) -> None:
        """Try whether the GPU is back: a new session must reproduce its golden output before the old one goes."""
        try:
            back = self._opened(Device.CUDA)
        except Fault as fault:
            self._circuit.fail()
            log.warning("gpu is still away", model=self._model, graph=self._graph, problem=fault.message)
            return
        with self.lock:
            self.loaded = back
            self._circuit.succeed()
        log.info("gpu is back", model=self._model, graph=self._graph)

    def _opened(self, device: Device, *, degraded: bool = False) -> Loaded:
        session = self._library.verify(self._model, device, self._graph)
        rows = session.graph.batch_rows
        if rows > 1:
            return Loaded(session, Batcher(self._model, session.run, rows), degraded)
        return Loaded(session, Turns(self._model, _at_once(session)), degraded)


def _at_once(session: Session) -> int:
    """Return how many runs of one session may be under way: a CUDA session has one stream."""
    if session.device is Device.CUDA:
        return 1
    return max(1, (os.cpu_count() or 1) // session.graph.intra_op_threads)


def _left(deadline: float | None) -> float:
    """Return seconds as Lock.acquire wants them: -1 waits as long as it takes."""
    return -1 if deadline is None else max(0.0, deadline - time.monotonic())
