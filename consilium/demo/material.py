"""What the demonstration sends: a radiograph or a breast ultrasound, and the record of the same patient."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from consilium.demo.server import DemoFailed
from dicom_node.testing import (
    BreastLesion,
    dicom_from_png,
    dx_dataset,
    on_screen,
    radiograph_phantom,
    ultrasound_phantom,
    ultrasound_region,
    us_dataset,
    write_dicom,
)

PNG_SIGNATURE = b"\x89PNG"
PHANTOM_SEED = 7
ULTRASOUND_SEED = 2
MODALITIES = ("CR", "DX", "US")
Truth = tuple[tuple[float, float, float], ...]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Material:
    """A DICOM file and the record. truth: (row, column, diameter in mm) of each lesion put in, if it is known.

    issuer: Issuer of Patient ID as the image states it. system, value: the patient's identifier in the record.
    """

    file: Path
    study_uid: str
    sop_instance_uid: str
    described: str
    record: Json
    issuer: str
    system: str
    value: str
    truth: Truth | None

    def resources(self, kind: str) -> list[Json]:
        """Return the record's resources of one type."""
        found = [entry["resource"] for entry in self.record["entry"]]
        return [resource for resource in found if resource["resourceType"] == kind]

    @property
    def patient(self) -> Json:
        """The record's patient."""
        return self.resources("Patient")[0]


def prepare_material(folder: Path, image: Path | None, patient: Path | None, *, breast: bool = False) -> Material:
    """Make or read the image and the record. breast: an ultrasound, where neither is given or the image is a PNG.

    Raises DemoFailed with what to do.
    """
    record = _record(patient, "breast.json" if breast else "patient.json")
    identifier = _identifier(_patient(record))
    truth = None
    if image is None:
        ds, truth = _ultrasound() if breast else _radiograph()
        what = "lesion" if breast else "nodule"
        described = f"synthetic phantom with {len(truth)} {what}{'' if len(truth) == 1 else 's'}"
    else:
        ds = _read_image(image, breast=breast)
        described = image.name
    if image is None or not _is_dicom(image):
        _name_patient(ds, _patient(record), identifier["value"])
    elif str(ds.get("PatientID", "")) != identifier["value"]:
        if patient is not None:
            raise DemoFailed("the image and the bundle are of different patients: their identifiers differ")
        identifier["value"] = str(ds.get("PatientID", "")) or _missing_id()
    return Material(
        file=write_dicom(ds, folder / "sent.dcm"),
        study_uid=str(ds.StudyInstanceUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        described=described,
        record=record,
        issuer=str(ds.get("IssuerOfPatientID", "")),
        system=identifier["system"],
        value=identifier["value"],
        truth=truth,
    )


def _radiograph() -> tuple[Dataset, Truth]:
    pixels, known = radiograph_phantom(PHANTOM_SEED)
    ds = dx_dataset(pixels, spacing_mm=known.spacing_mm, seed=str(PHANTOM_SEED))
    return ds, tuple((n.row_px, n.column_px, n.diameter_mm) for n in known.nodules)


def _ultrasound() -> tuple[Dataset, Truth]:
    """Return a screen with one picture, stored in colour as most scanners do, and the lesion put in."""
    lesion = BreastLesion(roughness=0.8, posterior_db=-8, width_mm=12, height_mm=11)
    pixels, known = ultrasound_phantom(ULTRASOUND_SEED, [lesion])
    screen, boxes = on_screen([pixels])
    regions = [ultrasound_region(box, known.spacing_mm) for box in boxes]
    ds = us_dataset(np.stack([screen] * 3, axis=2), regions=regions, seed=f"us-{ULTRASOUND_SEED}")
    middles = [np.argwhere(mask).mean(axis=0) + boxes[0][:2] for mask in known.masks]
    return ds, tuple((float(row), float(column), lesion.width_mm) for row, column in middles)


def _record(path: Path | None, otherwise: str) -> Json:
    try:
        text = (
            path.read_text("utf-8") if path else resources.files("consilium.demo").joinpath(otherwise).read_text()
        )
        bundle = json.loads(text)
    except (OSError, ValueError):
        raise DemoFailed(f"{path} is not a readable JSON file") from None
    entries = bundle.get("entry") if isinstance(bundle, dict) else None
    whole = [entry for entry in entries if _resource(entry)] if isinstance(entries, list) else []
    record = {"entry": whole}
    for entry in whole:
        # What describes the image of today was said today: a date in a file would be of another year soon.
        if path is None and _resource(entry)["resourceType"] == "Observation":
            _resource(entry).setdefault("effectiveDateTime", datetime.now(UTC).date().isoformat())
    # The hook is called for this id, and a bundle made by hand may have none.
    _patient(record).setdefault("id", "demo")
    return record


def _resource(entry: object) -> Json:
    inner = entry.get("resource") if isinstance(entry, dict) else None
    return inner if isinstance(inner, dict) and isinstance(inner.get("resourceType"), str) else {}


def _patient(record: Json) -> Json:
    found = [_resource(entry) for entry in record["entry"] if _resource(entry)["resourceType"] == "Patient"]
    if len(found) != 1:
        raise DemoFailed("the file must be a FHIR Bundle that holds exactly one Patient, as entry.resource")
    return found[0]


def _identifier(patient: Json) -> Json:
    listed = patient.get("identifier")
    for item in listed if isinstance(listed, list) else []:
        if isinstance(item, dict) and item.get("system") and item.get("value"):
            return item
    raise DemoFailed("the bundle's Patient needs an identifier with a system and a value")


def _is_dicom(image: Path) -> bool:
    with image.open("rb") as file:
        return file.read(4) != PNG_SIGNATURE


def _read_image(image: Path, *, breast: bool) -> Dataset:
    try:
        if _is_dicom(image):
            return _readable(dcmread(image), image)
        seed = hashlib.sha256(image.read_bytes()).hexdigest()[:16]
        if breast:
            with Image.open(image) as picture:
                grey = np.asarray(picture.convert("L"), dtype=np.uint8)
            return us_dataset(grey, seed=seed, comment="CONVERTED FROM A PICTURE")
        return dicom_from_png(image, seed=seed)
    except (OSError, InvalidDicomError):
        raise DemoFailed(f"{image} is neither a readable PNG nor a DICOM file") from None


def _readable(ds: Dataset, image: Path) -> Dataset:
    """Return the image when a model will look at it: to wait for a result that cannot come helps nobody."""
    lacking = [
        word for word in ("StudyInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality") if word not in ds
    ]
    if lacking:
        raise DemoFailed(f"{image.name} lacks {', '.join(lacking)}, so no archive would take it")
    if ds.Modality not in MODALITIES or int(ds.get("NumberOfFrames") or 1) > 1:
        raise DemoFailed(
            f"{image.name} is of modality {ds.Modality}; the shipped models read single-frame chest radiographs"
            " (CR or DX) and breast ultrasounds (US)"
        )
    return ds


def _name_patient(ds: Dataset, patient: Json, value: str) -> None:
    name = (patient.get("name") or [{}])[0]
    ds.PatientID = value
    ds.PatientName = f"{name.get('family', '')}^{' '.join(name.get('given', []))}"
    ds.PatientBirthDate = str(patient.get("birthDate", "")).replace("-", "")
    ds.PatientSex = {"female": "F", "male": "M"}.get(str(patient.get("gender")), "O")


def _missing_id() -> str:
    raise DemoFailed("the image names no patient (Patient ID 0010,0020 is empty), so no result could be filed")
