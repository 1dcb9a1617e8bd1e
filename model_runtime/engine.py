"""Run models by name. `LocalEngine` keeps its sessions in this process.

A broken model is a Fault of that model: the others answer.
"""

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol

import structlog
from numpy.typing import NDArray

from clinical.errors import Busy, Fault
from model_runtime.graphs import MODEL
from model_runtime.library import Library
from model_runtime.manifest import Manifest
from model_runtime.session import Device, Session
from model_runtime.turns import Turns

Array = NDArray[Any]
log = structlog.get_logger()


class Engine(Protocol):
    """What answers for models: in this process, in another, or on another machine."""

    def run(
        self, model: str, inputs: Mapping[str, Array], *, graph: str = MODEL, timeout_s: float | None = None
    ) -> dict[str, Array]:
        """Return the outputs of one graph by name.

        Raises NotFound (no such model), IncorrectInput (an input's name, dtype or shape), Busy (no turn
        within the time), Fault (the model is broken or its run failed). No message holds a value.
        """
        ...

    def manifest(self, model: str) -> Manifest:
        """Return what the model says of itself. Raises NotFound, or Fault when its manifest is broken."""
        ...

    def arrays(self, model: str, key: str) -> Mapping[str, Array]:
        """Return the arrays that explain a model (`arrays.<key>` of its manifest). Raises NotFound or Fault."""
        ...

    def ready(self) -> tuple["ModelState", ...]:
        """Return the state of every model, for /readyz."""
        ...


class Policy(StrEnum):
    """Where sessions run. auto: CUDA when a session really starts there, else the CPU."""

    CPU = "cpu"
    CUDA = "cuda"
    AUTO = "auto"


class State(StrEnum):
    """What is known of a model."""

    READY = "ready"
    UNTRIED = "untried"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model in the report, over all its graphs: ready when one is loaded and none is broken.

    device: where it runs, once it does; problem: why it is broken.
    """

    name: str
    version: str | None
    state: State
    device: Device | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A session and the turns to run it."""

    session: Session
    turns: Turns


@dataclass(slots=True)
class _Slot:
    """What became of one graph: nothing yet, loaded, or broken. The lock makes that happen once."""

    model: str
    graph: str

    lock: threading.Lock = field(default_factory=threading.Lock)
    loaded: _Loaded | None = None
    fault: Fault | None = None


class LocalEngine:
    """Sessions in this process, created at first use, once, and after a fork anew."""

    def __init__(self, library: Library, *, policy: Policy = Policy.CPU, cpu_fallback: bool = False) -> None:
        """policy: where to run. cpu_fallback: with policy `cuda`, permit the CPU when CUDA does not start.

        Opens nothing: the first run of a model, or `warm`, verifies and loads it.
        """
        self._library = library
        self._policy = policy
        self._cpu_fallback = cpu_fallback
        self._lock = threading.Lock()
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._kept: dict[tuple[str, str], Mapping[str, Array]] = {}
        # Sessions and their threads do not survive a fork; a CUDA context breaks in it. The hook stays
        # registered for the life of the process, so it must not keep the engine alive.
        engine = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forget(engine()))

    def manifest(self, model: str) -> Manifest:
        """See Engine."""
        return self._library.manifest(model)

    def run(
        self, model: str, inputs: Mapping[str, Array], *, graph: str = MODEL, timeout_s: float | None = None
    ) -> dict[str, Array]:
        """See Engine.

        timeout_s bounds the wait for a turn. It cannot stop a run that has begun (nothing can be taken
        back from onnxruntime within one operator), nor the first load of a model: give the run's own
        duration room in the caller's deadline. None waits for a turn as long as it takes.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        slot = self._slot(model, graph)
        loaded = slot.loaded or self._load(slot, deadline)
        loaded.session.check(inputs)
        with loaded.turns.take(deadline):
            return loaded.session.run(inputs)

    def arrays(self, model: str, key: str) -> Mapping[str, Array]:
        """See Engine. Read once."""
        if (model, key) not in self._kept:
            self._kept[model, key] = MappingProxyType(self._library.arrays(model, key))
        return self._kept[model, key]

    def warm(self, model: str, *, heavy: bool = True) -> ModelState:
        """Verify and load a model's graphs now and return its state; a fault is in the state and not raised.

        heavy: the imaging networks too; a web process leaves those to the workers.
        """
        with contextlib.suppress(Fault):
            for name, spec in self.manifest(model).graphs.items():
                if heavy or not spec.heavy:
                    self._try_load(self._slot(model, name))
        return self._state(model)

    def _try_load(self, slot: _Slot) -> None:
        with contextlib.suppress(Fault):  # kept in the slot; the model's other graphs answer
            self._load(slot, None)

    def check_files(self, model: str) -> ModelState:
        """Compare the digests of a model's files without loading it; a fault is kept as when it is loaded."""
        with contextlib.suppress(Fault):
            slot = self._slot(model, next(iter(self.manifest(model).graphs)))
            with slot.lock:
                try:
                    self._library.check_files(model)
                except Fault as fault:
                    slot.fault = slot.fault or fault
                    log.warning("model is broken", model=model, problem=fault.message)
        return self._state(model)

    def ready(self) -> tuple[ModelState, ...]:
        """Return the state of every model without loading any."""
        return tuple(self._state(name) for name in self._library.names())

    def forget_sessions(self) -> None:
        """Drop every session; the next run verifies and loads again."""
        self._lock, self._slots, self._kept = threading.Lock(), {}, {}

    def _state(self, model: str) -> ModelState:
        try:
            manifest = self.manifest(model)
        except Fault as fault:
            return ModelState(model, None, State.BROKEN, problem=fault.message)
        slots = [self._slot(model, graph) for graph in manifest.graphs]
        faults = [slot.fault.message for slot in slots if slot.fault is not None]
        if faults:
            return ModelState(model, manifest.version, State.BROKEN, problem="; ".join(faults))
        devices = [slot.loaded.session.device for slot in slots if slot.loaded is not None]
        if not devices:
            return ModelState(model, manifest.version, State.UNTRIED)
        return ModelState(model, manifest.version, State.READY, devices[0])

    def _slot(self, model: str, graph: str) -> _Slot:
        slot = self._slots.get((model, graph))
        if slot is None:
            self._library.manifest(model).graph(graph)  # an unknown name must not grow the table
            with self._lock:
                slot = self._slots.setdefault((model, graph), _Slot(model, graph))
        return slot

    def _load(self, slot: _Slot, deadline: float | None) -> _Loaded:
        """Load once. A failure is kept: the same bytes would fail again."""
        if not slot.lock.acquire(timeout=_left(deadline)):
            raise Busy(f"model {slot.model} is still being loaded")
        try:
            if slot.loaded is None and slot.fault is None:
                self._fill(slot)
            loaded, fault = slot.loaded, slot.fault
        finally:
            slot.lock.release()
        if loaded is None:
            raise Fault(fault.message if fault else f"model {slot.model} was not loaded")
        return loaded

    def _fill(self, slot: _Slot) -> None:
        try:
            session = self._open(slot)
        except Fault as fault:
            slot.fault = fault
            log.warning("model is broken", model=slot.model, graph=slot.graph, problem=fault.message)
            return
        slot.loaded = _Loaded(session, Turns(slot.model, _at_once(session)))
        version = self._library.manifest(slot.model).version
        log.info("model loaded", model=slot.model, graph=slot.graph, version=version, device=session.device)

    def _open(self, slot: _Slot) -> Session:
        if self._policy is Policy.CPU:
            return self._library.verify(slot.model, Device.CPU, slot.graph)
        try:
            return self._library.verify(slot.model, Device.CUDA, slot.graph)
        except Fault as fault:
            if self._policy is Policy.CUDA and not self._cpu_fallback:
                raise
            log.warning("model falls back to the cpu", model=slot.model, problem=fault.message)
            return self._library.verify(slot.model, Device.CPU, slot.graph)


def _forget(engine: LocalEngine | None) -> None:
    if engine is not None:
        engine.forget_sessions()


def _at_once(session: Session) -> int:
    """Return how many runs of one session may be under way: a CUDA session has one stream."""
    if session.device is Device.CUDA:
        return 1
    return max(1, (os.cpu_count() or 1) // session.graph.intra_op_threads)


def _left(deadline: float | None) -> float:
    """Return seconds as Lock.acquire wants them: -1 waits as long as it takes."""
    return -1 if deadline is None else max(0.0, deadline - time.monotonic())
