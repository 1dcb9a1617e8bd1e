"""What the node proposes where it is the one that opens an association: one line a service.

Each is what the module that sends it proposes; a test listens and compares.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.sop_class import (
    ModalityWorklistInformationFind,
    PatientRootQueryRetrieveInformationModelFind,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from dicom_node.preflight import CLASSES_OF_KIND, SYNTAXES

_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


@dataclass(frozen=True, slots=True)
class Proposal:
    """purpose: in words. classes: SOP classes. syntaxes: proposed for each of them. The node is SCU of all."""

    purpose: str
    classes: Sequence[UID]
    syntaxes: Sequence[UID] = _PLAIN


PROPOSALS: tuple[Proposal, ...] = (
    Proposal(
        "send results (an object in another transfer syntax than these two with its own)",
        tuple(dict.fromkeys(one[0] for one in CLASSES_OF_KIND.values())),
    ),
    Proposal(
        "ask what an archive takes: each transfer syntax in a context of its own (`consilium dicom check`)",
        tuple(dict.fromkeys(one for kind in CLASSES_OF_KIND.values() for one in kind)),
        SYNTAXES,
    ),
    Proposal("C-ECHO of the same question", (Verification,)),
    Proposal("ask for storage commitment", (StorageCommitmentPushModel,)),
    Proposal("ask how many instances a study has, and for priors", (StudyRootQueryRetrieveInformationModelFind,)),
    Proposal("ask for patients (`consilium dicom find`)", (PatientRootQueryRetrieveInformationModelFind,)),
    Proposal("have an archive send objects (C-MOVE)", (StudyRootQueryRetrieveInformationModelMove,)),
    Proposal("fetch objects (C-GET), with the SCP role for images", (StudyRootQueryRetrieveInformationModelGet,)),
    Proposal("ask what was ordered", (ModalityWorklistInformationFind,)),
)
