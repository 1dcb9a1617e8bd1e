"""De-identified copies of Part 10 files."""

from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from clinical.destination_pseudonyms import Pseudonyms
from clinical.errors import Unsupported
from dicom_node.confidentiality.actions import Options
from dicom_node.confidentiality.deidentify import deidentify
from dicom_node.incoming import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION


@dataclass(frozen=True, slots=True)
class Disguised:
    """A copy: where it lies, the instance that it is of, and original -> pseudonym of every UID in it."""

    path: Path
    original: str
    uids: dict[str, str]

    @property
    def sop_instance_uid(self) -> str:
        """The instance's UID at the destination."""
        return self.uids[self.original]


def disguise(path: Path, folder: Path, names: Pseudonyms, options: Options) -> Disguised:
    """Write a de-identified copy into a folder, in the transfer syntax of the original.

    Raises Unsupported when it cannot be made harmless or cannot be read; the reason holds no patient data.
    """
    try:
        source = dcmread(path)
        syntax, original = source.file_meta.TransferSyntaxUID, str(source.SOPInstanceUID)
        made, uids = deidentify(source, names, options)
        target = folder / f"{uids[original]}.dcm"
        write(made, syntax, target)
    except (InvalidDicomError, OSError, AttributeError, ValueError, TypeError, KeyError, NotImplementedError):
        raise Unsupported("it cannot be read well enough to be de-identified") from None
    return Disguised(target, original, uids)


def write(ds: Dataset, syntax: UID, path: Path) -> None:
    """Write a Part 10 file of ours: a preamble of zeros, and a meta group that names nobody."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(IMPLEMENTATION_UID), IMPLEMENTATION_VERSION
    ds.file_meta = meta
    ds.save_as(path, enforce_file_format=True)
