"""Part 10 files into the intake: those of STOW-RS, and those that come out of quarantine again.

Each becomes the very file that C-STORE would have made of it: preamble and file meta group are written by us, so
that an object that comes both ways is one object.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import chain
from pathlib import Path

import pydicom
from pydicom.uid import UID

from clinical.errors import Busy, IncorrectInput, Unsupported
from dicom_node.decoder_errors import DECODER_ERRORS
from dicom_node.header import Header, read_header
from dicom_node.intake import Intake, Sender, check_uids
from dicom_node.part10 import file_beginning
from dicom_node.syntaxes import is_private
from dicom_node.uids import checked_uid
from record_store.instances import Taken

PREAMBLE_BYTES = 128
_MOST_META = 65536
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # PS3.10 7.1: a file that is a TIFF as well is foreseen


class UnknownSyntax(Unsupported):
    """The object is in a transfer syntax that is none of the standard's, nor one that the settings name."""


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A Part 10 file. named: SOP class and instance as its file meta group says them. data_set: in pieces."""

    syntax: UID
    named: tuple[str, str]
    data_set: Iterable[bytes | memoryview]


def open_stream(pieces: Iterator[bytes]) -> OpenedFile:
    """Read the file meta group of a file that is still coming. Raises IncorrectInput where it is none."""
    beginning = bytearray()
    for piece in pieces:
        beginning += piece
        if len(beginning) >= _MOST_META:
            break
    opened = open_file(memoryview(bytes(beginning)))
    return replace(opened, data_set=chain(opened.data_set, pieces))


def open_file(file: memoryview) -> OpenedFile:
    """Read the file meta group. Raises IncorrectInput where it is none."""
    try:
        head = BytesIO(file[:_MOST_META])
        pydicom.filereader.read_preamble(head, force=False)
        # To the first element of another group: dicomweb-client leaves out the group's length where pydicom does.
        meta = pydicom.filereader.read_dataset(
            head, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2
        )
        syntax = UID(meta.TransferSyntaxUID)
        named = (str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID))
        start = head.tell()
    except DECODER_ERRORS:
        raise IncorrectInput("it is not a DICOM file") from None
    return OpenedFile(syntax, named, (file[start:],))


def has_foreign_preamble(file: memoryview) -> bool:
    """Tell whether a file begins as something else than DICOM or TIFF: a program, a page, an archive."""
    preamble = bytes(file[:PREAMBLE_BYTES])
    return preamble.strip(b"\0") != b"" and not preamble.startswith(_TIFF)


@dataclass(frozen=True, slots=True)
class FileIntake:
    """Takes files. staging: a folder on the store's file system. private_syntaxes: see `ScpSettings`."""

    intake: Intake
    staging: Path
    private_syntaxes: Mapping[str, str] = field(default_factory=dict)

    def take(self, file: OpenedFile, sender: Sender, refuse: Callable[[Header], None]) -> tuple[Header, Taken]:
        """Store an object. refuse: raises a ClinicalError for one that is not taken here.

        Raises IncorrectInput for a malformed one, UnknownSyntax, and what the intake raises.
        """
        path = self.staging / f"{uuid.uuid4().hex}.part"
        try:
            encoding = self._encoding(file.syntax)
            offset = _write(path, file)
            header = read_header(path, offset, encoding)
            check_uids(header)
            if (header.sop_class_uid, header.sop_instance_uid) != file.named:
                raise IncorrectInput("the data set is not the instance that its file meta group names")
            refuse(header)
            return header, self.intake.take(path, header, str(file.syntax), sender)
        finally:
            path.unlink(missing_ok=True)  # it was adopted, or it is refused

    def _encoding(self, syntax: UID) -> str:
        if is_private(syntax):
            if syntax not in self.private_syntaxes:
                raise UnknownSyntax("its transfer syntax is private to a vendor, and not named by our settings")
            return self.private_syntaxes[syntax]
        if not syntax.is_transfer_syntax:
            raise UnknownSyntax("its transfer syntax is none of the standard")
        return str(syntax)


def _write(path: Path, file: OpenedFile) -> int:
    """Write a Part 10 file; return where its data set begins."""
    beginning = file_beginning(
        checked_uid(file.named[0], "Media Storage SOP Class UID"),
        checked_uid(file.named[1], "Media Storage SOP Instance UID"),
        str(file.syntax),
    )
    try:
        with path.open("xb") as opened:
            for piece in chain((beginning,), file.data_set):
                opened.write(piece)
    except OSError:
        raise Busy("the object cannot be written") from None
    return len(beginning)
