"""What the node proposes where it is the one that opens an association: one line a purpose.

Each is what the module that sends it proposes. A test listens to them, and finds no module that associates and has
no line here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.sop_class import (
    ModalityWorklistInformationFind,
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    UnifiedProcedureStepEvent,
    UnifiedProcedureStepPull,
    UnifiedProcedureStepWatch,
    Verification,
)

from dicom_node.preflight import CLASSES_OF_KIND, SYNTAXES

_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


@dataclass(frozen=True, slots=True)
class Proposal:
    """purpose: in words. module: who associates for it, within this package. classes: SOP classes.

    syntaxes: proposed for each of them. role: the node's. remark: what depends on the objects.
    """

    purpose: str
    module: str
    classes: Sequence[UID] = ()
    syntaxes: Sequence[UID] = _PLAIN
    role: str = "SCU"
    remark: str = ""


PROPOSALS: tuple[Proposal, ...] = (
    Proposal(
        "send results",
        "scu",
        tuple(dict.fromkeys(one[0] for one in CLASSES_OF_KIND.values())),
        remark="An object in another transfer syntax is proposed with its own.",
    ),
    Proposal(
        "ask what an archive takes: each transfer syntax in a context of its own (`consilium dicom check`)",
        "preflight",
        tuple(dict.fromkeys(one for kind in CLASSES_OF_KIND.values() for one in kind)),
        SYNTAXES,
    ),
    Proposal("see that it answers, and commits", "preflight", (Verification, StorageCommitmentPushModel)),
    Proposal("ask for storage commitment", "commitment", (StorageCommitmentPushModel,)),
    Proposal(
        "report what is kept, where the sender has hung up",
        "commitment_scp",
        (StorageCommitmentPushModel,),
        role="SCP",
    ),
    Proposal("ask how many instances a study has", "find", (StudyRootQueryRetrieveInformationModelFind,)),
    Proposal("ask for priors", "query/scu", (StudyRootQueryRetrieveInformationModelFind,)),
    Proposal(
        "ask for patients (`consilium dicom find`)", "query/scu", (PatientRootQueryRetrieveInformationModelFind,)
    ),
    Proposal("ask what was ordered", "query/scu", (ModalityWorklistInformationFind,)),
    Proposal("ask what steps are scheduled (UPS Pull: C-FIND)", "query/scu", (UnifiedProcedureStepPull,)),
    Proposal(
        "claim a step, read it, report on it and end it (UPS Pull: N-ACTION, N-GET, N-SET)",
        "ups/scu",
        (UnifiedProcedureStepPull,),
        remark="The SOP class of these requests is Unified Procedure Step Push (PS3.4 CC.3.1.3).",
    ),
    Proposal(
        "be told when somebody wants a step canceled that is in progress (UPS Watch: N-ACTION)",
        "ups/scu",
        (UnifiedProcedureStepWatch,),
        remark="The events come as UPS Event on an association that the worklist opens.",
    ),
    Proposal(
        "tell subscribers of steps that were pushed to the node (UPS Event: N-EVENT-REPORT)",
        "ups/events",
        (UnifiedProcedureStepEvent,),
        role="SCP",
    ),
    Proposal(
        "have an archive send objects (C-MOVE)",
        "query/scu",
        (StudyRootQueryRetrieveInformationModelMove, PatientRootQueryRetrieveInformationModelMove),
    ),
    Proposal(
        "fetch objects (C-GET)",
        "query/get_scu",
        (StudyRootQueryRetrieveInformationModelGet,),
        remark="And Storage as SCP, of the images that are taken, uncompressed and compressed.",
    ),
    Proposal(
        "send what a C-MOVE asks for",
        "query/retrieve_scp",
        remark="Storage of the classes of the objects, each in the transfer syntax in which it is held.",
    ),
)
