"""Run models by name. `LocalEngine` keeps its sessions in this process.

A broken model is a Fault of that model: the others answer.
"""

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

import structlog

from clinical.errors import Busy, Fault
from model_runtime.graphs import MODEL
from model_runtime.library import Library
from model_runtime.manifest import Manifest
from model_runtime.outputs import Array, Outputs
from model_runtime.session import Device
from model_runtime.slots import Placement, Policy, Slot

__all__ = ["Array", "Engine", "LocalEngine", "ModelState", "Outputs", "Placement", "Policy", "State"]
ON_THE_CPU = Placement(Policy.CPU, cpu_fallback=False)
log = structlog.get_logger()


class Engine(Protocol):
    """What answers for models: in this process, in another, or on another machine."""

    def run(
        self, model: str, inputs: Mapping[str, Array], *, graph: str = MODEL, timeout_s: float | None = None
    ) -> Outputs:
        """Return the outputs of one graph by name, and where they were computed.

        Raises NotFound (no such model), IncorrectInput (an input's name, dtype or shape), Busy (no turn
        within the time, or the GPU is away and the CPU not permitted), Fault (the model is broken or its run
        failed). No message holds a value.
        """
        ...

    def manifest(self, model: str) -> Manifest:
        """Return what the model says of itself. Raises NotFound, or Fault when its manifest is broken."""
        ...

    def arrays(self, model: str, key: str) -> Mapping[str, Array]:
        """Return the arrays that explain a model (`arrays.<key>` of its manifest). Raises NotFound or Fault."""
        ...

    def card(self, model: str) -> str:
        """Return the model's card (Markdown). Raises NotFound when there is no such model, or no card of it."""
        ...

    def ready(self) -> tuple["ModelState", ...]:
        """Return the state of every model, for /readyz."""
        ...


class State(StrEnum):
    """What is known of a model."""

    READY = "ready"
    UNTRIED = "untried"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model in the report, over all its graphs: ready when one is loaded and none is broken.

    device: where it runs, once it does, the CPU when any graph does; problem: why it is broken.
    degraded: a graph runs on the CPU although the policy wants the GPU.
    """

    name: str
    version: str | None
    state: State
    device: Device | None = None
    problem: str | None = None
    degraded: bool = False


class LocalEngine:
    """Sessions in this process, created at first use, once, and after a fork anew."""

    def __init__(self, library: Library, placement: Placement = ON_THE_CPU) -> None:
        """Open nothing: the first run of a model, or `warm`, verifies and loads it."""
        self._library = library
        self._placement = placement
        self._lock = threading.Lock()
        self._slots: dict[tuple[str, str], Slot] = {}
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
    ) -> Outputs:
        """See Engine.

        timeout_s bounds the wait for a turn. It cannot stop a run that has begun (nothing can be taken
        back from onnxruntime within one operator), nor the first load of a model: give the run's own
        duration room in the caller's deadline. None waits for a turn as long as it takes.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        return self._slot(model, graph).run(inputs, deadline)

    def arrays(self, model: str, key: str) -> Mapping[str, Array]:
        """See Engine. Read once."""
        if (model, key) not in self._kept:
            self._kept[model, key] = MappingProxyType(self._library.arrays(model, key))
        return self._kept[model, key]

    def card(self, model: str) -> str:
        """See Engine."""
        return self._library.card(model)

    def warm(self, model: str, *, heavy: bool = True) -> ModelState:
        """Verify and load a model's graphs now and return its state; a fault is in the state and not raised.

        heavy: the imaging networks too; a web process leaves those to the workers.
        """
        with contextlib.suppress(Fault):
            for name, spec in self.manifest(model).graphs.items():
                if heavy or not spec.heavy:
                    self._try_load(self._slot(model, name))
        return self._state(model)

    def _try_load(self, slot: Slot) -> None:
        with contextlib.suppress(Fault, Busy):  # a fault is kept in the slot; the model's other graphs answer
            slot.load(None)

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
        loaded = [slot.loaded for slot in slots if slot.loaded is not None]
        if not loaded:
            return ModelState(model, manifest.version, State.UNTRIED)
        device = Device.CPU if any(one.session.device is Device.CPU for one in loaded) else Device.CUDA
        degraded = any(one.degraded for one in loaded)
        return ModelState(model, manifest.version, State.READY, device, degraded=degraded)

    def _slot(self, model: str, graph: str) -> Slot:
        slot = self._slots.get((model, graph))
        if slot is None:
            self._library.manifest(model).graph(graph)  # an unknown name must not grow the table
            with self._lock:
                slot = self._slots.setdefault((model, graph), Slot(self._library, model, graph, self._placement))
        return slot


def _forget(engine: LocalEngine | None) -> None:
    if engine is not None:
        engine.forget_sessions()
