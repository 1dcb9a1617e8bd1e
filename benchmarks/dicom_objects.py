"""The objects of the ingest benchmark: synthetic CT slices of 0.5 MB and radiographs of 18 MB, with an index.

The index (objects.json) holds what a sender must say about each file.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import CTImageStorage

from clinical.uids import derived_uid
from dicom_node.testing import dx_dataset, write_dicom

KINDS = {"ct": (200, 512), "dx": (12, 3000)}  # how many, rows and columns


@dataclass(frozen=True, slots=True)
class SentObject:
    """A Part 10 file. offset: where its data set begins, in bytes."""

    file: str
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    offset: int


def make_objects(folder: Path, kind: str, count: int, first: int = 0) -> int:
    """Write `count` objects of a kind, all of one study, and their index; return the bytes of their data sets.

    first: the number of the first one; objects of other numbers are others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(7).integers(0, 4096, (KINDS[kind][1],) * 2, dtype=np.uint16)
    index, total = [], 0
    for number in range(first, first + count):
        pixels[0, :2] = number >> 8, number & 255
        path = write_dicom(_data_set(kind, number, pixels), folder / f"{number:04d}.dcm")
        entry = _entry(path)
        index.append(asdict(entry))
        total += path.stat().st_size - entry.offset
    (folder / "objects.json").write_text(json.dumps(index))
    return total


def read_objects(folder: Path) -> list[tuple[SentObject, bytes]]:
    """Return the objects of a folder, each with its encoded data set."""
    index = [SentObject(**one) for one in json.loads((folder / "objects.json").read_text())]
    return [(one, (folder / one.file).read_bytes()[one.offset :]) for one in index]


def _data_set(kind: str, number: int, pixels: np.ndarray) -> Dataset:
    study = derived_uid("benchmark", "study")
    ds = dx_dataset(pixels, seed=f"benchmark-{kind}-{number}", StudyInstanceUID=study, InstanceNumber=number)
    ds.SeriesInstanceUID = derived_uid("benchmark", kind)
    if kind == "ct":
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.Modality = "CT"
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [-180, -180, number], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [0.7, 0.7], 1
    return ds


def _entry(path: Path) -> SentObject:
    meta = read_file_meta_info(path)
    offset = 128 + 4 + 12 + int(meta.FileMetaInformationGroupLength)  # PS3.10 7.1
    sop_class, instance = str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID)
    return SentObject(path.name, sop_class, instance, str(meta.TransferSyntaxUID), offset)
