"""Services for benchmarks, there only with CONSILIUM_BENCHMARK_SERVICES=1 and never in the production profile.

`bench-static` at patient-view answers one fixed card: what the pipeline itself costs. `bench-slow50` at order-sign
asks a model that takes 50 ms, through an engine of its own with the same slots, batches and deadlines as others.
The 50 ms pass outside the interpreter and without a core, as with a model on an accelerator or another machine,
and are the same for one row and for a whole batch.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cds.card import Card, Source
from cds.hooks import ORDER_SIGN, PATIENT_VIEW
from cds.model_call import probabilities
from cds.service import CdsContext, HookCall, Service
from clinical.codes import DIABETES_MELLITUS
from clinical.risk import Indicator
from model_runtime.engine import Engine, LocalEngine
from model_runtime.graphs import MODEL
from model_runtime.library import Library
from model_runtime.outputs import Array
from model_runtime.session import Device, Session

STATIC, SLOW = "bench-static", "bench-slow50"
RUN_S = 0.05
MODELS = Path(__file__).parent / "bench_models"
_AGE = np.array([[50.0]])
_SOURCE = Source("Consilium, benchmark", DIABETES_MELLITUS)


class SlowSession(Session):
    """A session whose runs all take 50 ms."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See Session.run."""
        ends_at = time.monotonic() + RUN_S
        outputs = super().run(inputs)
        time.sleep(max(0.0, ends_at - time.monotonic()))
        return outputs


class SlowLibrary(Library):
    """A library that opens its sessions slow."""

    def verify(self, name: str, device: Device = Device.CPU, graph: str = MODEL) -> Session:
        """See Library.verify."""
        super().verify(name, device, graph)
        return SlowSession(name, self.manifest(name).graph(graph), self.model_bytes(name, graph), device)


def services(engine: Engine | None = None) -> tuple[Service, Service]:
    """Return both services; the model is loaded at the first call. engine: other than their own, slow one."""
    engine = engine or LocalEngine(SlowLibrary(MODELS))

    def slow(call: HookCall, context: CdsContext) -> Sequence[Card]:
        return _slow(call, context, engine)

    about = "For benchmarks only: says nothing about the patient."
    return (
        Service(STATIC, PATIENT_VIEW, "Benchmark, one fixed card", about, (), _static),
        Service(SLOW, ORDER_SIGN, "Benchmark, a model of 50 ms", about, (), slow),
    )


def _static(_call: HookCall, context: CdsContext) -> Sequence[Card]:
    return (Card(context.new_uuid(), "One fixed card", Indicator.INFO, _SOURCE),)


def _slow(call: HookCall, context: CdsContext, engine: Engine) -> Sequence[Card]:
    (probability,) = probabilities(engine, SLOW, {"features": _AGE}, call.deadline)
    summary = f"A model of 50 ms answered {probability:.3f}"
    return (Card(context.new_uuid(), summary, Indicator.INFO, _SOURCE),)
