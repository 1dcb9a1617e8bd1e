"""Where a delivery stands, in a sentence for people. Pure; no word here is a patient's."""

from dicom_node.status import in_words
from record_store.commitments import ASKED, COMMITTED, UNCONFIRMED, WANTED
from record_store.deliveries import PENDING, SENT, SUPERSEDED, Delivery

_KEPT = {
    None: "the archive has it",
    WANTED: "the archive has it and is to be asked whether it keeps it",
    ASKED: "the archive has it and has been asked whether it keeps it",
    COMMITTED: "the archive has confirmed that it keeps it",
    UNCONFIRMED: "the archive has it and never confirmed that it keeps it",
}


def why(one: Delivery) -> str:
    """Return where a delivery stands and why, with the DIMSE status of the last answer where there was one."""
    if one.state == SENT:
        remark = f" ({in_words(one.last_status)})" if one.last_status else ""
        return _KEPT[one.commitment] + remark + (f"; {one.last_problem}" if one.last_problem else "")
    if one.state == SUPERSEDED:
        return "not sent: a newer reading of the image replaces it"
    said = one.last_problem or "no answer is recorded"
    if one.last_status is not None:
        said += f" (0x{one.last_status:04X})"
    if one.state == PENDING:
        if not one.attempts:
            return "waits for its turn"
        return f"tried {_times(one.attempts)}, again at {one.next_attempt_at:%Y-%m-%d %H:%M:%S} UTC: {said}"
    return f"given up after {one.attempts} {'try' if one.attempts == 1 else 'tries'}: {said}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
