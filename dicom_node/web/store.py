"""Store, STOW-RS (PS3.18 10.5): objects in by HTTP, through the same intake as C-STORE.

Each object becomes the very file that C-STORE would have made of it: preamble and file meta group are written by
us, so an object that comes both ways is one object. What became of each is in the answer (PS3.18 10.5.3, annex I).
"""

import uuid
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
from flask import Response, request
from pydicom.dataset import Dataset
from pydicom.uid import UID

from clinical.errors import Busy, ClinicalError, Denied, IncorrectInput, Unsupported
from dicom_node.header import Header, read_header
from dicom_node.intake import Intake, NotCommitted, Sender, check_uids
from dicom_node.uids import checked_uid
from dicom_node.web.archive import Archive, Resource, touched
from dicom_node.web.decoder_errors import DECODER_ERRORS
from dicom_node.web.json_objects import JSON, objects_of
from dicom_node.web.media import MULTIPART, parameters, require_json
from dicom_node.web.multipart import ReceivedPart, read_parts
from dicom_node.web.problems import http_report
from dicom_node.web.store_response import Different, Fate, UnknownSyntax, response
from record_store.exchanges import Kind
from record_store.instances import Taken

DICOM = "application/dicom"
SENDER = "STOW-RS"
_Named = tuple[str, str]  # SOP Class UID, SOP Instance UID


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


def _take(
    archive: Archive, intake: Intake, given: memoryview | Dataset | IncorrectInput | Unsupported, study: str
) -> Fate:
    header = Header()
    sender = Sender(SENDER, SENDER)
    path = archive.blobs.staging / f"{uuid.uuid4().hex}.part"
    try:
        if isinstance(given, ClinicalError):
            raise given
        syntax, named, data_set = _from_file(given) if isinstance(given, memoryview) else _from_json(given)
        header = Header(sop_class_uid=named[0], sop_instance_uid=named[1])
        offset = _write(path, syntax, named, data_set)
        header = read_header(path, offset, str(syntax))
        check_uids(header)
        if (header.sop_class_uid, header.sop_instance_uid) != named:
            raise IncorrectInput("the data set is not the instance that its file meta group names")
        if study not in {"", header.study_uid}:
            raise IncorrectInput("the object is of another study than the address")
        archive.refuse_class(header.sop_class_uid)
        if intake.take(path, header, str(syntax), sender) is Taken.DIFFERENT:
            raise Different("another object has this SOP Instance UID")
    except ClinicalError as error:
        audited = not isinstance(error, NotCommitted)
        intake.refused(header.sop_instance_uid, sender, str(error.category), error.message, audited=audited)
        return header, error
    finally:
        path.unlink(missing_ok=True)  # it was adopted, or it is refused
    return header, None


def _from_file(part: memoryview) -> tuple[UID, _Named, memoryview]:
    """Return (transfer syntax, what the file meta group names, the data set) of a Part 10 file."""
    try:
        file = BytesIO(part[:65536])
        pydicom.filereader.read_preamble(file, force=False)
        # To the first element of another group: dicomweb-client leaves out the group's length where pydicom does.
        head = pydicom.filereader.read_dataset(
            file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2
        )
        syntax = UID(head.TransferSyntaxUID)
        named = (str(head.MediaStorageSOPClassUID), str(head.MediaStorageSOPInstanceUID))
        start = file.tell()
    except DECODER_ERRORS:
        raise IncorrectInput("it is not a DICOM file") from None
    return syntax, named, part[start:]


def _from_json(ds: Dataset) -> tuple[UID, _Named, memoryview]:
    """Return the same of an object that came as metadata and bulk data."""
    buffer = BytesIO()
    try:
        pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    except DECODER_ERRORS:
        raise IncorrectInput("the metadata is not that of an object") from None
    return _from_file(buffer.getbuffer())


def _write(path: Path, syntax: UID, named: _Named, data_set: memoryview) -> int:
    """Write a Part 10 file; return where its data set begins."""
    from pydicom.filewriter import write_file_meta_info  # noqa: PLC0415 - pynetdicom, for who stores only
    from pynetdicom.dsutils import create_file_meta  # noqa: PLC0415

    from dicom_node.incoming import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION  # noqa: PLC0415

    if not syntax.is_transfer_syntax or syntax.is_private:
        raise UnknownSyntax("its transfer syntax is none of the standard")
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
            file.write(data_set)
    except OSError:
        raise Busy("the object cannot be written") from None
    except DECODER_ERRORS:
        raise IncorrectInput("its file meta group is malformed") from None
    return offset


RESOURCES = tuple(
    Resource("POST", rule, store, Kind.TRANSFERRED, "STOW-RS") for rule in ("/studies", "/studies/<study>")
)
