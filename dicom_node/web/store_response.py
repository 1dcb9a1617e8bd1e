"""The Store Instances Response Module (PS3.18 10.5.3 and annex I): what became of each object, and the status."""

import orjson
from flask import Response

from clinical.errors import Category, ClinicalError, IncorrectInput
from dicom_node.file_intake import UnknownSyntax
from dicom_node.header import Header
from dicom_node.status import DIMSE_STATUS, DUPLICATE_SOP_INSTANCE
from dicom_node.web.archive import Archive
from dicom_node.web.json_model import Json

Fate = tuple[Header, ClinicalError | None]
REFERENCED_SYNTAX_NOT_SUPPORTED = 0xC122  # PS3.18 table I.2-2


class Different(IncorrectInput):
    """This UID is here with other bytes; the first ones are kept."""


def response(archive: Archive, fates: list[Fate], media_type: str) -> Response:
    """Return the answer: 200 when all objects were taken, 202 when some, 409 when none."""
    taken: list[Json] = []
    failed: list[Json] = []
    nameless: list[Json] = []
    for header, error in fates:
        item: Json = {"00081150": _ui(header.sop_class_uid), "00081155": _ui(header.sop_instance_uid)}
        if error is None:
            address = f"{archive.root}/studies/{header.study_uid}/series/{header.series_uid}"
            url = f"{address}/instances/{header.sop_instance_uid}"
            taken.append(item | {"00081190": {"vr": "UR", "Value": [url]}})
            continue
        reason: Json = {"00081197": {"vr": "US", "Value": [_reason(error)]}}
        if header.sop_class_uid and header.sop_instance_uid:
            failed.append(item | reason)
        else:
            nameless.append(reason)  # Other Failures Sequence: nobody knows which object it is
    found: Json = {}
    studies = {header.study_uid for header, error in fates if error is None}
    if len(studies) == 1:
        found["00081190"] = {"vr": "UR", "Value": [f"{archive.root}/studies/{studies.pop()}"]}
    for tag, items in (("00081198", failed), ("00081199", taken), ("0008119A", nameless)):
        if items:
            found[tag] = {"vr": "SQ", "Value": items}
    status = 409 if not taken else 202 if failed or nameless else 200
    return Response(orjson.dumps(found), status=status, content_type=media_type)


def _reason(error: ClinicalError) -> int:
    """Return the Failure Reason (PS3.3 C.14, PS3.18 annex I): the statuses of C-STORE."""
    if isinstance(error, Different):
        return DUPLICATE_SOP_INSTANCE
    if isinstance(error, UnknownSyntax):
        return REFERENCED_SYNTAX_NOT_SUPPORTED
    return DIMSE_STATUS.get(error.category, DIMSE_STATUS[Category.FAULT])


def _ui(uid: str) -> Json:
    return {"vr": "UI", "Value": [uid]} if uid else {"vr": "UI"}
