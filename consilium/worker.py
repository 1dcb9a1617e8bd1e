"""What a worker's loops share: which models read images, and a loop that says what it meets and goes on.

Loops run beside the job engine, each over rows that any worker may take.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

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
NEVER = datetime.max.replace(tzinfo=UTC)  # what is not due by then waits for no time
REST_S = 5.0  # after which a loop that rests looks all the same: nothing hangs on its being woken
ASK_S = 1.0  # between two questions whether a loop may rest that may not


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


def always() -> bool:
    """Tell a loop that it may rest whenever it has come to its end: what it does never waits for a time."""
    return True


class Loop:
    """Calls `work` again and again in a thread. An error is logged and the work is tried later.

    rests: tells whether nothing is there that time alone makes due. While that is so the loop waits to be told
    that the database has changed, or for rest_s. None: it looks every poll_s.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], int],
        poll_s: float,
        *,
        rests: Callable[[], bool] | None = None,
        after_error_s: float = AFTER_ERROR_S,
        rest_s: float = REST_S,
    ) -> None:
        self._work = work
        self._poll_s = poll_s
        self._rests, self._rest_s = rests, rest_s
        self._after_error_s = after_error_s
        self._resting = self._changed = False
        self._ask_at = 0.0
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

    @property
    def resting(self) -> bool:
        """Whether it waits for a change."""
        return self._resting

    def changed(self) -> None:
        """Look once more, if only the database's change was waited for; else when the pause is over, as ever."""
        self._changed = True
        if self._resting:
            self._woken.set()

    def stop(self, timeout_s: float) -> None:
        """Ask to end and wait for the work in hand."""
        self.ask_to_stop()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            self._woken.clear()  # first, so that whoever wakes us while we work is not overlooked
            self._changed = False
            if self._stop.is_set():
                return
            if not self._attempts(self._work):
                self._woken.wait(self._after_error_s)
            elif not self._woken.wait(self._poll_s):
                self._rest()

    def _rest(self) -> None:
        """Wait for as long as there is nothing to do; a change alone is asked about, no more often than poll_s."""
        while self._may_rest():
            asked_at = time.monotonic()
            # In this order, and `changed` in the other: one of the two sees the other's.
            self._resting = True
            if not self._changed:
                self._woken.wait(self._rest_s)
            self._resting = False
            if not self._changed or self._rests is always:
                return
            self._woken.clear()
            if self._stop.is_set() or self._woken.wait(max(0.0, asked_at + self._poll_s - time.monotonic())):
                return
            self._changed = False

    def _may_rest(self) -> bool:
        if self._rests is None or self._changed or time.monotonic() < self._ask_at:
            return False
        rests, found = self._rests, list[bool]()
        if self._attempts(lambda: found.append(rests())) and found[0]:
            return True
        self._ask_at = time.monotonic() + ASK_S
        return False
