"""Store, STOW-RS (PS3.18 10.5): objects in by HTTP, through the same intake as C-STORE.

Each part becomes the very file that C-STORE would have made of it: preamble and file meta group are written by
us, so an object that comes both ways is one object. What became of each is in the answer (PS3.18 10.5.3, annex I).
"""

import uuid
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pydicom
from flask import Response, request
from pydicom.uid import UID

from clinical.errors import Busy, Category, ClinicalError, Denied, IncorrectInput, Unsupported
from dicom_node.header import Header, read_header
from dicom_node.intake import Intake, NotCommitted, Sender, check_uids
from dicom_node.status import DIMSE_STATUS, DUPLICATE_SOP_INSTANCE
from dicom_node.uids import checked_uid
from dicom_node.web.archive import Archive, Resource
from dicom_node.web.decoder_errors import DECODER_ERRORS
from dicom_node.web.json_model import Json
from dicom_node.web.media import MULTIPART, parameters, require_json
from dicom_node.web.problems import http_report
from record_store.instances import Taken

MAX_PARTS = 1000
MAX_PART_HEAD = 8192
DICOM = "application/dicom"
SENDER = "STOW-RS"
_META_STARTS = 132


def store(archive: Archive, study: str = "") -> Response:
    """POST /studies and /studies/{study}: 200 when all were taken, 202 when some, 409 when none."""
    if archive.scope() is not None:
        raise Denied("this permission is for reading one study")
    media_type = require_json()
    if study:
        checked_uid(study, "the study")
    request.max_content_length = archive.max_body_bytes
    kind, options = parameters(request.headers.get("Content-Type", ""))
    if kind.lower() != MULTIPART or parameters(options.get("type", ""))[0].lower() != DICOM:
        return http_report(415)
    intake = archive.taker()
    parts = list(_parts(request.get_data(cache=False), options.get("boundary", "")))
    answers = [_take(archive, intake, part, study) for part in parts]
    busy = next((error for _, error in answers if isinstance(error, Busy)), None)
    if busy is not None and all(error is not None for _, error in answers):
        raise busy
    return _answer(archive, answers, media_type)


_Answer = tuple[Header, ClinicalError | None]


class _Different(IncorrectInput):
    """This UID is here with other bytes; the first ones are kept."""


def _take(archive: Archive, intake: Intake, part: memoryview, study: str) -> _Answer:
    header = Header()
    sender = Sender(SENDER, SENDER)
    path = archive.blobs.staging / f"{uuid.uuid4().hex}.part"
    try:
        syntax, offset, named = _written(part, path)
        header = read_header(path, offset, syntax)
        check_uids(header)
        if (header.sop_class_uid, header.sop_instance_uid) != named:
            raise IncorrectInput("the data set is not the instance that its file meta group names")
        if study not in {"", header.study_uid}:
            raise IncorrectInput("the object is of another study than the address")
        archive.refuse_class(header.sop_class_uid)
        if intake.take(path, header, syntax, sender) is Taken.DIFFERENT:
            raise _Different("another object has this SOP Instance UID")
    except ClinicalError as error:
        audited = not isinstance(error, NotCommitted)
        intake.refused(header.sop_instance_uid, sender, str(error.category), error.message, audited=audited)
        return header, error
    finally:
        path.unlink(missing_ok=True)  # it was adopted, or it is refused
    return header, None


def _written(part: memoryview, path: Path) -> tuple[str, int, tuple[str, str]]:
    """Write a part as the file that C-STORE makes. Return (transfer syntax, offset of the data set, UIDs)."""
    from pydicom.filewriter import write_file_meta_info  # noqa: PLC0415 - pynetdicom, for who stores only
    from pynetdicom.dsutils import create_file_meta  # noqa: PLC0415

    from dicom_node.incoming import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION  # noqa: PLC0415

    try:
        head = pydicom.filereader.read_partial(BytesIO(part[:65536]), lambda *_: True).file_meta
        syntax = UID(head.TransferSyntaxUID)
        named = (str(head.MediaStorageSOPClassUID), str(head.MediaStorageSOPInstanceUID))
        start = _META_STARTS + 12 + int(head.FileMetaInformationGroupLength)
        known = syntax.is_transfer_syntax and not syntax.is_private
    except DECODER_ERRORS:
        raise IncorrectInput("it is not a DICOM file") from None
    if not known:
        raise Unsupported("its transfer syntax is none of the standard")
    try:
        meta = create_file_meta(
            sop_class_uid=UID(named[0]),
            sop_instance_uid=UID(named[1]),
            transfer_syntax=syntax,
            implementation_uid=IMPLEMENTATION_UID,
            implementation_version=IMPLEMENTATION_VERSION,
        )
        with path.open("xb") as file:
            file.write(b"\0" * 128 + b"DICM")
            write_file_meta_info(file, meta)  # type: ignore[arg-type]  # any binary file does
            offset = file.tell()
            file.write(part[start:])
    except OSError:
        raise Busy("the object cannot be written") from None
    except DECODER_ERRORS:
        raise IncorrectInput("its file meta group is malformed") from None
    return str(syntax), offset, named


def _parts(body: bytes, boundary: str) -> Iterator[memoryview]:
    """Yield the bodies of a multipart message (RFC 2046 5.1.1). Raises IncorrectInput when it is none."""
    if not 0 < len(boundary) <= 200 or not boundary.isascii():
        raise IncorrectInput("the request names no boundary")
    mark = b"--" + boundary.encode()
    if not body.startswith(mark):
        start = body.find(b"\r\n" + mark)  # after a preamble, which nobody reads
        if start < 0:
            raise IncorrectInput("the request has no parts")
        body = body[start + 2 :]
    view, at, count = memoryview(body), len(mark), 0
    while body[at : at + 2] != b"--":
        count += 1
        line = body.find(b"\r\n", at, at + MAX_PART_HEAD)
        head = body.find(b"\r\n\r\n", line, line + MAX_PART_HEAD) if line >= 0 else -1
        end = body.find(b"\r\n" + mark, head + 2) if head >= 0 else -1
        if end < 0 or count > MAX_PARTS:
            raise IncorrectInput("the request's parts are malformed, too many or not ended")
        yield view[min(head + 4, end) : end]
        at = end + 2 + len(mark)


def _answer(archive: Archive, answers: list[_Answer], media_type: str) -> Response:
    taken: list[Json] = []
    failed: list[Json] = []
    for header, error in answers:
        item: dict[str, Any] = {
            "00081150": _ui(header.sop_class_uid),
            "00081155": _ui(header.sop_instance_uid),
        }
        if error is None:
            address = f"{archive.root}/studies/{header.study_uid}/series/{header.series_uid}"
            url = f"{address}/instances/{header.sop_instance_uid}"
            taken.append(item | {"00081190": {"vr": "UR", "Value": [url]}})
        else:
            failed.append(item | {"00081197": {"vr": "US", "Value": [_reason(error)]}})
    found: Json = {}
    studies = {header.study_uid for header, error in answers if error is None}
    if len(studies) == 1:
        found["00081190"] = {"vr": "UR", "Value": [f"{archive.root}/studies/{studies.pop()}"]}
    for tag, items in (("00081198", failed), ("00081199", taken)):
        if items:
            found[tag] = {"vr": "SQ", "Value": items}
    status = 409 if not taken else 202 if failed else 200
    return Response(orjson.dumps(found), status=status, content_type=media_type)


def _reason(error: ClinicalError) -> int:
    """Return the Failure Reason (PS3.3 C.14, PS3.18 annex I): the statuses of C-STORE."""
    if isinstance(error, _Different):
        return DUPLICATE_SOP_INSTANCE
    return DIMSE_STATUS.get(error.category, DIMSE_STATUS[Category.FAULT])


def _ui(uid: str) -> Json:
    return {"vr": "UI", "Value": [uid]} if uid else {"vr": "UI"}


RESOURCES = (Resource("POST", "/studies", store), Resource("POST", "/studies/<study>", store))
