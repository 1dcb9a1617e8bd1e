"""A DICOM study as an ImagingStudy (R4 8.17): the series that were read and the series of results."""

import datetime as calendar
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clinical.codes import DICOM_DCM
from fhir_adapters.resources.labels import Json, dicom_uid, reference


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What a study says about itself. started: a FHIR dateTime (`date_time`)."""

    started: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """One object of a study: an image that was read, or a SEG or SR that was made."""

    sop_instance_uid: str
    sop_class_uid: str
    series_uid: str
    modality: str


def imaging_study(
    study_uid: str,
    *,
    resource_id: str,
    patient_id: str,
    instances: Sequence[Instance],
    facts: StudyFacts,
    based_on: Sequence[Json] = (),
) -> Json:
    """Return the ImagingStudy of these instances; R4 writes a modality as a Coding."""
    resource: Json = {
        "resourceType": "ImagingStudy",
        "id": resource_id,
        "identifier": [dicom_uid(study_uid)],
        "status": "available",
        "subject": reference("Patient", patient_id),
    }
    if facts.started:
        resource["started"] = facts.started
    if facts.description:
        resource["description"] = facts.description
    if based_on:
        resource["basedOn"] = list(based_on)
    series = {each.series_uid: each.modality for each in instances}
    return resource | _counted([_series(uid, modality, instances) for uid, modality in series.items()])


def merged(stored: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    """Return the new ImagingStudy with the stored one's other series and instances.

    A study is read by several models, image by image; each knows only the objects it touched.
    """
    series = {each["uid"]: each for each in stored.get("series", [])}
    for each in new.get("series", []):
        known = series.get(each["uid"])
        if known is not None:
            instances = {item["uid"]: item for item in [*known.get("instance", []), *each.get("instance", [])]}
            each = {**known, **each, "instance": list(instances.values()), "numberOfInstances": len(instances)}  # noqa: PLW2901
        series[each["uid"]] = each
    return {**stored, **new} | _counted(list(series.values()))


def date_time(date: str | None, time: str | None = None, utc_offset: str | None = None) -> str | None:
    """Return DICOM's Study Date, Study Time and Timezone Offset From UTC (0008,0201) as a FHIR dateTime.

    A FHIR time needs its zone (R4 2.24.0.1); without an offset only the date is certain. None when there is
    no date to read.
    """
    day = re.fullmatch(r"([0-9]{4})\.?(0[1-9]|1[0-2])\.?(0[1-9]|[12][0-9]|3[01])", (date or "").strip())
    if day is None:
        return None
    try:
        calendar.date(*map(int, day.groups()))
    except ValueError:  # the thirtieth of February is no FHIR date
        return None
    clock = re.match(r"([01][0-9]|2[0-3])([0-5][0-9])([0-5][0-9])?", (time or "").strip())
    zone = re.fullmatch(r"([+-])(0[0-9]|1[0-4])([0-5][0-9])", (utc_offset or "").strip())
    text = "-".join(day.groups())
    if clock is None or zone is None:
        return text
    hour, minute, second = clock.groups(default="00")
    return f"{text}T{hour}:{minute}:{second}{zone[1]}{zone[2]}:{zone[3]}"


def _series(uid: str, modality: str, instances: Sequence[Instance]) -> Json:
    own = {each.sop_instance_uid: each for each in instances if each.series_uid == uid}
    return {
        "uid": uid,
        "modality": _modality(modality),
        "numberOfInstances": len(own),
        "instance": [
            {
                "uid": each.sop_instance_uid,
                "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{each.sop_class_uid}"},
            }
            for each in own.values()
        ],
    }


def _counted(series: list[Json]) -> Json:
    modalities = dict.fromkeys(each["modality"]["code"] for each in series)
    return {
        "modality": [_modality(code) for code in modalities],
        "numberOfSeries": len(series),
        "numberOfInstances": sum(each["numberOfInstances"] for each in series),
        "series": series,
    }


def _modality(code: str) -> Json:
    return {"system": DICOM_DCM, "code": code}
