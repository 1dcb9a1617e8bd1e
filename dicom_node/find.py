"""C-FIND as SCU (PS3.4 annex C): how many instances of a study the archive knows of.

A study is complete when we hold what the archive holds; the quiet time is for those that do not say.
"""

from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from dicom_node.associating import associated
from dicom_node.destinations import Destination, SendTimeouts

_FIND = StudyRootQueryRetrieveInformationModelFind
_PENDING = (0xFF00, 0xFF01)  # PS3.4 C.4.1.1.4
_MOST_ANSWERS = 8  # one is right; an archive that answers with everything it has is not read to its end
QUICK = SendTimeouts(connect_s=2.0, acse_s=3.0, dimse_s=5.0, network_s=5.0)


class Unanswered(Exception):
    """The archive was not reached, or failed. The text says why."""


def instances_of_study(
    archive: Destination, calling_ae: str, study_uid: str, *, timeouts: SendTimeouts = QUICK
) -> int | None:
    """Return Number of Study Related Instances (0020,1208); None when the archive does not know or does not say.

    Raises Unanswered.
    """
    wanted = [(_FIND, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])]
    with associated(archive, calling_ae, wanted, timeouts) as (association, problem):
        if association is None:
            raise Unanswered(problem)
        return _count(association, study_uid)


def _count(association: Association, study_uid: str) -> int | None:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study_uid
    query.NumberOfStudyRelatedInstances = None
    found: int | None = None
    try:
        for number, (status, identifier) in enumerate(association.send_c_find(query, _FIND)):
            if "Status" not in status:
                raise Unanswered("the archive did not answer")
            if status.Status not in _PENDING:
                if status.Status != 0x0000:
                    raise Unanswered(f"the archive refused the query (0x{int(status.Status):04X})")
                break
            if number >= _MOST_ANSWERS:
                association.abort()
                break
            found = _number(identifier, study_uid) or found
    except (ValueError, RuntimeError):
        raise Unanswered("the association ended before the query") from None
    return found


def _number(identifier: Any, study_uid: str) -> int | None:  # noqa: ANN401 - pynetdicom's data set
    """Return the count of an answer, None when it is about another study or holds no number."""
    try:
        if identifier is None or str(identifier.get("StudyInstanceUID", "")) != study_uid:
            return None
        count = int(identifier.get("NumberOfStudyRelatedInstances") or 0)
    except (ValueError, TypeError, AttributeError):
        return None
    return count if count > 0 else None
