"""Search transactions, QIDO-RS (PS3.18 10.6): studies, series, instances, at each level and across all studies."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from flask import Response, request

from dicom_node.uids import checked_uid
from dicom_node.web.archive import MAX_OBJECTS, Archive, Resource
from dicom_node.web.json_model import Json
from dicom_node.web.matching import Query, matches, read_query
from dicom_node.web.media import require_json
from record_store.exchanges import Kind
from record_store.holdings import HeldObject, HeldStudy, newest_studies, objects_of

SCANNED = 2000  # studies that one search looks at; who asks more widely is told so

STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
_PATIENT = "00100020"
_CHARACTER_SET = "00080005"
# PS3.18 tables 10.6.3-3, 10.6.3-4 and 10.6.3-5.
_STUDY_TAGS = (
    "00080020", "00080030", "00080050", "00080061", "00080090", "00081030", "00100010", _PATIENT, "00100021",
    "00100030", "00100040", STUDY, "00200010", "00201206", "00201208",
)  # fmt: skip
_SERIES_TAGS = (
    "00080060", "0008103E", SERIES, "00200011", "00080021", "00080031", "00080070", "00180015", "00201209",
)  # fmt: skip
_INSTANCE_TAGS = ("00080016", INSTANCE, "00200013", "00280008", "00280010", "00280011", "00280100")
_RETRIEVE_URL = "00081190"


def studies(archive: Archive) -> Response:
    """GET /studies."""
    query = read_query(request.args, _STUDY_TAGS)
    return _answer(archive, query, _study_rows(archive, query, "", query.keys))


def series(archive: Archive, study: str = "") -> Response:
    """GET /series and GET /studies/{study}/series."""
    query = read_query(request.args, _STUDY_TAGS + _SERIES_TAGS)
    return _answer(archive, query, _series_rows(archive, query, study))


def instances(archive: Archive, study: str = "", series: str = "") -> Response:
    """GET /instances and below a study or a series of it."""
    query = read_query(request.args, _STUDY_TAGS + _SERIES_TAGS + _INSTANCE_TAGS)
    return _answer(archive, query, _instance_rows(archive, query, study, series))


def _answer(archive: Archive, query: Query, rows: Iterator[Json | None]) -> Response:
    media_type = require_json()
    found: list[Json] = []
    remarks = list(query.remarks)
    skipped = 0
    for row in rows:
        if row is None:  # the scan has ended before the store has
            remarks.append("the search was ended before it had looked at everything; narrow it")
            break
        if skipped < query.offset:
            skipped += 1
        elif len(found) < query.limit:
            found.append(row)
        else:
            remarks.append("there are more results; ask on with offset")
            break
    warning = {"Warning": ", ".join(f'299 {archive.root} "{text}"' for text in remarks)} if remarks else {}
    if not found:
        return Response(status=204, headers=warning)
    return Response(orjson.dumps(found), content_type=media_type, headers=warning)


def _study_rows(archive: Archive, query: Query, study: str, keys: Mapping[str, str]) -> Iterator[Json | None]:
    for held, row in _held_studies(archive, query, study):
        if row is None or held is None:
            yield None
        elif matches(row, keys):
            yield _shown(row, query, _STUDY_TAGS)


def _series_rows(archive: Archive, query: Query, study: str) -> Iterator[Json | None]:
    of_study = query.without(_SERIES_TAGS)
    for held, row in _held_studies(archive, query, study):
        if row is None or held is None:
            yield None
        elif matches(row, of_study):
            for uid, objects in _by_series(archive, held.study_uid).items():
                made = _series_row(archive, objects, uid)
                if matches(made, query.without(_STUDY_TAGS)):
                    yield _shown(row | made, query, (*(() if study else _STUDY_TAGS), STUDY, *_SERIES_TAGS))


def _instance_rows(archive: Archive, query: Query, study: str, series: str) -> Iterator[Json | None]:
    of_study = query.without(_SERIES_TAGS + _INSTANCE_TAGS)
    of_series = query.without(_STUDY_TAGS + _INSTANCE_TAGS)
    named = (*(() if study else _STUDY_TAGS), STUDY, *(() if series else _SERIES_TAGS), SERIES, *_INSTANCE_TAGS)
    for held, row in _held_studies(archive, query, study):
        if row is None or held is None:
            yield None
            continue
        if not matches(row, of_study):
            continue
        for uid, objects in _by_series(archive, held.study_uid).items():
            about = _series_row(archive, objects, uid) if not series or of_series else {}
            if series not in {"", uid} or (of_series and not matches(about, of_series)):
                continue
            for one in objects:
                made = _instance_row(archive, one, uid)
                if matches(made, query.without(_STUDY_TAGS + _SERIES_TAGS)):
                    yield _shown(row | about | made, query, named)


def _held_studies(archive: Archive, query: Query, study: str) -> Iterator[tuple[HeldStudy | None, Json | None]]:
    """Yield studies with their rows; (None, None) where the scan ends early."""
    if study:
        checked_uid(study, "the study")
    uids = [study] if study else query.uids(STUDY)
    scope = archive.scope()
    if scope is not None:
        uids = [scope] if scope in uids or not uids else []
        if not uids:
            return
    asked = query.keys.get(_PATIENT, "").strip()
    patient = "" if {"*", "?"} & set(asked) else asked
    with archive.db.read() as conn:
        for number, held in enumerate(newest_studies(conn, uids, patient)):
            if number == SCANNED:
                yield None, None
                return
            yield held, _study_row(archive, held)


def _study_row(archive: Archive, held: HeldStudy) -> Json:
    headers = archive.headers
    speaking = held.first or (held.made[0] if held.made else None)
    row: Json = dict(headers.of(archive.blobs, speaking.sha256)) if speaking else {}
    made = [(archive.series_of(one), headers.text(archive.blobs, one.sha256, "00080060")) for one in held.made]
    modalities = sorted({*held.series.values(), *(modality for _, modality in made)} - {""})
    row[STUDY] = {"vr": "UI", "Value": [held.study_uid]}
    row["00080061"] = {"vr": "CS", "Value": modalities} if modalities else {"vr": "CS"}
    row["00201206"] = {"vr": "IS", "Value": [len({*held.series, *(uid for uid, _ in made)})]}
    row["00201208"] = {"vr": "IS", "Value": [held.received + len(made)]}
    row[_RETRIEVE_URL] = {"vr": "UR", "Value": [f"{archive.root}/studies/{held.study_uid}"]}
    return row


def _by_series(archive: Archive, study: str) -> dict[str, list[HeldObject]]:
    with archive.db.read() as conn:
        objects = objects_of(conn, study)
    found: dict[str, list[HeldObject]] = {}
    for one in objects[:MAX_OBJECTS]:
        found.setdefault(archive.series_of(one), []).append(one)
    return found


def _series_row(archive: Archive, objects: list[HeldObject], uid: str) -> Json:
    header = archive.headers.of(archive.blobs, objects[0].sha256)
    row: Json = {tag: header[tag] for tag in header if tag not in _STUDY_TAGS}
    row[SERIES] = {"vr": "UI", "Value": [uid]}
    row["00201209"] = {"vr": "IS", "Value": [len(objects)]}
    row[_RETRIEVE_URL] = {"vr": "UR", "Value": [f"{archive.root}/studies/{objects[0].study_uid}/series/{uid}"]}
    return row


def _instance_row(archive: Archive, one: HeldObject, series: str) -> Json:
    row: Json = dict(archive.headers.of(archive.blobs, one.sha256))
    for tag in (*_STUDY_TAGS, "00201209"):
        row.pop(tag, None)  # the study's own row says these once for all
    row |= {
        "00080016": {"vr": "UI", "Value": [one.sop_class_uid]},
        INSTANCE: {"vr": "UI", "Value": [one.sop_instance_uid]},
        SERIES: {"vr": "UI", "Value": [series]},
        _RETRIEVE_URL: {"vr": "UR", "Value": [archive.address(one)]},
    }
    return row


def _shown(row: Json, query: Query, usual: tuple[str, ...]) -> Json:
    wanted = {*usual, *query.fields, *query.keys, _CHARACTER_SET, _RETRIEVE_URL, "00080056"}
    shown: dict[str, Any] = {tag: row[tag] for tag in row if query.all_fields or tag in wanted}
    if _CHARACTER_SET in shown:
        shown[_CHARACTER_SET] = {"vr": "CS", "Value": ["ISO_IR 192"]}  # JSON is UTF-8 (F.2)
    shown["00080056"] = {"vr": "CS", "Value": ["ONLINE"]}
    # Required of every study even where the object has none (table 10.6.3-3, type 2).
    for tag, vr in (("00100010", "PN"), (_PATIENT, "LO"), ("00200010", "SH")) if _PATIENT in usual else ():
        shown.setdefault(tag, {"vr": vr})
    return dict(sorted(shown.items()))


RESOURCES = (
    Resource("GET", "/studies", studies, Kind.QUERY, "QIDO-RS"),
    Resource("GET", "/series", series, Kind.QUERY, "QIDO-RS"),
    Resource("GET", "/instances", instances, Kind.QUERY, "QIDO-RS"),
    Resource("GET", "/studies/<study>/series", series, Kind.QUERY, "QIDO-RS"),
    Resource("GET", "/studies/<study>/instances", instances, Kind.QUERY, "QIDO-RS"),
    Resource("GET", "/studies/<study>/series/<series>/instances", instances, Kind.QUERY, "QIDO-RS"),
)
