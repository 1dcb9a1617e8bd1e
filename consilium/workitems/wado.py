"""Fetches a step's study by WADO-RS (PS3.18 10.4), one object a request, from servers that the settings name.

An address comes with the step, so from outside: it is called only when it lies below one of the settings, with the
token of that one. What comes takes the same way in as STOW-RS, in pieces: no object is ever held in memory.
"""

import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import structlog
from pydicom.dataset import Dataset

from clinical.errors import ClinicalError, IncorrectInput, Unsupported
from consilium.workitems.http import Http, HttpStream
from consilium.workitems.rs import JSON, datasets_of
from dicom_node.file_intake import FileIntake, open_stream
from dicom_node.header import Header
from dicom_node.intake import Sender
from dicom_node.query.scu import Retrieved, Unanswered, text_of
from dicom_node.uids import checked_uid
from dicom_node.web.media import MULTIPART, parameters
from dicom_node.web.multipart_stream import stream_parts
from fhir_adapters.allow_list import Url, parse_url
from record_store.instances import instances_of
from record_store.workitems import InputStudy

SENDER = "WADO-RS"
ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
MOST_OBJECTS = 20_000
FAILED, WITH_FAILURES = 0xC000, 0xB000  # PS3.4 table C.4-2
LIST_S, OBJECT_S, STUDY_S = 15.0, 600.0, 3600.0
LIST_BYTES, OBJECT_BYTES = 64 << 20, 4 << 30
LATE = f"its objects did not come within {STUDY_S / 3600:g} h"
STOPPED = "its objects are no longer wanted from here"
NO_ROOM = "the disk is almost full"
# PS3.18 8.3.4.4: the Warning of a list that is cut.
_MORE = re.compile(r"(additional|more) results", re.IGNORECASE)
_STUDY = re.compile(r"(.+?)/studies/([0-9.]{1,64})(?:/.*)?")

log = structlog.get_logger()


def always() -> bool:
    """Say that it goes on."""
    return True


@dataclass(frozen=True, slots=True)
class WebArchive:
    """A DICOMweb service of the settings. url: its base."""

    url: Url
    token: str | None = field(default=None, repr=False)


def web_archive(url: str, token: str | None) -> WebArchive | None:
    """Return a service of the settings, None when its address is not one that we would ever call."""
    parsed = parse_url(url.rstrip("/"))
    return WebArchive(parsed, token) if parsed is not None else None


@dataclass(frozen=True, slots=True)
class WebFetch:
    """archives: those that may be called. classes: SOP classes that are taken. called: our AE title.

    most: objects of one study; a whole one that has more is not fetched in part. has_room: whether the disk takes
    more. clock: seconds, monotonic.
    """

    archives: Sequence[WebArchive]
    files: FileIntake
    classes: Collection[str]
    called: str
    most: int = MOST_OBJECTS
    has_room: Callable[[], bool] = always
    clock: Callable[[], float] = time.monotonic

    def server(self, study: InputStudy) -> str | None:
        """Return who has a study's address, as it is called in logs; None for one that we do not call."""
        place = self._place(study)
        target = parse_url(place[0]) if place is not None else None
        return None if target is None else f"{SENDER} {target.host}:{target.port}"

    def __call__(self, study: InputStudy, goes_on: Callable[[], bool] = always) -> Retrieved:
        """Fetch what is named of a study, or all its images: what of them is not here. Raises Unanswered.

        goes_on: asked before each object; what is here when it says no stays here, for the next time.
        """
        place = self._place(study)
        if place is None:
            raise Unanswered("the step's address is below none of the settings")
        base, http = place
        found = http.send(
            "GET", f"{base}/instances?limit={self.most + 1}", accept=JSON, deadline_s=LIST_S, most_bytes=LIST_BYTES
        )
        if found.status >= 500:
            raise Unanswered(f"the archive answered a search with HTTP {found.status}")
        if found.status != 200:  # it is there, and has no such study or does not let us: no reason to ask it less
            return Retrieved(FAILED, f"the archive answered a search with HTTP {found.status}")
        listed = datasets_of(found, "archive")
        if not study.objects and (len(listed) > self.most or _MORE.search(found.header("warning"))):
            return Retrieved(FAILED, f"the study has more objects than the archive lists or than {self.most}")
        return self._all([one for one in listed if self._wants(one, study)], study, http, base, goes_on)

    def _all(
        self, wanted: Sequence[Dataset], study: InputStudy, http: Http, base: str, goes_on: Callable[[], bool]
    ) -> Retrieved:
        with self.files.intake.db.read() as conn:
            here = {one.sop_instance_uid for one in instances_of(conn, study.study_uid)}
        missing = [one for one in wanted if text_of(one, "SOPInstanceUID") not in here]
        ends_at, taken = self.clock() + STUDY_S, len(wanted) - len(missing)
        problems: list[str] = []
        for one in missing:
            stops = LATE if self.clock() > ends_at else None if goes_on() else STOPPED
            if stops is not None:
                problems.append(stops)
                break
            problem = self._one(http, base, one, study)
            if problem is None:
                taken += 1
            else:
                problems.append(problem)
        words = problems[0] if problems else "done"
        return Retrieved(WITH_FAILURES if problems else 0x0000, words, taken, len(wanted) - taken)

    def _place(self, study: InputStudy) -> tuple[str, Http] | None:
        match = _STUDY.fullmatch(study.retrieve_url)
        target = parse_url(match[1]) if match else None
        if match is None or target is None or target.query is not None or match[2] != study.study_uid:
            return None
        # The nearest: two tenants of one host have a token each.
        above = (one for one in self.archives if target.under(one.url))
        found = max(above, key=lambda one: len(one.url.path), default=None)
        return (f"{match[1]}/studies/{study.study_uid}", Http("archive", found.token)) if found else None

    def _wants(self, one: Dataset, study: InputStudy) -> bool:
        if study.objects:
            return text_of(one, "SOPInstanceUID") in study.objects
        return text_of(one, "SOPClassUID") in self.classes

    def _one(self, http: Http, base: str, one: Dataset, study: InputStudy) -> str | None:
        """Fetch an object; return why it was not taken. Raises Unanswered when the archive does not answer."""
        try:
            series = checked_uid(text_of(one, "SeriesInstanceUID"), "Series Instance UID")
            uid = checked_uid(text_of(one, "SOPInstanceUID"), "SOP Instance UID")
            url = f"{base}/series/{series}/instances/{uid}"
            if not self.has_room():
                return NO_ROOM
            with http.open("GET", url, accept=ACCEPT, deadline_s=OBJECT_S) as answer:
                return self._taken(answer, study, uid)
        except ClinicalError as error:
            log.warning("fetched object refused", category=error.category, problem=error.message)
            return error.message

    def _taken(self, answer: HttpStream, study: InputStudy, uid: str) -> str | None:
        if answer.status != 200:
            return f"the archive answered for an object with HTTP {answer.status}"
        kind, options = parameters(answer.headers.get("content-type", ""))
        if kind.lower() != MULTIPART:
            return "the archive did not answer with an object"
        sender, refuse = Sender(SENDER, self.called, fetched=True), Refuse(study, uid, self.classes)
        for part in stream_parts(answer.pieces(OBJECT_BYTES), options.get("boundary", "")):
            self.files.take(open_stream(part.body), sender, refuse)
        return None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuses what was not asked for."""

    study: InputStudy
    sop_instance_uid: str
    classes: Collection[str]

    def __call__(self, header: Header) -> None:
        """Raise IncorrectInput or Unsupported."""
        if header.study_uid != self.study.study_uid:
            raise IncorrectInput("the object is of another study than was asked for")
        if header.sop_instance_uid != self.sop_instance_uid:  # else a study would be whole without it
            raise IncorrectInput("the object is another one than was asked for")
        if header.sop_class_uid not in self.classes:
            raise Unsupported("objects of this class are not taken")
