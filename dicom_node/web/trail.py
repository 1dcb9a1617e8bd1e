"""What a request of DICOMweb leaves in the audit: one exchange, whatever its answer (PS3.15 A.5.3)."""

from flask import Response, g, request

from dicom_node.web.archive import Archive, Resource
from record_store.exchanges import Exchange, Kind, Outcome


def noted(archive: Archive, resource: Resource, answer: Response) -> Response:
    """Note a request and its answer; return the answer."""
    caller, status = archive.caller(), answer.status_code
    refused = status in {401, 403}
    retrieved = resource.kind in {Kind.ACCESSED, Kind.TRANSFERRED} and resource.method == "GET"
    archive.note(
        Exchange(
            kind=Kind.REFUSED if refused else resource.kind,
            source=archive.us if retrieved else caller,
            destination=caller if retrieved else archive.us,
            outcome=_outcome(status),
            studies=g.get("dicom_touched", {}),
            what=resource.service,
            note=f"{status} {_keys()}".strip(),
            asked_by_destination=retrieved,
        )
    )
    return answer


def _outcome(status: int) -> Outcome:
    if status == 202:
        return Outcome.MINOR  # some instances were not taken
    return Outcome.SUCCESS if status < 400 else Outcome.SERIOUS


def _keys() -> str:
    """Return the names that were asked with, and never their values."""
    return " ".join(sorted(name[:32] for name in request.args if name.isascii() and name.isalnum())[:16])
