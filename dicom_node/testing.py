"""Radiographs, a sender and a receiver for tests and for the demonstration. All synthetic, all labelled so."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    UltrasoundImageStorage,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from clinical.uids import derived_uid
from dicom_node.peer_library import prepare_pynetdicom
from dicom_node.phantom import Nodule, PhantomTruth, TrueNodule, radiograph_phantom
from dicom_node.phantom_ultrasound import BreastLesion, on_screen, ultrasound_phantom

__all__ = [
    "BreastLesion",
    "Nodule",
    "PhantomTruth",
    "ReceivedByAe",
    "TrueNodule",
    "cr_dataset",
    "dicom_from_png",
    "dx_dataset",
    "listening_ae",
    "on_screen",
    "radiograph_phantom",
    "send_files",
    "ultrasound_phantom",
    "ultrasound_region",
    "us_dataset",
    "write_dicom",
]

SYNTHETIC = "SYNTHETIC PHANTOM"
CANARY_NAME = "Zzcanary^Quillon"
CANARY_ID = "ZZCANARY-4711"


def dx_dataset(
    pixels: NDArray[np.unsignedinteger[Any]],
    *,
    spacing_mm: float | None = 0.4,
    bits: int = 12,
    seed: str = "0",
    comment: str = SYNTHETIC,
    **attributes: object,
) -> FileDataset:
    """Return a Digital X-Ray Image For Presentation (PS3.3 A.26) around pixels of shape (rows, columns).

    spacing_mm: Imager Pixel Spacing (at the detector); None leaves it out, as some converters do, although
        the standard asks for it (type 1, PS3.3 C.8.11.4). A CR without it is valid.
    seed: the UIDs derive from it; another seed is another study.
    attributes: what to set (by keyword), or to delete with None.
    """
    ds = _image(
        pixels,
        bits=bits,
        seed=seed,
        comment=comment,
        sop_class=DigitalXRayImageStorageForPresentation,
        modality="DX",
    )
    _set(
        ds,
        PresentationIntentType="FOR PRESENTATION",
        PixelIntensityRelationship="LOG",
        PixelIntensityRelationshipSign=-1,
        RescaleIntercept=0,
        RescaleSlope=1,
        RescaleType="US",
        PresentationLUTShape="IDENTITY",
        LossyImageCompression="00",
        BurnedInAnnotation="NO",
        ImageLaterality="U",
        DetectorType="DIRECT",
        PositionerType="NONE",
        ImagerPixelSpacing=None if spacing_mm is None else [f"{spacing_mm:.6g}"] * 2,
        AnatomicRegionSequence=Sequence([_code("43799004", "SCT", "Chest")]),
        ViewCodeSequence=Sequence([_view()]),
        AcquisitionContextSequence=Sequence([]),
    )
    return _set(ds, **attributes)


def cr_dataset(
    pixels: NDArray[np.unsignedinteger[Any]],
    *,
    spacing_mm: float | None = 0.4,
    bits: int = 12,
    seed: str = "0",
    comment: str = SYNTHETIC,
    **attributes: object,
) -> FileDataset:
    """Return a Computed Radiography Image (PS3.3 A.2); arguments as dx_dataset."""
    ds = _image(
        pixels, bits=bits, seed=seed, comment=comment, sop_class=ComputedRadiographyImageStorage, modality="CR"
    )
    if spacing_mm is not None:
        ds.ImagerPixelSpacing = [f"{spacing_mm:.6g}"] * 2
    return _set(ds, **attributes)


def us_dataset(
    pixels: NDArray[np.uint8],
    *,
    regions: Iterable[Dataset] = (),
    seed: str = "0",
    comment: str = SYNTHETIC,
    **attributes: object,
) -> FileDataset:
    """Return an Ultrasound Image (PS3.3 A.6) of a breast: grey (rows, columns), or RGB (rows, columns, 3).

    regions: of `ultrasound_region`; none leaves the image without a scale. Other arguments as dx_dataset.
    """
    grey = pixels if pixels.ndim == 2 else pixels[:, :, 0]
    ds = _image(grey, bits=8, seed=seed, comment=comment, sop_class=UltrasoundImageStorage, modality="US")
    _set(
        ds,
        ImageType=["ORIGINAL", "PRIMARY", "BREAST", "0001"],
        StudyDescription="US breast",
        BodyPartExamined="BREAST",
        Laterality="L",
        PatientOrientation="",
        BurnedInAnnotation="YES",
        LossyImageCompression="00",
        UltrasoundColorDataPresent=0,
        SequenceOfUltrasoundRegions=Sequence(list(regions)) or None,
        ViewPosition=None,
        WindowCenter=None,
        WindowWidth=None,
    )
    if pixels.ndim == 3:
        _set(ds, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
        payload = pixels.tobytes()
        ds.PixelData = payload + b"\0" * (len(payload) % 2)
    return _set(ds, **attributes)


def ultrasound_region(box: tuple[int, int, int, int], spacing_mm: float | None, **changes: object) -> Dataset:
    """Return an item of Sequence of Ultrasound Regions: a 2D tissue picture, in centimetres when spaced.

    box: (row0, column0, row1, column1), the last two exclusive. changes: what to set, by keyword.
    """
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = box[1], box[0]
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = box[3] - 1, box[2] - 1
    unit = 0 if spacing_mm is None else 3
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = unit
    item.PhysicalDeltaX = item.PhysicalDeltaY = (spacing_mm or 10.0) / 10
    for keyword, value in changes.items():
        setattr(item, keyword, value)
    return item


def dicom_from_png(
    path: Path,
    *,
    modality: str | None = None,
    spacing_mm: float | None = None,
    seed: str | None = None,
    **attributes: object,
) -> FileDataset:
    """Return a DX or CR object around a grey PNG (any mode that PIL turns into 8-bit grey).

    spacing_mm: what the picture's source states; None leaves the image without a spacing.
    modality: "DX" or "CR"; by default DX when there is a spacing, else CR, so that the object is valid.
    """
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"), dtype=np.uint8)
    make = {"DX": dx_dataset, "CR": cr_dataset}[modality or ("CR" if spacing_mm is None else "DX")]
    return make(
        pixels,
        spacing_mm=spacing_mm,
        bits=8,
        seed=seed or path.name,
        comment="CONVERTED FROM A PICTURE",
        **attributes,
    )


def write_dicom(ds: Dataset, path: Path) -> Path:
    """Write a Part 10 file and return its path."""
    ds.save_as(path, enforce_file_format=True)
    return path


@dataclass(slots=True)
class ReceivedByAe:
    """What a listening_ae took. statuses: what to answer for a SOP class UID instead of 0x0000."""

    port: int = 0
    ae_title: str = "PACS"
    objects: list[FileDataset] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)


@contextmanager
def listening_ae(
    *,
    ae_title: str = "PACS",
    port: int = 0,
    sop_classes: Iterable[str] | None = None,
    folder: Path | None = None,
    statuses: Mapping[str, int] | None = None,
) -> Iterator[ReceivedByAe]:
    """Run a small Storage SCP on 127.0.0.1 and yield what it receives.

    port: 0 chooses; the real one is in the yielded object. sop_classes: what is accepted (all by default).
    folder: also write each object there, under a name of ours.
    """
    prepare_pynetdicom()
    received = ReceivedByAe(ae_title=ae_title, statuses=dict(statuses or {}))
    ae = AE(ae_title=ae_title)
    ae.maximum_pdu_size = 0
    ae.add_supported_context(Verification)
    known = [cx.abstract_syntax for cx in AllStoragePresentationContexts]
    for sop_class in known if sop_classes is None else sop_classes:
        ae.add_supported_context(sop_class)

    def on_store(event: evt.Event) -> int:
        ds = event.dataset
        ds.file_meta = event.file_meta
        status = received.statuses.get(str(ds.SOPClassUID), 0x0000)
        if status == 0x0000:
            received.objects.append(ds)
            if folder is not None:
                write_dicom(ds, folder / f"{len(received.objects):04d}.dcm")
        return status

    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    received.port = int(server.server_address[1])
    try:
        yield received
    finally:
        server.shutdown()


def send_files(
    paths: Iterable[Path],
    port: int,
    *,
    called: str = "CONSILIUM",
    calling: str = "MODALITY",
    host: str = "127.0.0.1",
) -> list[int]:
    """Send files over one association as they are encoded; return the status of each (-1: none came)."""
    prepare_pynetdicom()
    datasets = [dcmread(path) for path in paths]
    ae = AE(ae_title=calling)
    for sop_class, syntax in dict.fromkeys((ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in datasets):
        ae.add_requested_context(sop_class, syntax)
    association = ae.associate(host, port, ae_title=called)
    if not association.is_established:
        raise ConnectionRefusedError("the association was not accepted")
    try:
        answers = [association.send_c_store(ds) for ds in datasets]
    finally:
        association.release()
    return [int(answer.Status) if "Status" in answer else -1 for answer in answers]


def _image(
    pixels: NDArray[np.unsignedinteger[Any]], *, bits: int, seed: str, comment: str, sop_class: UID, modality: str
) -> FileDataset:
    rows, columns = pixels.shape
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = UID(derived_uid("synthetic", seed, modality, "instance"))
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    stored = pixels.astype(np.uint8 if bits <= 8 else np.uint16)
    _set(
        ds,
        SpecificCharacterSet="ISO_IR 192",
        ImageType=["ORIGINAL", "PRIMARY"],
        SOPClassUID=sop_class,
        SOPInstanceUID=meta.MediaStorageSOPInstanceUID,
        StudyInstanceUID=derived_uid("synthetic", seed, "study"),
        SeriesInstanceUID=derived_uid("synthetic", seed, modality, "series"),
        PatientName=CANARY_NAME,
        PatientID=CANARY_ID,
        PatientBirthDate="19601231",
        PatientSex="O",
        AccessionNumber="",
        ReferringPhysicianName="",
        StudyID="1",
        StudyDescription="Chest PA",
        SeriesDescription=comment,
        ImageComments=comment,
        Modality=modality,
        Manufacturer="Consilium",
        SeriesNumber=1,
        InstanceNumber=1,
        PatientOrientation=["L", "F"],
        ViewPosition="PA",
        BodyPartExamined="CHEST",
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=rows,
        Columns=columns,
        BitsAllocated=stored.dtype.itemsize * 8,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=0,
        WindowCenter=2 ** (bits - 1),
        WindowWidth=2**bits,
    )
    for what in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{what}Date", "20260102")
        setattr(ds, f"{what}Time", "101112")
    payload = stored.tobytes()
    ds.add_new("PixelData", "OW" if stored.dtype.itemsize == 2 else "OB", payload + b"\0" * (len(payload) % 2))
    return ds


def _set(ds: FileDataset, **attributes: object) -> FileDataset:
    for keyword, value in attributes.items():
        if value is not None:
            setattr(ds, keyword, value)
        elif keyword in ds:
            delattr(ds, keyword)
    return ds


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _view() -> Dataset:
    item = _code("399348003", "SCT", "postero-anterior")
    item.ViewModifierCodeSequence = Sequence([])
    return item
