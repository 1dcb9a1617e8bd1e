"""C-GET as SCU (PS3.4 C.4.3): an archive's objects come on the association that asks for them, and become ours.

The way for archives that do not know our address; where C-MOVE is set up, objects come by the usual door.
"""

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet

from clinical.errors import ClinicalError
from dicom_node.associating import associated
from dicom_node.destinations import Destination, SendTimeouts
from dicom_node.incoming import DECODER_ERRORS
from dicom_node.query.scu import PLAIN, SLOW, Retrieved, Unanswered, last_of
from dicom_node.status import CANNOT_UNDERSTAND, DIMSE_STATUS

_MODEL = StudyRootQueryRetrieveInformationModelGet
# Each in a context of its own, so that an archive sends what it has as it has it.
COMPRESSED = (JPEGBaseline8Bit, JPEGLosslessSV1, JPEG2000Lossless, JPEG2000, JPEGLSLossless, RLELossless)
_MOST_CONTEXTS = 127

Take = Callable[[Path, str], None]  # a Part 10 file, which it takes away, and its transfer syntax

log = structlog.get_logger()


def get(
    archive: Destination,
    calling_ae: str,
    wanted: Dataset,
    classes: Sequence[str],
    folder: Path,
    take: Take,
    *,
    timeouts: SendTimeouts = SLOW,
) -> Retrieved:
    """Fetch what an Identifier names. classes: SOP classes that may come. folder: where parts are written.

    take raises ClinicalError for what it does not take, which the archive is told. Raises Unanswered.
    """
    contexts: list[tuple[UID, list[UID]]] = [(_MODEL, PLAIN)]
    storage = [UID(one) for one in classes]
    contexts += [(one, PLAIN) for one in storage]
    contexts += [(one, [syntax]) for syntax in COMPRESSED for one in storage]
    handlers = [(evt.EVT_C_STORE, _on_store, [folder, take])]
    with associated(archive, calling_ae, contexts[: _MOST_CONTEXTS + 1], timeouts, handlers, storage) as (
        association,
        problem,
    ):
        if association is None:
            raise Unanswered(problem or "no association")
        try:
            return last_of(association.send_c_get(wanted, _MODEL))
        except DECODER_ERRORS:
            raise Unanswered("the association ended before the request was answered") from None


def _on_store(event: evt.Event, folder: Path, take: Take) -> int:
    """Answer one sub-operation: the outer edge, where every error becomes a status."""
    part = folder / f"{uuid.uuid4().hex}.part"
    try:
        part.write_bytes(event.encoded_dataset())
        take(part, str(event.context.transfer_syntax))
    except ClinicalError as error:
        log.warning("fetched object refused", category=error.category, problem=error.message)
        return DIMSE_STATUS[error.category]
    except Exception as error:  # noqa: BLE001 - the association handler's edge: never an empty success
        log.warning("fetched object refused", problem=type(error).__name__)
        return CANNOT_UNDERSTAND
    finally:
        part.unlink(missing_ok=True)
    return 0x0000
