"""Statuses that the node answers with, and what it makes of an archive's (PS3.7 annex C, PS3.4 GG.4-1)."""

from collections.abc import Mapping

from clinical.errors import Category
from dicom_node.statement.text import table
from dicom_node.status import DIMSE_STATUS, DUPLICATE_SOP_INSTANCE, SUCCESS, in_words, is_taken, is_transient

# What a category means to who sends an object.
_WHEN: Mapping[Category, str] = {
    Category.INCORRECT: "the data set is malformed, or is not the instance that the command names",
    Category.PRECONDITION: "something that must be there is missing",
    Category.NOT_FOUND: "there is no such instance",
    Category.UNSUPPORTED: "the SOP class or what was asked is not supported",
    Category.DENIED: "the caller may not do this",
    Category.BUSY: "no room on the disk, or the store is away; the same request may succeed later",
    Category.FAULT: "the node failed; its log says where",
}
# One of each kind of answer that peers give (PS3.4 table GG.4-1).
_HEARD = (
    0x0000,
    0x0107,
    0x0110,
    0x0111,
    0x0117,
    0x0122,
    0x0124,
    0x0213,
    0xA700,
    0xA900,
    0xB000,
    0xB006,
    0xB007,
    0xC000,
)


def answered() -> list[str]:
    """Return the statuses of C-STORE that callers get."""
    rows = [
        (
            _hex(SUCCESS),
            "the object is flushed to the disk (not with FLUSH=never) and its study queued; or it was held",
        ),
        (_hex(DUPLICATE_SOP_INSTANCE), "an instance with this UID and other content is held; the first is kept"),
    ]
    for status in dict.fromkeys(DIMSE_STATUS.values()):
        rows.append((_hex(status), "; ".join(_WHEN[one] for one in Category if DIMSE_STATUS[one] == status)))
    return table(("status", "when"), rows)


def understood() -> list[str]:
    """Return what becomes of a result by the status that an archive answers."""
    return table(
        ("status", "read as", "then"),
        ((_hex(one), in_words(one), _then(one)) for one in _HEARD),
    )


def _then(status: int) -> str:
    if is_taken(status):
        return "delivered"
    return (
        "sent again, with growing pauses"
        if is_transient(status)
        else "dead letter at once, or another form is sent"
    )


def of_service(statuses: Mapping[int, str]) -> list[str]:
    """Return a service's own statuses."""
    return table(("status", "when"), ((_hex(one), words) for one, words in sorted(statuses.items())))


def _hex(status: int) -> str:
    return f"0x{status:04X}"
