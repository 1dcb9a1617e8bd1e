"""C-FIND and C-MOVE as SCU (PS3.4 C.4.1, C.4.2): an archive is asked what it holds, and to send some of it.

Every answer is bounded: an archive that answers with everything it has is stopped, one that is silent is left.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import Association
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_node.associating import associated
from dicom_node.destinations import Destination, SendTimeouts
from dicom_node.incoming import DECODER_ERRORS
from dicom_node.query.words import in_words

PENDING = (0xFF00, 0xFF01)
MOST_ANSWERS = 500
PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
QUICK = SendTimeouts(connect_s=3.0, acse_s=5.0, dimse_s=15.0, network_s=15.0)
SLOW = SendTimeouts(connect_s=3.0, acse_s=5.0, dimse_s=120.0, network_s=120.0)


class Unanswered(Exception):
    """The archive was not reached, or refused, or failed. The text says why. status: its DIMSE status, if any.

    comment: its Error Comment. It may name a patient, so it is for a terminal and for no log or row.
    """

    def __init__(self, why: str, status: int | None = None, comment: str = "") -> None:
        super().__init__(why)
        self.status, self.comment = status, comment


@dataclass(frozen=True, slots=True)
class Retrieved:
    """How a C-MOVE or C-GET ended. status: the archive's last, words: it for people. comment: see `Unanswered`."""

    status: int
    words: str
    completed: int = 0
    failed: int = 0
    warning: int = 0
    comment: str = ""


def query(level: str, keys: Mapping[str, str]) -> Dataset:
    """Return an Identifier. keys: keyword -> value, "" to ask for it. Raises KeyError for no keyword of PS3.6."""
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    if not all(value.isascii() for value in keys.values()):
        ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise KeyError(keyword)
        ds.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE))
    return ds


def find(
    archive: Destination,
    calling_ae: str,
    wanted: Dataset,
    *,
    patient_root: bool = False,
    model: UID | None = None,
    most: int = MOST_ANSWERS,
    timeouts: SendTimeouts = QUICK,
) -> list[Dataset]:
    """Return an archive's matches, at most `most`. model: another SOP class than the two. Raises Unanswered."""
    root = (
        PatientRootQueryRetrieveInformationModelFind
        if patient_root
        else StudyRootQueryRetrieveInformationModelFind
    )
    model = model or root
    with associated(archive, calling_ae, [(model, PLAIN)], timeouts) as (association, problem):
        if association is None:
            raise Unanswered(problem or "no association")
        return _answers(association, wanted, model, most)


def _answers(association: Association, wanted: Dataset, model: UID, most: int) -> list[Dataset]:
    found: list[Dataset] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote values
            for status, identifier in association.send_c_find(wanted, model):
                if "Status" not in status:
                    raise Unanswered("the archive did not answer in time")
                if status.Status not in PENDING:
                    if status.Status != 0:
                        raise Unanswered(in_words(int(status.Status)), int(status.Status), _comment_of(status))
                    return found
                if identifier is not None:
                    found.append(identifier)
                if len(found) >= most:
                    association.abort()
                    return found
    except DECODER_ERRORS:
        raise Unanswered("the association ended before the query was answered") from None
    return found


def move(
    archive: Destination,
    calling_ae: str,
    wanted: Dataset,
    to_ae: str,
    *,
    patient_root: bool = False,
    timeouts: SendTimeouts = SLOW,
) -> Retrieved:
    """Ask an archive to send objects to an AE, which it has to know. Raises Unanswered when it did not end it."""
    study, patient = StudyRootQueryRetrieveInformationModelMove, PatientRootQueryRetrieveInformationModelMove
    root = patient if patient_root else study
    with associated(archive, calling_ae, [(root, PLAIN)], timeouts) as (association, problem):
        if association is None:
            raise Unanswered(problem or "no association")
        try:
            return last_of(association.send_c_move(wanted, to_ae, root))
        except DECODER_ERRORS:
            raise Unanswered("the association ended before the request was answered") from None


def last_of(responses: Any) -> Retrieved:  # noqa: ANN401 - pynetdicom's generator
    """Return how a retrieval ended, by its last response. Raises Unanswered when there is none."""
    for status, _ in responses:
        if "Status" not in status:
            raise Unanswered("the archive did not answer in time")
        if status.Status not in PENDING:
            completed, failed, warning = (
                int(status.get(f"NumberOf{name}Suboperations") or 0) for name in ("Completed", "Failed", "Warning")
            )
            words = in_words(int(status.Status))
            return Retrieved(int(status.Status), words, completed, failed, warning, _comment_of(status))
    raise Unanswered("the archive did not answer in time")


def text_of(ds: Dataset, keyword: str) -> str:
    """Return an attribute of an answer as text, several values joined by a backslash; "" for what is none."""
    try:
        value = ds.get(keyword)
    except DECODER_ERRORS:
        return ""
    many = value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
    return "\\".join("" if one is None else str(one).strip() for one in many)


def _comment_of(status: Dataset) -> str:
    return str(status.get("ErrorComment") or "").strip()
