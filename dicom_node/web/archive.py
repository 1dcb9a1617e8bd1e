"""What every resource of DICOMweb works with: the stores, addresses, and the objects that a path names."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import Response, g

from clinical.clock import Clock, utc_now
from clinical.errors import Busy, NotFound, Unsupported
from dicom_node.intake import Intake
from dicom_node.uids import checked_uid
from dicom_node.web.headers import HeaderCache
from dicom_node.web.kept import Kept
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.exchanges import Kind, Note, Party, unnoted
from record_store.holdings import HeldObject, object_by_uid, objects_of
from record_store.quarantine_folder import Refusal

if TYPE_CHECKING:
    from dicom_node.pixels import Decoder

# Objects that one answer may hold: a client asks series by series for more.
MAX_OBJECTS = 5000
MAX_DECODINGS = 8  # that may wait for the decoder, a thread each
MAX_DOWNLOADS = 8  # of one process at a time: each may keep a thread while its client reads


def touched(study_uid: str, instances: int) -> None:
    """Remember which study the present request is about, for its audit row."""
    g.setdefault("dicom_touched", {})[study_uid] = instances


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource: method ("GET" answers HEAD too), path below the root in Flask's words, what answers it.

    kind, service: what the audit calls it.
    """

    method: str
    rule: str
    answer: Callable[..., Response]
    kind: Kind = Kind.ACCESSED
    service: str = "WADO-RS"


@dataclass(frozen=True, slots=True)
class Archive:
    """The stores, and root: the absolute URL of /dicom-web, for addresses in answers.

    scope: the one study that the present caller may see, None for all of them.
    max_body_bytes: of one store request.
    intake: what takes objects in; None when nothing may be stored. classes: SOP classes that are taken, None for
    all of them. low_water_bytes: free space below which nothing is taken. decoder: for what is rendered.
    catch_up: brings the index of headers up to what is stored; Busy where that takes too long.
    private_syntaxes: see `ScpSettings`.
    set_aside: may keep the bytes of an object that is refused for what it is; it does not raise.
    note: told of every request (PS3.15 A.5.3), with us and the caller as its parties.
    """

    db: Database
    blobs: Blobs
    root: str
    scope: Callable[[], str | None] = lambda: None
    intake: Intake | None = None
    classes: Callable[[], frozenset[str] | None] = lambda: None
    low_water_bytes: int = 0
    max_body_bytes: int = 48 << 20
    decoder: Callable[[], "Decoder"] | None = None
    now: Clock = utc_now
    catch_up: Callable[[], object] = lambda: None
    private_syntaxes: Mapping[str, str] = field(default_factory=dict)
    set_aside: Callable[[memoryview, Refusal], object] = lambda _file, _refusal: None
    note: Note = unnoted
    us: Party = field(default_factory=lambda: Party("DICOMweb"))
    caller: Callable[[], Party] = lambda: Party("", application=False)
    headers: HeaderCache = field(default_factory=HeaderCache)
    metadata: Kept = field(default_factory=Kept)
    downloads: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(MAX_DOWNLOADS)
    )
    decodings: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(MAX_DECODINGS)
    )

    def taker(self) -> Intake:
        """Return what takes objects in. Raises Unsupported where nothing is stored, Busy without room."""
        if self.intake is None:
            raise Unsupported("nothing can be stored here")
        if self.blobs.free_bytes() < self.low_water_bytes:
            raise Busy("the store is almost full")
        return self.intake

    def refuse_class(self, sop_class_uid: str) -> None:
        """Raise Unsupported for a SOP class that C-STORE would not take either."""
        classes = self.classes()
        if classes is not None and sop_class_uid not in classes:
            raise Unsupported("this SOP class is not stored here")

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
        touched(study, len(found))
        return found

    def address(self, one: HeldObject) -> str:
        """Return the absolute URL of an object (its Retrieve URL, PS3.18 10.4)."""
        return f"{self.root}/studies/{one.study_uid}/series/{self.series_of(one)}/instances/{one.sop_instance_uid}"
