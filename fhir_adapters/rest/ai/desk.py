"""What the FHIR server asks the rest of the house about AI results: images, archives, models are not its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Delivered:
    """Objects of one kind (SEG, SR, ...) at or for one destination. state: of the delivery (sent, dead, ...)."""

    destination: str
    kind: str
    state: str
    objects: int


class Desk(Protocol):
    """See the module; `consilium.recalling` has the real one."""

    def recall(self, conn: Connection, readings: Sequence[str]) -> None:
        """Send nothing more of these image readings, and show them to nobody as what a model says."""
        ...

    def delivered(self, conn: Connection, readings: Sequence[str]) -> Sequence[Delivered]:
        """Return what was made of these readings and where it went."""
        ...

    def todo(self, model: str, version: str, delivered: Sequence[Delivered]) -> Sequence[str]:
        """Return what is left for an operator to do after a recall, in sentences."""
        ...


class NoDesk:
    """A FHIR server alone: no images, no archives, no models."""

    def recall(self, conn: Connection, readings: Sequence[str]) -> None:
        """Do nothing."""

    def delivered(self, conn: Connection, readings: Sequence[str]) -> Sequence[Delivered]:
        """Return nothing."""
        del conn, readings
        return ()

    def todo(self, model: str, version: str, delivered: Sequence[Delivered]) -> Sequence[str]:
        """Return nothing."""
        del model, version, delivered
        return ()
