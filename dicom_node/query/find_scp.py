"""C-FIND as SCP (PS3.4 C.4.1): Patient Root and Study Root over the index of headers."""

from collections.abc import Iterator
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt

from clinical.errors import Busy, ClinicalError, IncorrectInput
from dicom_node.incoming import DECODER_ERRORS
from dicom_node.query.access import May
from dicom_node.query.attributes import BY_TAG
from dicom_node.query.identifier import Asked, read_identifier, response_identifier
from dicom_node.query.node import Archive, caller_of, top_level
from dicom_node.query.search import Question, search
from record_store.exchanges import Kind, Outcome

SUCCESS, PENDING, PENDING_UNKNOWN_KEYS, CANCELLED = 0x0000, 0xFF00, 0xFF01, 0xFE00
OUT_OF_RESOURCES, NOT_THIS_CLASS, UNABLE, NOT_AUTHORISED = 0xA700, 0xA900, 0xC000, 0x0124
MOST_MATCHES = 10_000  # of one query: who asks more widely is told to narrow it
STATUSES = {
    SUCCESS: "all matches were sent",
    PENDING: "a match; all keys were matched",
    PENDING_UNKNOWN_KEYS: "a match; some optional keys are not known here and were not matched",
    CANCELLED: "ended at the caller's word (C-CANCEL)",
    OUT_OF_RESOURCES: f"more than {MOST_MATCHES} matches (the first were sent), or the index is being built",
    NOT_THIS_CLASS: "the identifier has no level of this model, or not its unique keys",
    UNABLE: "the identifier cannot be read, or we failed",
    NOT_AUTHORISED: "the calling AE may not query",
}

log = structlog.get_logger()
Answer = tuple[int | Dataset, Dataset | None]


def answer_find(event: evt.Event, archive: Archive) -> Iterator[Answer]:
    """Yield a pending response for each match; the end, or why there is none, is the last status."""
    caller = caller_of(event)
    count, outcome, note = 0, Outcome.SUCCESS, ""
    try:
        if not archive.access.allows(caller.name, May.FIND):
            yield failure(NOT_AUTHORISED, "this AE may not query"), None
            outcome, note = Outcome.SERIOUS, "this AE may not query"
            return
        asked = _asked(event)
        note = f"{asked.level.name.lower()} level, keys: {named_keys(asked)}"
        archive.index.catch_up(within_s=archive.patience_s)
        question = Question(asked.level, asked.keys, archive.access.scope(caller.name))
        pending = PENDING_UNKNOWN_KEYS if asked.unknown else PENDING
        for found in search(archive.db, question):
            if event.is_cancelled:
                yield CANCELLED, None
                return
            if count == MOST_MATCHES:
                yield failure(OUT_OF_RESOURCES, f"more than {MOST_MATCHES} matches; narrow the query"), None
                outcome = Outcome.MINOR
                return
            count += 1
            yield pending, response_identifier(asked, found, archive.ae_title)
    except ClinicalError as error:
        outcome, note = Outcome.SERIOUS, error.message
        yield failure(status_of(error), error.message), None
    except Exception as error:  # noqa: BLE001 - the association handler's edge: never an empty success
        outcome, note = Outcome.SERIOUS, type(error).__name__
        yield failure(UNABLE, "the query could not be processed"), None
    finally:
        log.info("query answered", calling_ae=caller.name, count=count, outcome=str(outcome), why=note)
        archive.tell(Kind.QUERY, caller, outcome=outcome, what="C-FIND", note=note)


def status_of(error: ClinicalError) -> int:
    """Return the status of an error of ours in query/retrieve responses."""
    if isinstance(error, IncorrectInput):
        return NOT_THIS_CLASS
    return OUT_OF_RESOURCES if isinstance(error, Busy) else UNABLE


def failure(status: int, comment: str) -> Dataset:
    """Return a status with an Error Comment (0000,0902), which holds at most 64 characters."""
    ds = Dataset()
    ds.Status = status
    ds.ErrorComment = comment[:64]
    return ds


def named_keys(asked: Asked) -> str:
    """Return the keywords of the keys that have a value, and never the values."""
    return ", ".join(BY_TAG[tag].keyword for tag, text in asked.keys.items() if text) or "none"


def _asked(event: Any) -> Asked:  # noqa: ANN401 - pynetdicom's event
    try:
        identifier = event.identifier
    except DECODER_ERRORS:
        raise IncorrectInput("the identifier cannot be read") from None
    return read_identifier(identifier, top_level(str(event.request.AffectedSOPClassUID)))
