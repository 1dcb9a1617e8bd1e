"""A Reading as JSON and back, without loss: what was decided once is what every encoding shows."""

import base64
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from clinical.codes import Coding
from clinical.comparison import Comparison
from clinical.comparison import Side as ComparedSide
from clinical.conformal import Answer
from clinical.errors import ClinicalError, Fault
from clinical.finding import Finding, FindingTerms, ImageRef, Measurement, ModelRef, Reading
from clinical.image import PixelSpacing, SpacingOrigin
from clinical.inputs import InputUsed
from clinical.lesion import Basis, ImageTokens, LesionAssessment, Occlusion, Side

SCHEMA = 1
COMPARISON_VERSION = 1  # of the part that only readings have that were compared with an earlier image
LESIONS_VERSION = 1  # of the part that only models have that assess what they found


def to_json(reading: Reading) -> bytes:
    """Return the reading as JSON with a schema number.

    Raises Fault when it would not come back equal (a NaN, for one): better no result than another one.
    """
    document: dict[str, Any] = {"schema": SCHEMA, "reading": replace(reading, lesions=(), comparison=None)}
    if reading.lesions:
        document["lesions"] = {"version": LESIONS_VERSION, "assessments": reading.lesions}
    if reading.comparison is not None:
        document["comparison"] = {"version": COMPARISON_VERSION, "with": reading.comparison}
    try:
        body = orjson.dumps(document, default=_bytes, option=orjson.OPT_SERIALIZE_NUMPY)
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
        return replace(
            _reading(document["reading"]),
            lesions=_lesions(document.get("lesions")),
            comparison=_comparison(document.get("comparison")),
        )
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
        degraded=value.get("degraded", False),  # readings of an earlier version do not say
    )


def _bytes(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError


def _lesions(part: dict[str, Any] | None) -> tuple[LesionAssessment, ...]:
    if part is None:
        return ()
    if part["version"] != LESIONS_VERSION:
        raise Fault("a stored reading has assessments of a version that this server does not know")
    return tuple(_lesion(item) for item in part["assessments"])


def _comparison(part: dict[str, Any] | None) -> Comparison | None:
    if part is None:
        return None
    if part["version"] != COMPARISON_VERSION:
        raise Fault("a stored reading has a comparison of a version that this server does not know")
    value = part["with"]
    return Comparison(
        **value
        | {
            "prior": _image(value["prior"]),
            "then": ComparedSide(**value["then"]),
            "now": ComparedSide(**value["now"]),
            "report": None if value["report"] is None else tuple(value["report"]),
        }
    )


def _lesion(value: dict[str, Any]) -> LesionAssessment:
    tokens = value["tokens"]
    return LesionAssessment(
        finding=value["finding"],
        outcome=Coding(**value["outcome"]),
        basis=Basis(value["basis"]),
        probability=value["probability"],
        image_probability=value["image_probability"],
        answer=Answer(value["answer"]),
        inputs=tuple(_input(item) for item in value["inputs"]),
        missing=tuple(value["missing"]),
        tokens=ImageTokens(tuple(tokens["shape"]), base64.b64decode(tokens["data"], validate=True)),
        occlusion=_occlusion(value["occlusion"]),
        side=None if value["side"] is None else Side(value["side"]),
    )


def _occlusion(value: dict[str, Any] | None) -> Occlusion | None:
    if value is None:
        return None
    row0, column0, row1, column1 = value["box"]
    return Occlusion((row0, column0, row1, column1), tuple(tuple(line) for line in value["changes"]))


def _input(value: dict[str, Any]) -> InputUsed:
    taken_at = value["taken_at"]
    return InputUsed(**value | {"taken_at": None if taken_at is None else datetime.fromisoformat(taken_at)})


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
