"""What a worker's loops share: which models read images, and a loop that says what it meets and goes on.

Loops run beside the job engine, each over rows that any worker may take.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from clinical.errors import Fault
from consilium.attempts import Attempts
from model_runtime.engine import Engine, State
from model_runtime.manifest import Manifest

log = structlog.get_logger()

CLOSER_POLL_S = 0.05  # half of what a decision may come after the quiet time (0.1 s, p95)
DELIVERY_POLL_S = 0.1
RECONCILE_S = 5.0
AFTER_ERROR_S = 1.0


@dataclass(frozen=True, slots=True)
class ImageModels:
    """The models that read images. broken: modality -> why its studies must stay open (its model is broken)."""

    ready: tuple[Manifest, ...]
    broken: Mapping[str, str]


def image_models(engine: Engine, required: Collection[str]) -> ImageModels:
    """Return the models that read images, and what keeps studies of some modalities open.

    Raises Fault naming what is wrong when it may concern any study: a manifest cannot be read, or a required model
    is absent. A study that was closed without its model would look like one that was read.
    """
    ready: list[Manifest] = []
    broken: dict[str, str] = {}
    unknown = _absent(engine, required)
    for state in engine.ready():
        problem = state.problem or f"model {state.name} is broken"
        if state.version is None:
            unknown.append(problem)
            continue
        manifest = engine.manifest(state.name)
        if state.state is State.BROKEN:
            broken |= dict.fromkeys(manifest.modalities, problem)
        elif manifest.modalities:
            ready.append(manifest)
    if unknown:
        raise Fault("; ".join(unknown))
    return ImageModels(tuple(ready), broken)


def _absent(engine: Engine, required: Collection[str]) -> list[str]:
    there = {state.name for state in engine.ready()}
    return [f"model {name} is not in the models folder" for name in required if name not in there]


def models_problem(engine: Engine, required: Collection[str]) -> str | None:
    """Return why images cannot be read, or None. A broken manifest may be that of an image model."""
    states = engine.ready()
    problems = [
        state.problem or f"model {state.name} is broken"
        for state in states
        if state.state is State.BROKEN and (state.version is None or engine.manifest(state.name).modalities)
    ]
    problems += _absent(engine, required)
    return "; ".join(problems) or None


class Loop:
    """Calls `work` again and again in a thread. An error is logged and the work is tried later."""

    def __init__(
        self, name: str, work: Callable[[], int], poll_s: float, *, after_error_s: float = AFTER_ERROR_S
    ) -> None:
        self._work = work
        self._poll_s = poll_s
        self._after_error_s = after_error_s
        self._attempts = Attempts(name)
        self._stop, self._woken = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Begin nothing new."""
        self._stop.set()
        self._woken.set()

    def wake(self) -> None:
        """Look at once, and not when the pause is over."""
        self._woken.set()

    def stop(self, timeout_s: float) -> None:
        """Ask to end and wait for the work in hand."""
        self.ask_to_stop()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            self._woken.clear()  # first, so that whoever wakes us while we work is not overlooked
            if self._stop.is_set():
                return
            self._woken.wait(self._poll_s if self._attempts(self._work) else self._after_error_s)
