"""What the query/retrieve services of the node work with, and who is calling."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_node.query.access import Access, May
from dicom_node.query.attributes import Level
from dicom_node.query.indexing import HeaderIndex
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.exchanges import Exchange, Kind, Note, Outcome, Party, unnoted

# SOP class -> what it lets one do, and the highest level of its model (PS3.4 C.6).
MODELS: Mapping[str, tuple[May, Level]] = {
    PatientRootQueryRetrieveInformationModelFind: (May.FIND, Level.PATIENT),
    StudyRootQueryRetrieveInformationModelFind: (May.FIND, Level.STUDY),
    PatientRootQueryRetrieveInformationModelMove: (May.MOVE, Level.PATIENT),
    StudyRootQueryRetrieveInformationModelMove: (May.MOVE, Level.STUDY),
    PatientRootQueryRetrieveInformationModelGet: (May.GET, Level.PATIENT),
    StudyRootQueryRetrieveInformationModelGet: (May.GET, Level.STUDY),
}


@dataclass(frozen=True, slots=True)
class Archive:
    """What is searched and sent. patience_s: how long a request waits for the index to be up to date."""

    db: Database
    blobs: Blobs
    index: HeaderIndex
    access: Access
    ae_title: str
    note: Note = field(default=unnoted)
    patience_s: float = 5.0

    def tell(
        self,
        kind: Kind,
        caller: Party,
        *,
        outcome: Outcome,
        what: str,
        note: str = "",
        studies: Mapping[str, int] | None = None,
        to: Party | None = None,
    ) -> None:
        """Note an exchange with a caller. to: who takes the objects, where that is not the caller."""
        ourselves = Party(self.ae_title)
        transfer = kind in {Kind.TRANSFER_BEGUN, Kind.TRANSFERRED}
        self.note(
            Exchange(
                kind=kind,
                source=ourselves if transfer else caller,
                destination=(to or caller) if transfer else ourselves,
                outcome=outcome,
                studies=studies or {},
                what=what,
                note=note,
                asked_by_destination=transfer and to is None,
            )
        )


def top_level(sop_class_uid: str) -> Level:
    """Return the highest level of a query/retrieve SOP class."""
    return MODELS[sop_class_uid][1]


def calling_ae(association: Any) -> str:  # noqa: ANN401 - pynetdicom's association
    """Return the AE title of who opened an association."""
    requestor = association.requestor
    title = requestor.primitive.calling_ae_title if requestor.primitive else requestor.ae_title
    return str(title or "").strip()[:16]


def caller_of(event: Any) -> Party:  # noqa: ANN401 - pynetdicom's event
    """Return who asks."""
    return Party(calling_ae(event.assoc), str(event.assoc.requestor.address or ""))
