"""Store, STOW-RS (PS3.18 10.5): objects in by HTTP, through the same intake as C-STORE.

Each object becomes the very file that C-STORE would have made of it (`file_intake`). What became of each is in the
answer (PS3.18 10.5.3, annex I).
"""

from collections import Counter
from collections.abc import Iterator
from io import BytesIO

import pydicom
from flask import Response, request
from pydicom.dataset import Dataset

from clinical.errors import Busy, ClinicalError, Denied, IncorrectInput, Unsupported
from clinical.uids import uid_digest
from dicom_node.decoder_errors import DECODER_ERRORS
from dicom_node.file_intake import FileIntake, OpenedFile, has_foreign_preamble, open_file
from dicom_node.header import Header
from dicom_node.intake import Intake, NotCommitted, Sender
from dicom_node.status import CANNOT_UNDERSTAND, DIMSE_STATUS, SUCCESS
from dicom_node.storing import why_of
from dicom_node.uids import checked_uid, is_uid
from dicom_node.web.archive import Archive, Resource, touched
from dicom_node.web.json_objects import JSON, objects_of
from dicom_node.web.media import MULTIPART, parameters, require_json
from dicom_node.web.multipart import ReceivedPart, read_parts
from dicom_node.web.problems import http_report
from dicom_node.web.store_response import Different, Fate, response
from record_store.exchanges import Kind
from record_store.instances import Taken
from record_store.quarantine_folder import Refusal

DICOM = "application/dicom"
SENDER = "STOW-RS"
_Given = memoryview | Dataset | IncorrectInput | Unsupported
FOREIGN_PREAMBLE = "it was taken without its preamble, which began as another kind of file"


def store(archive: Archive, study: str = "") -> Response:
    """POST /studies and /studies/{study}: 200 when all were taken, 202 when some, 409 when none."""
    if archive.scope() is not None:
        raise Denied("this permission is for reading one study")
    media_type = require_json()
    if study:
        checked_uid(study, "the study")
    request.max_content_length = archive.max_body_bytes
    kind, options = parameters(request.headers.get("Content-Type", ""))
    root = parameters(options.get("type", ""))[0].lower()
    if kind.lower() != MULTIPART or root not in {DICOM, *JSON}:
        return http_report(415)
    intake = archive.taker()
    parts = list(read_parts(request.get_data(cache=False), options.get("boundary", "")))
    given = _files(parts) if root == DICOM else objects_of(parts)
    fates = [_take(archive, intake, one, study) for one in given]
    busy = next((error for _, error in fates if isinstance(error, Busy)), None)
    if busy is not None and all(error is not None for _, error in fates):
        raise busy
    taken = Counter(header.study_uid for header, error in fates if error is None)
    for uid, count in taken.items():
        touched(uid, count)
    return response(archive, fates, media_type)


def _files(parts: list[ReceivedPart]) -> Iterator[memoryview]:
    for part in parts:
        if part.content_type and parameters(part.content_type)[0].lower() != DICOM:
            raise IncorrectInput("a part is not application/dicom")
        yield part.body


def _take(archive: Archive, intake: Intake, given: _Given, study: str) -> Fate:
    files = FileIntake(intake, archive.blobs.staging, archive.private_syntaxes)
    header, file = Header(), given if isinstance(given, memoryview) else None
    sender = Sender(SENDER, SENDER)
    try:
        file = _file_of(given)
        opened = open_file(file)
        header = Header(sop_class_uid=opened.named[0], sop_instance_uid=opened.named[1])
        header = _stored(archive, files, opened, sender, study)
    except ClinicalError as error:
        audited = not isinstance(error, NotCommitted)
        intake.refused(header.sop_instance_uid, sender, str(error.category), error.message, audited=audited)
        if file is not None and isinstance(error, IncorrectInput) and not isinstance(error, Different):
            archive.set_aside(file, _refusal(archive, header, DIMSE_STATUS[error.category], error.message))
        return header, error
    except Exception as error:
        if file is not None:
            archive.set_aside(file, _refusal(archive, header, CANNOT_UNDERSTAND, why_of(error)))
        raise
    if has_foreign_preamble(file):
        archive.set_aside(file, _refusal(archive, header, SUCCESS, FOREIGN_PREAMBLE))
    return header, None


def _stored(archive: Archive, files: FileIntake, opened: OpenedFile, sender: Sender, study: str) -> Header:
    def refuse(header: Header) -> None:
        if study not in {"", header.study_uid}:
            raise IncorrectInput("the object is of another study than the address")
        archive.refuse_class(header.sop_class_uid)

    header, taken = files.take(opened, sender, refuse)
    if taken is Taken.DIFFERENT:
        raise Different("another object has this SOP Instance UID")
    return header


def _file_of(given: _Given) -> memoryview:
    """Return a Part 10 file of what was given, or raise what was wrong with it."""
    if isinstance(given, ClinicalError):
        raise given
    return given if isinstance(given, memoryview) else _from_json(given)


def _refusal(archive: Archive, header: Header, status: int, why: str) -> Refusal:
    return Refusal(
        service=SENDER,
        calling=SENDER,
        called=SENDER,
        address=archive.caller().address,
        status=status,
        why=why,
        instance=uid_digest(header.sop_instance_uid) if header.sop_instance_uid else "",
        sop_class=header.sop_class_uid if is_uid(header.sop_class_uid) else "",
    )


def _from_json(ds: Dataset) -> memoryview:
    """Return the Part 10 file of an object that came as metadata and bulk data."""
    buffer = BytesIO()
    try:
        pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    except DECODER_ERRORS:
        raise IncorrectInput("the metadata is not that of an object") from None
    return buffer.getbuffer()


RESOURCES = tuple(
    Resource("POST", rule, store, Kind.TRANSFERRED, "STOW-RS") for rule in ("/studies", "/studies/<study>")
)
