"""A received object's row as bytes, for the journal."""

import orjson

from clinical.errors import IncorrectInput
from clinical.identity import PatientKey
from record_store.instances import ReceivedInstance


def to_bytes(instance: ReceivedInstance) -> bytes:
    """Return JSON that `from_bytes` reads."""
    return orjson.dumps(instance)  # a dataclass is an object to it


def from_bytes(row: bytes) -> ReceivedInstance:
    """Return the instance. Raises IncorrectInput for other bytes, such as those of another version of ours."""
    try:
        values = orjson.loads(row)
        patient = values.pop("patient")
        return ReceivedInstance(**values, patient=PatientKey(**patient) if patient else None)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise IncorrectInput("the journal holds a row that this version cannot read") from None
