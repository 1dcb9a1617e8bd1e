"""What a recall of AI results means for images and archives: `fhir_adapters.rest.ai.desk`."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from clinical.clock import Clock
from clinical.errors import ClinicalError
from fhir_adapters.rest.ai.desk import Delivered
from model_runtime.engine import Engine
from record_store import deliveries, readings
from record_store.deliveries import SENT

STILL_HERE = (
    "{model} {version} is still in the models folder: take it out and restart, or hooks go on asking it; "
    "jobs of it fail from now on."
)
AT_AN_ARCHIVE = (
    "{objects} objects ({kinds}) were sent to {destination} and are kept there: have them rejected there (IHE "
    "IOCM, 113037 Rejected for Patient Safety Reasons) or deleted. 'consilium study explain' names a study's."
)


@dataclass(frozen=True, slots=True)
class RecallDesk:
    """The desk over the record store. engine: whose models are here."""

    engine: Engine
    now: Clock

    def recall(self, conn: Connection, readings_: Sequence[str]) -> None:
        """Send nothing more of these readings, and show them to nobody as what a model says."""
        readings.recall(conn, readings_, self.now())
        objects = [one.sop_instance_uid for one in readings.objects_of(conn, readings_)]
        deliveries.recall(conn, objects, self.now())

    def delivered(self, conn: Connection, readings_: Sequence[str]) -> Sequence[Delivered]:
        """Return what was made of these readings and where it went, by destination, kind and state."""
        kinds = {one.sop_instance_uid: one.kind for one in readings.objects_of(conn, readings_)}
        counted: dict[tuple[str, str, str], int] = {}
        for one in deliveries.of_objects(conn, list(kinds)):
            key = (one.destination, kinds[one.sop_instance_uid], one.state)
            counted[key] = counted.get(key, 0) + 1
        return [Delivered(*key, count) for key, count in sorted(counted.items())]

    def todo(self, model: str, version: str, delivered: Sequence[Delivered]) -> Sequence[str]:
        """Return what only an operator can do."""
        left = [STILL_HERE.format(model=model, version=version)] if self._is_here(model, version) else []
        for destination in dict.fromkeys(one.destination for one in delivered if one.state == SENT):
            theirs = [one for one in delivered if one.destination == destination and one.state == SENT]
            kinds = ", ".join(dict.fromkeys(one.kind for one in theirs))
            objects = sum(one.objects for one in theirs)
            left.append(AT_AN_ARCHIVE.format(objects=objects, kinds=kinds, destination=destination))
        return left

    def _is_here(self, model: str, version: str) -> bool:
        try:
            return self.engine.manifest(model).version == version
        except ClinicalError:
            return False
