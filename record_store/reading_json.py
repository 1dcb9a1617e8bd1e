"""A Reading as JSON and back, without loss: what was decided once is what every encoding shows."""

from typing import Any

import orjson

from clinical.codes import Coding
from clinical.errors import ClinicalError, Fault
from clinical.finding import Finding, FindingTerms, ImageRef, Measurement, ModelRef, Reading
from clinical.image import PixelSpacing, SpacingOrigin

SCHEMA = 1


def to_json(reading: Reading) -> bytes:
    """Return the reading as JSON with a schema number.

    Raises Fault when it would not come back equal (a NaN, for one): better no result than another one.
    """
    try:
        body = orjson.dumps({"schema": SCHEMA, "reading": reading}, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:
        raise Fault("a reading holds a value that JSON cannot express") from None
    if from_json(body) != reading:
        raise Fault("a reading would not come back from JSON as it is")
    return body


def from_json(body: bytes) -> Reading:
    """Return the reading that `to_json` wrote. Raises Fault for anything else."""
    try:
        document = orjson.loads(body)
        if document["schema"] != SCHEMA:
            raise Fault("a stored reading has a schema that this version does not know")
        return _reading(document["reading"])
    except (KeyError, TypeError, ValueError, ClinicalError) as exc:
        if isinstance(exc, Fault):
            raise
        raise Fault("a stored reading cannot be read") from None


def _reading(value: dict[str, Any]) -> Reading:
    terms = value["terms"]
    return Reading(
        image=_image(value["image"]),
        model=ModelRef(**value["model"]),
        terms=FindingTerms(
            category=Coding(**terms["category"]),
            kind=Coding(**terms["kind"]),
            observation=Coding(**terms["observation"]),
            body_site=Coding(**terms["body_site"]),
            label=terms["label"],
        ),
        threshold=value["threshold"],
        findings=tuple(_finding(item) for item in value["findings"]),
    )


def _image(value: dict[str, Any]) -> ImageRef:
    spacing = value["spacing"]
    if spacing is not None:
        spacing = PixelSpacing(spacing["row_mm"], spacing["column_mm"], SpacingOrigin(spacing["origin"]))
    return ImageRef(**value | {"spacing": spacing})


def _finding(value: dict[str, Any]) -> Finding:
    row, column = value["centroid_px"]
    row0, column0, row1, column1 = value["box_px"]
    return Finding(
        number=value["number"],
        probability=value["probability"],
        centroid_px=(row, column),
        box_px=(row0, column0, row1, column1),
        outline_px=tuple((vertex[0], vertex[1]) for vertex in value["outline_px"]),
        long_axis=_measurement(value["long_axis"]),
        short_axis=_measurement(value["short_axis"]),
    )


def _measurement(value: dict[str, Any]) -> Measurement:
    return Measurement(Coding(**value["what"]), value["value"], value["unit"])
