"""Attributes of the objects that the node makes, found by making each of them twice.

What stands in both with the image's own value is copied from the image; what is the same in both is always so; the
rest is made for the result. Types are those of PS3.3 (highdicom's tables of modules).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import numpy as np
from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom.datadict import dictionary_description
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID

from clinical.codes import LONG_AXIS, LUNG, NODULE_OF_LUNG, SHORT_AXIS, SNOMED_CT, Coding
from clinical.finding import Finding, FindingTerms, ImageRef, Measurement, ModelRef, Reading, ReadingMask
from clinical.image import PixelSpacing, SpacingOrigin
from dicom_node.results import ENCODERS, Encoder, ResultContext
from dicom_node.results.source import normalise_source
from dicom_node.statement.text import table
from dicom_node.testing import dx_dataset

_SIDES = {"1": 64, "2": 72}  # rows and columns
_LONGEST = 48


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute at the top of an object. type: of PS3.3, "-" where its tables do not have it."""

    tag: str
    name: str
    vr: str
    type: str
    origin: str


@dataclass(frozen=True, slots=True)
class _Made:
    image: Dataset
    result: Dataset


def kinds() -> Iterator[tuple[Encoder, UID, list[Attribute]]]:
    """Yield each kind of result, its SOP class and its attributes."""
    for encoder in ENCODERS:
        one, other = (_made(encoder, seed) for seed in ("1", "2"))
        types = _types_of(str(one.result.SOPClassUID))
        yield encoder, one.result.SOPClassUID, [
            Attribute(
                str(element.tag).upper(), dictionary_description(element.tag), element.VR,
                types.get(element.keyword, "-"), _origin(element, one, other),
            )
            for element in one.result
            if element.tag.group != 2
        ]  # fmt: skip


def example(encoder: Encoder) -> Dataset:
    """Return an object of a kind, of an image that was made up."""
    return _made(encoder, "1").result


def as_tables() -> list[str]:
    """Return a table for each kind of result."""
    lines: list[str] = []
    for encoder, sop_class, attributes in kinds():
        lines += ["", f"### {encoder.kind}: {sop_class.name}", ""]
        lines += table(
            ("tag", "attribute", "VR", "type", "value"),
            ((one.tag, one.name, one.vr, one.type, one.origin) for one in attributes),
        )
    return lines


def _origin(element: DataElement, one: _Made, other: _Made) -> str:
    """Return where a value is from. What the two images have in common, they cannot tell from a constant."""
    keyword = element.keyword
    if keyword in other.result and other.result[keyword].value == element.value:
        return _constant(element)
    if all(
        keyword in made.image and made.image[keyword].value == made.result.get(keyword) for made in (one, other)
    ):
        return "of the image"
    return "made for the result"


def _constant(element: DataElement) -> str:
    if element.VR == "SQ":
        return "always the same item" if element.value else "always empty"
    text = "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value or "")
    return ("always " + (text if len(text) <= _LONGEST else "the same")) if text else "always empty"


@cache
def _types_of(sop_class: str) -> dict[str, str]:
    """Return keyword -> type of the attributes at the top of an IOD; the strictest where modules differ."""
    modules = get_iod_module_map()[get_sop_class_iod_map()[sop_class]]
    found: dict[str, str] = {}
    for module in modules:
        for attribute in get_module_attribute_map()[module["key"]]:
            if not attribute["path"]:
                keyword, kind = attribute["keyword"], attribute["type"]
                found[keyword] = min(found.get(keyword, kind), kind)
    return found


def _made(encoder: Encoder, seed: str) -> _Made:
    image = _image(seed)
    reading, mask = _reading(image, seed)
    context = ResultContext(
        sop_instance_uid=f"2.25.{seed}1",
        series_instance_uid=f"2.25.{seed}2",
        series_number=encoder.series_number,
        tracking_uids={1: f"2.25.{seed}3"},
        manufacturer="Consilium",
        software_version=seed,
        device_serial=f"node-{seed}",
        created=datetime(2026, 3, int(seed), 5, 6, int(seed), tzinfo=UTC),
        picture=(np.frombuffer(image.PixelData, "<u2").reshape(image.Rows, image.Columns) >> 4).astype(np.uint8),
    )
    result = encoder.encode(reading, mask, normalise_source(image), context)
    if result is None:
        raise AssertionError(f"{encoder.kind} has nothing to say about its example")
    return _Made(image, result)


def _image(seed: str) -> Dataset:
    """Return an image in which everything that may be copied differs from that of another seed."""
    pixels = np.random.default_rng(int(seed)).integers(0, 4096, (_SIDES[seed], _SIDES[seed])).astype(np.uint16)
    return dx_dataset(
        pixels,
        seed=seed,
        spacing_mm=float(f"0.{seed}"),
        SpecificCharacterSet={"1": "ISO_IR 192", "2": "ISO_IR 100"}[seed],
        Manufacturer=f"maker-{seed}",
        InstanceNumber=10 + int(seed),
        PatientOrientation=["LR"[int(seed) - 1], "F"],
        LossyImageCompression=f"0{int(seed) - 1}",
        PatientName=f"Name^{seed}",
        PatientID=f"id-{seed}",
        IssuerOfPatientID=f"issuer-{seed}",
        PatientBirthDate=f"1960010{seed}",
        PatientSex="MF"[int(seed) - 1],
        AccessionNumber=f"accession-{seed}",
        ReferringPhysicianName=f"Referrer^{seed}",
        StudyID=f"study-{seed}",
        StudyDescription=f"description-{seed}",
        StudyDate=f"2026010{seed}",
        StudyTime=f"10111{seed}",
    )


def _reading(image: Dataset, seed: str) -> tuple[Reading, ReadingMask]:
    spacing = PixelSpacing(float(f"0.{seed}"), float(f"0.{seed}"), SpacingOrigin.IMAGER_PIXEL_SPACING)
    ref = ImageRef(
        str(image.StudyInstanceUID),
        str(image.SeriesInstanceUID),
        str(image.SOPInstanceUID),
        str(image.SOPClassUID),
        str(image.Modality),
        int(image.Rows),
        int(image.Columns),
        spacing,
    )
    top = 10 + int(seed)
    labels = np.zeros((_SIDES[seed], _SIDES[seed]), np.int16)
    labels[top : top + 8, 20:26] = 1
    finding = Finding(
        number=1,
        probability=0.5 + int(seed) / 10,
        centroid_px=(top + 3.5, 22.5),
        box_px=(top, 20, top + 8, 26),
        outline_px=((top, 20), (top, 25), (top + 7, 25), (top + 7, 20)),
        long_axis=Measurement(LONG_AXIS, 12.0 + int(seed), "mm"),
        short_axis=Measurement(SHORT_AXIS, 7.0 + int(seed), "mm"),
    )
    terms = FindingTerms(
        category=Coding(SNOMED_CT, "49755003", "Morphologically Abnormal Structure"),
        kind=Coding(SNOMED_CT, "27925004", "Nodule"),
        observation=NODULE_OF_LUNG,
        body_site=LUNG,
        label=f"finding {seed}",
    )
    model = ModelRef(f"model-{seed}", f"0.{seed}.0", seed * 64)
    return Reading(ref, model, terms, 0.5, (finding,)), ReadingMask(labels)
