"""What a destination accepts, asked before anything is sent: one association that proposes all, and a C-ECHO.

A refused presentation context is found at the first result otherwise, when a clinician waits for it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    ParametricMapStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from dicom_node.associating import associated
from dicom_node.destinations import Destination, SendTimeouts

# What results are, and what stands in for them; the first class of a kind is the one that we write.
CLASSES_OF_KIND: Mapping[str, tuple[UID, ...]] = {
    "SEG": (SegmentationStorage,),
    "SEG-FRACTIONAL": (SegmentationStorage,),
    "SR": (ComprehensiveSRStorage, Comprehensive3DSRStorage, EnhancedSRStorage, BasicTextSRStorage),
    "SR-VIEWER": (ComprehensiveSRStorage,),
    "SC": (SecondaryCaptureImageStorage, MultiFrameTrueColorSecondaryCaptureImageStorage),
    "KO": (KeyObjectSelectionDocumentStorage,),
    "PDF": (EncapsulatedPDFStorage,),
    "PM": (ParametricMapStorage,),
}
# The kinds that say the same in another form, the best first, for an archive that refuses the first.
FALLBACKS: Mapping[str, tuple[str, ...]] = {
    "SR": ("SR-VIEWER", "SC", "PDF"),
    "SR-VIEWER": ("SR", "SC", "PDF"),
    "SEG": ("SC", "PDF"),
    "SEG-FRACTIONAL": ("SEG", "SC", "PDF"),
    "PM": ("SC",),
    "SC": ("PDF",),
    "PDF": ("SC",),
}
# Results are written uncompressed; the compressed ones tell whether an archive would take images smaller.
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless)
_WRITTEN = frozenset((ExplicitVRLittleEndian, ImplicitVRLittleEndian))


def stand_ins(kind: str) -> tuple[str, ...]:
    """Return the kinds to try where the SOP class of this one is refused, the best first."""
    refused = CLASSES_OF_KIND.get(kind, ())[:1]
    return tuple(one for one in FALLBACKS.get(kind, ()) if CLASSES_OF_KIND[one][:1] != refused)


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a destination said.

    problem: why there was no association, None when there was. echo: DIMSE status of the C-ECHO, None when none
    came. accepted: SOP class -> transfer syntaxes taken, each asked for in a context of its own. commitment:
    whether it takes requests for storage commitment.
    """

    problem: str | None
    echo: int | None
    accepted: Mapping[str, tuple[str, ...]]
    commitment: bool

    def takes(self, kind: str) -> bool:
        """Tell whether results of a kind are taken as we write them."""
        return bool(_WRITTEN & {*map(UID, self.accepted.get(CLASSES_OF_KIND[kind][0], ()))})

    def instead_of(self, kind: str) -> str | None:
        """Return the best kind that says the same and is taken, None when there is none."""
        return next((one for one in stand_ins(kind) if self.takes(one)), None)

    def usable(self, kinds: Iterable[str]) -> bool:
        """Tell whether results of these kinds can be sent, each as itself."""
        return self.problem is None and self.echo == 0 and all(self.takes(kind) for kind in kinds)


def preflight(destination: Destination, calling_ae: str, *, timeouts: SendTimeouts | None = None) -> Preflight:
    """Propose every class of CLASSES_OF_KIND with every syntax of SYNTAXES and send a C-ECHO. Never raises."""
    classes = dict.fromkeys(one for kind in CLASSES_OF_KIND.values() for one in kind)
    wanted: list[tuple[UID, list[UID]]] = [(one, [syntax]) for one in classes for syntax in SYNTAXES]
    plain = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    wanted += [(Verification, plain), (StorageCommitmentPushModel, plain)]
    with associated(destination, calling_ae, wanted, timeouts or SendTimeouts()) as (association, problem):
        if association is None:
            return Preflight(problem, None, {}, commitment=False)
        taken: dict[str, list[str]] = {}
        for context in association.accepted_contexts:
            taken.setdefault(str(context.abstract_syntax), []).extend(map(str, context.transfer_syntax))
        accepted = {str(one): tuple(taken.get(one, ())) for one in classes}
        commitment = str(StorageCommitmentPushModel) in taken
        return Preflight(None, _echo(association), accepted, commitment)


def _echo(association: Association) -> int | None:
    try:
        answer: Any = association.send_c_echo()
    except (ValueError, RuntimeError):  # no context for it, or the association has ended
        return None
    return int(answer.Status) if "Status" in answer else None
