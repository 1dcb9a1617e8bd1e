"""What is sent to an archive in place of a result whose SOP class it refuses."""

from datetime import datetime

from sqlalchemy import Connection

from dicom_node.preflight import stand_ins
from record_store import deliveries, readings


def stand_in(conn: Connection, sop_instance_uid: str, destination: str, now: datetime) -> str | None:
    """Enqueue the best other form of a refused result that was made; return its kind, None when there is none.

    All objects of that form from the same job are sent: an archive that refuses a class refuses it for each image.
    """
    refused = readings.result_object(conn, sop_instance_uid)
    if refused is None:
        return None
    made = readings.result_objects(conn, refused.job_key)
    for kind in stand_ins(refused.kind):
        others = [one for one in made if one.kind == kind]
        for one in others:
            deliveries.enqueue(conn, one.sop_instance_uid, destination, now)
        if others:
            return kind
    return None
