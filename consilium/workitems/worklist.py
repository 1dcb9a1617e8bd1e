"""What a performer asks of a worklist, by DIMSE (dicom_node.ups.scu) or by UPS-RS (rs): the same four requests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pydicom.dataset import Dataset

from consilium.circuit import ArchiveCircuits
from dicom_node.query.scu import Unanswered
from dicom_node.ups.states import Said, StepState

T = TypeVar("T")


class Worklist(Protocol):
    """A worklist elsewhere. Every method raises Unanswered when nobody answers."""

    @property
    def name(self) -> str:
        """How settings call it."""

    def scheduled(self) -> list[Dataset]:
        """Return the steps that wait for a performer."""

    def read(self, uid: str) -> tuple[Said, Dataset | None]:
        """Return a step with what we look at, or why there is none."""

    def change(self, uid: str, state: StepState, transaction_uid: str) -> Said:
        """Change a step's state."""

    def update(self, uid: str, transaction_uid: str, changes: Dataset) -> Said:
        """Write attributes of a step that is ours."""

    def watch(self, uid: str) -> bool:
        """Have requests to cancel a step come to us; False where they cannot."""


@dataclass(frozen=True, slots=True)
class Spared:
    """A worklist that does not answer, left alone for a while: then every request raises Unanswered at once."""

    inner: Worklist
    circuits: ArchiveCircuits

    @property
    def name(self) -> str:
        """How settings call it."""
        return self.inner.name

    def scheduled(self) -> list[Dataset]:
        """Return the steps that wait for a performer."""
        return self._ask(self.inner.scheduled)

    def read(self, uid: str) -> tuple[Said, Dataset | None]:
        """Return a step, or why there is none."""
        return self._ask(lambda: self.inner.read(uid))

    def change(self, uid: str, state: StepState, transaction_uid: str) -> Said:
        """Change a step's state."""
        return self._ask(lambda: self.inner.change(uid, state, transaction_uid))

    def update(self, uid: str, transaction_uid: str, changes: Dataset) -> Said:
        """Write attributes of a step that is ours."""
        return self._ask(lambda: self.inner.update(uid, transaction_uid, changes))

    def watch(self, uid: str) -> bool:
        """Have requests to cancel a step come to us; False where they cannot, or nobody answers."""
        # Not counted as an answer of the worklist: one that offers no UPS Watch refuses the association.
        try:
            return self.circuits.may_ask(self.name) and self.inner.watch(uid)
        except Unanswered:
            return False

    def _ask(self, request: Callable[[], T]) -> T:
        if not self.circuits.may_ask(self.name):
            raise Unanswered(self.circuits.problem(self.name))
        try:
            answer = request()
        except Unanswered as why:
            self.circuits.failed(self.name, str(why))
            raise
        self.circuits.answered(self.name)
        return answer
