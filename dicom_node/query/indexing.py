"""Brings the index of headers up to what is stored. Anybody may, and whoever comes first does."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import structlog
from pydicom.valuerep import PN_DELIMS

from clinical.clock import Clock
from clinical.errors import Busy, Fault, IncorrectInput, NotFound
from clinical.uids import uid_digest
from dicom_node.character_sets import decoded, encodings_of
from dicom_node.header import Elements, read_elements
from dicom_node.query.attributes import ATTRIBUTES, BY_TAG, Level
from dicom_node.uids import checked_uid
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.header_index import (
    HeaderRows,
    Unindexed,
    add_headers,
    forget_headers,
    unindexed_objects,
    unindexed_studies,
)

BEGINNING = 64 * 1024
BATCH = 500  # objects of one transaction
# Objects of a study are seen by the time at which they came; clocks of machines may differ by this much.
OVERLAP = timedelta(minutes=10)
MOST_READ = 16 * 1024 * 1024  # of an object with something large before what is wanted
LONGEST = 1024  # characters of one value
_LAST = max(one.tag for one in ATTRIBUTES)
_CHARACTER_SET = 0x00080005
_WANTED = frozenset(BY_TAG) | {_CHARACTER_SET}
_TABLES = {Level.PATIENT: "study", Level.STUDY: "study", Level.SERIES: "series", Level.IMAGE: "instance"}

log = structlog.get_logger()


class HeaderIndex:
    """The index over one database and one blob store. Safe to share between threads."""

    def __init__(self, db: Database, blobs: Blobs, now: Clock) -> None:
        self._db, self._blobs, self._now = db, blobs, now
        self._turn = threading.Lock()
        self._complete_at: datetime | None = None  # everything that came before is in

    def catch_up(self, within_s: float | None = None) -> int:
        """Index what is missing and return how many objects that were.

        within_s: raise Busy when more than this is needed, or while another thread works on it for so long; what
        was done by then stays done. None: to the end.
        """
        until = None if within_s is None else time.monotonic() + within_s
        if not self._turn.acquire(timeout=-1 if within_s is None else within_s):
            raise Busy("the index of headers is being built")
        try:
            return self._catch_up(until)
        finally:
            self._turn.release()

    def rebuild(self, tell: Callable[[int], None] = lambda _count: None) -> int:
        """Make the index anew from the objects. tell: called with the number of objects that are done."""
        with self._turn:
            with self._db.write() as conn:
                forget_headers(conn)
            self._complete_at = None
            return self._catch_up(None, tell)

    def _catch_up(self, until: float | None, tell: Callable[[int], None] = lambda _count: None) -> int:
        started, since = self._now(), self._complete_at
        with self._db.read() as conn:
            studies = unindexed_studies(conn, None if since is None else since - OVERLAP)
        count = 0
        for batch in self._batches(studies):
            rows = [self._read(one) for one in batch]
            with self._db.write(durable=False) as conn:  # made again from the objects, should the power go
                add_headers(conn, rows)
            count += len(batch)
            tell(count)
            if until is not None and time.monotonic() > until:
                raise Busy("the index of headers is being built")
        self._complete_at = started
        return count

    def _batches(self, studies: list[str]) -> Iterator[list[Unindexed]]:
        waiting: list[Unindexed] = []
        for number in range(0, len(studies), BATCH):
            some = studies[number : number + BATCH]
            while True:
                with self._db.read() as conn:
                    waiting = unindexed_objects(conn, some, BATCH)
                if waiting:
                    yield waiting
                if len(waiting) < BATCH:
                    break

    def _read(self, one: Unindexed) -> HeaderRows:
        """Return an object's rows; of one that cannot be read what its own row says, so that it is found."""
        said: dict[str, dict[str, str]] = {"study": {}, "series": {}, "instance": {}}
        try:
            for column, level, text in _texts(_elements(self._blobs, one.sha256)):
                said[_TABLES[level]][column] = text
        except (IncorrectInput, NotFound, Fault) as error:
            log.warning("header not indexed", instance=uid_digest(one.sop_instance_uid), problem=error.message)
        series_uid = one.series_uid or _uid(said["series"].get("series_uid", "")) or one.sop_instance_uid
        place = {"study_uid": one.study_uid, "series_uid": series_uid}
        return HeaderRows(
            study=said["study"] | {"study_uid": one.study_uid},
            series=said["series"] | place | ({"modality": one.modality} if one.modality else {}),
            instance=said["instance"]
            | place
            | {"sop_instance_uid": one.sop_instance_uid, "sop_class_uid": one.sop_class_uid},
        )


def _elements(blobs: Blobs, sha256: str) -> Elements:
    data = blobs.beginning(sha256, BEGINNING)
    whole = len(data) < BEGINNING
    try:
        read = read_elements(data, _WANTED, _LAST, whole=whole)
        if read.end:
            return read
    except IncorrectInput:
        if whole:
            raise
    with blobs.local_path(sha256) as path, path.open("rb") as file:
        return read_elements(file.read(MOST_READ), _WANTED, _LAST, whole=path.stat().st_size <= MOST_READ)


def _texts(read: Elements) -> Iterator[tuple[str, Level, str]]:
    encodings = encodings_of(read.values.get(_CHARACTER_SET, b""))
    for tag, value in read.values.items():
        attribute = BY_TAG.get(tag)
        if value and attribute is not None and not attribute.counted:
            yield attribute.column, attribute.level, _text(attribute.vr, value, encodings, big=read.big_endian)


def _text(vr: str, value: bytes, encodings: Sequence[str], *, big: bool) -> str:
    if vr == "US":
        return str(int.from_bytes(value[:2], "big" if big else "little")) if len(value) >= 2 else ""
    if vr == "PN" and not value.isascii():  # each component group begins in the first set (PS3.5 6.1.2.5.3)
        text = "=".join(decoded(one, encodings, PN_DELIMS) for one in value.split(b"=")).rstrip("=")
    else:
        text = decoded(value, encodings, set())
    if vr in {"DA", "TM"}:  # the forms of ACR-NEMA, 1993.08.22 and 10:09:30
        text = text.replace("." if vr == "DA" else ":", "")
    text = text.replace("\0", "")
    return ("\\".join(map(str.strip, text.split("\\"))) if "\\" in text else text)[:LONGEST]


def _uid(text: str) -> str:
    try:
        return checked_uid(text, "Series Instance UID")
    except IncorrectInput:
        return ""
