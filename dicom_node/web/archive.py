"""What every resource of DICOMweb works with: the stores, addresses, and the objects that a path names."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from flask import Response

from clinical.errors import NotFound
from dicom_node.uids import checked_uid
from dicom_node.web.headers import HeaderCache
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.holdings import HeldObject, object_by_uid, objects_of

# Objects that one answer may hold: a client asks series by series for more.
MAX_OBJECTS = 5000
MAX_DOWNLOADS = 4  # of one process at a time: each may keep a thread while its client reads


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource: method ("GET" answers HEAD too), path below the root in Flask's words, what answers it."""

    method: str
    rule: str
    answer: Callable[..., Response]


@dataclass(frozen=True, slots=True)
class Archive:
    """db, blobs: the stores. root: the absolute URL of /dicom-web, for addresses in answers.

    scope: the one study that the present caller may see, None for all of them.
    """

    db: Database
    blobs: Blobs
    root: str
    scope: Callable[[], str | None] = lambda: None
    headers: HeaderCache = field(default_factory=HeaderCache)
    downloads: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(MAX_DOWNLOADS)
    )

    def series_of(self, one: HeldObject) -> str:
        """Return the series of an object; of a result of ours by its header."""
        return one.series_uid or self.headers.text(self.blobs, one.sha256, "0020000E")

    def held(self, study: str, series: str = "", instance: str = "") -> list[HeldObject]:
        """Return the objects that a path names. Raises NotFound when there is none, IncorrectInput for no UID."""
        for uid, what in ((study, "the study"), (series, "the series"), (instance, "the instance")):
            if uid:
                checked_uid(uid, what)
        if self.scope() not in {None, study}:
            raise NotFound("there is no such object")
        with self.db.read() as conn:
            if instance:
                one = object_by_uid(conn, instance)
                found = [one] if one is not None and one.study_uid == study else []
            else:
                found = objects_of(conn, study, series)
        if series:
            found = [one for one in found if self.series_of(one) == series]
        if not found:
            raise NotFound("there is no such object")
        return found

    def address(self, one: HeldObject) -> str:
        """Return the absolute URL of an object (its Retrieve URL, PS3.18 10.4)."""
        return f"{self.root}/studies/{one.study_uid}/series/{self.series_of(one)}/instances/{one.sop_instance_uid}"
