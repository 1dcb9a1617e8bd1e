"""What becomes of a model's older word on an image when there is a newer one: it can be read and is not current.

DICOM says the same with Predecessor Documents in the newer SR. R4 has no status "superseded"; `cancelled` is the
one that takes a preliminary result out of use without calling it an error, and the words say what replaced it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection

from fhir_adapters.publish import publish
from fhir_adapters.resources.reading import ResultIds
from record_store.resource_history import latest_all

Json = dict[str, Any]
CANCELLED = "cancelled"


def supersede(conn: Connection, older: Sequence[ResultIds], by_report: str, now: datetime) -> list[str]:
    """Mark the results of older readings as replaced by a DiagnosticReport; return the references that changed.

    Resources that a person has made final since are left alone: they are no longer only the model's word.
    """
    wanted = [key for ids in older for key in ids.results]
    there = [one.stored.body for one in latest_all(conn, wanted).values() if not one.deleted]
    changed = [_replaced(orjson.loads(body), by_report) for body in there]
    return publish(conn, [one for one in changed if one is not None], now)


def _replaced(resource: Json, by_report: str) -> Json | None:
    if resource.get("status") != "preliminary":
        return None
    said = f"Replaced by DiagnosticReport/{by_report}: the image has been read again."
    if resource["resourceType"] == "DiagnosticReport":
        return resource | {"status": CANCELLED, "conclusion": f"{said} {resource.get('conclusion', '')}".rstrip()}
    return resource | {"status": CANCELLED, "note": [{"text": said}, *resource.get("note", [])]}
