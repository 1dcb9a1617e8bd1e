"""Search transactions, QIDO-RS (PS3.18 10.6): studies, series, instances, at each level and across all studies.

Answered from the index of headers, as C-FIND is (`dicom_node.query.search`). What a client wants included and the
index does not hold is read from the header of one object of each row that is shown.
"""

from collections.abc import Iterator
from functools import partial

import orjson
from flask import Response, request

from dicom_node.query.attributes import ATTRIBUTES, BY_TAG, Level
from dicom_node.query.search import EVERYTHING, Found, Question, Scope, search
from dicom_node.uids import checked_uid
from dicom_node.web.archive import Archive, Resource
from dicom_node.web.json_model import Json, value_json
from dicom_node.web.media import require_json
from dicom_node.web.search_query import SearchQuery, read_query
from record_store.exchanges import Kind
from record_store.holdings import object_by_uid, objects_of

STUDY, SERIES, INSTANCE = 0x0020000D, 0x0020000E, 0x00080018
# PS3.18 tables 10.6.3-3, 10.6.3-4 and 10.6.3-5, as far as the index has them.
_STUDY_TAGS = (
    0x00080020, 0x00080030, 0x00080050, 0x00080061, 0x00080090, 0x00081030, 0x00100010, 0x00100020, 0x00100021,
    0x00100030, 0x00100040, STUDY, 0x00200010, 0x00201206, 0x00201208,
)  # fmt: skip
_SERIES_TAGS = (
    0x00080060, 0x0008103E, SERIES, 0x00200011, 0x00080021, 0x00080031, 0x00080070, 0x00180015, 0x00201209,
    0x00400244, 0x00400245,
)  # fmt: skip
_INSTANCE_TAGS = (0x00080016, INSTANCE, 0x00200013, 0x00280008, 0x00280010, 0x00280011, 0x00280100)
# Required of every study even where the object has none (type 2).
_EVEN_EMPTY = {0x00080020, 0x00080030, 0x00080050, 0x00080090, *range(0x00100010, 0x00100041), 0x00200010}


def find(archive: Archive, study: str = "", series: str = "", *, level: Level) -> Response:
    """GET /studies, /series, /instances, and the same below a study or a series. 204 when nothing matches."""
    media_type = require_json()
    query = read_query(request.args, {f"{one.tag:08X}" for one in ATTRIBUTES if one.level <= level})
    keys = {int(tag, 16): text for tag, text in query.keys.items()}
    for uid, tag, what in ((study, STUDY, "the study"), (series, SERIES, "the series")):
        if uid:
            keys[tag] = checked_uid(uid, what)
    only = archive.scope()
    scope = EVERYTHING if only is None else Scope(studies=frozenset([only]))
    archive.catch_up()
    rows = search(archive.db, Question(level, keys, scope))
    shown, remarks = _page(rows, query)
    found = [_row(archive, row, query, level, study, series) for row in shown]
    warning = {"Warning": ", ".join(f'299 {archive.root} "{text}"' for text in remarks)} if remarks else {}
    if not found:
        return Response(status=204, headers=warning)
    return Response(orjson.dumps(found), content_type=media_type, headers=warning)


def _page(rows: Iterator[Found], query: SearchQuery) -> tuple[list[Found], list[str]]:
    found: list[Found] = []
    for place, row in enumerate(rows):
        if place < query.offset:
            continue
        if len(found) == query.limit:
            return found, [*query.remarks, "there are more results; ask on with offset"]
        found.append(row)
    return found, list(query.remarks)


def _row(archive: Archive, found: Found, query: SearchQuery, level: Level, study: str, series: str) -> Json:
    """Return a row in DICOM JSON: what is usual at its level and, unless the path says it, of those above."""
    usual = {
        *(() if study else _STUDY_TAGS),
        *(_SERIES_TAGS if level >= Level.SERIES and not series else ()),
        *(_INSTANCE_TAGS if level is Level.IMAGE else ()),
        STUDY,
        *((SERIES,) if level >= Level.SERIES else ()),
    }
    asked = {int(tag, 16) for tag in (*query.fields, *query.keys)}
    row: Json = {}
    if query.all_fields or asked - set(found):
        header = _header(archive, found, level)
        row = {tag: header[tag] for tag in header if query.all_fields or int(tag, 16) in asked}
    for tag, text in found.items():
        wanted = tag in usual or tag in asked or query.all_fields
        if wanted and (text or (tag in _EVEN_EMPTY and tag in usual)):
            row[f"{tag:08X}"] = value_json(BY_TAG[tag].vr, text)
    row["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}  # JSON is UTF-8 (F.2)
    row["00080056"] = {"vr": "CS", "Value": ["ONLINE"]}
    row["00081190"] = {"vr": "UR", "Value": [_address(archive, found, level)]}
    return dict(sorted(row.items()))


def _header(archive: Archive, found: Found, level: Level) -> Json:
    """Return the header of one object of a row: its own, or the first of the study or series."""
    with archive.db.read() as conn:
        if level is Level.IMAGE:
            one = object_by_uid(conn, found[INSTANCE])
        else:
            one = next(iter(objects_of(conn, found[STUDY], found.get(SERIES, ""))), None)
    return {} if one is None else archive.headers.of(archive.blobs, one.sha256)


def _address(archive: Archive, found: Found, level: Level) -> str:
    url = f"{archive.root}/studies/{found[STUDY]}"
    if level >= Level.SERIES:
        url += f"/series/{found[SERIES]}"
    return url if level < Level.IMAGE else f"{url}/instances/{found[INSTANCE]}"


_LEVELS = (
    ("/studies", Level.STUDY),
    ("/series", Level.SERIES),
    ("/instances", Level.IMAGE),
    ("/studies/<study>/series", Level.SERIES),
    ("/studies/<study>/instances", Level.IMAGE),
    ("/studies/<study>/series/<series>/instances", Level.IMAGE),
)
RESOURCES = tuple(
    Resource("GET", rule, partial(find, level=level), Kind.QUERY, "QIDO-RS") for rule, level in _LEVELS
)
