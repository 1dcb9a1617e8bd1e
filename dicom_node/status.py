"""DIMSE statuses of our errors (DESIGN section 6) and the meaning of the peers' C-STORE statuses."""

from types import MappingProxyType

from clinical.errors import Category

SUCCESS = 0x0000
DUPLICATE_SOP_INSTANCE = 0x0111  # PS3.7 C.5.8
INVALID_SOP_INSTANCE = 0x0117  # PS3.7 C.5.11
NOT_THIS_CLASS = 0xA900  # PS3.4 GG.4-1: data set does not match SOP class
CANNOT_UNDERSTAND = 0xC000
OUT_OF_RESOURCES = 0xA700

# PS3.4 table GG.4-1 (C-STORE) and PS3.7 annex C.
DIMSE_STATUS = MappingProxyType(
    {
        Category.INCORRECT: NOT_THIS_CLASS,
        Category.PRECONDITION: NOT_THIS_CLASS,
        Category.NOT_FOUND: INVALID_SOP_INSTANCE,
        Category.UNSUPPORTED: 0x0122,
        Category.DENIED: 0x0124,
        Category.BUSY: OUT_OF_RESOURCES,
        Category.FAULT: CANNOT_UNDERSTAND,
    }
)

_WARNINGS = frozenset({0x0107, 0x0116, 0xB000, 0xB006, 0xB007})
_TRANSIENT = range(0xA700, 0xA800)
_PROCESSING_FAILURE, _RESOURCE_LIMITATION = 0x0110, 0x0213  # PS3.7 C.5.21, C.5.25
CLASS_NOT_SUPPORTED = 0x0122  # PS3.7 C.5.20
_IN_WORDS = MappingProxyType(
    {
        SUCCESS: "stored",
        DUPLICATE_SOP_INSTANCE: "stored, with a remark: it was there already",
        0xB000: "stored, with a remark: some values were changed",
        0xB006: "stored, with a remark: some elements were left out",
        0xB007: "stored, with a remark: the data set does not match its SOP class",
        _PROCESSING_FAILURE: "refused: processing failure",
        INVALID_SOP_INSTANCE: "refused: not an instance of its SOP class",
        0x0119: "refused: another SOP class has this instance",
        CLASS_NOT_SUPPORTED: "refused: SOP class not supported",
        0x0124: "refused: not authorised",
        0x0210: "refused: the message was sent twice",
        0x0211: "refused: operation not recognised",
        0x0212: "refused: wrong type of argument",
        _RESOURCE_LIMITATION: "refused: out of resources",
    }
)


def is_taken(status: int) -> bool:
    """Tell whether the peer holds the object now.

    A warning is a stored object with a remark. 0x0111 says that an instance with this UID is there
    already: our UIDs are derived from what they hold, so it is the same one.
    """
    return status in (SUCCESS, DUPLICATE_SOP_INSTANCE) or status in _WARNINGS


def is_transient(status: int) -> bool:
    """Tell whether the same request may succeed later: out of resources (PS3.4 table GG.4-1) or a failure.

    Anything else is the peer's judgement of the object, which sending it again does not change.
    """
    return status in _TRANSIENT or status in (_PROCESSING_FAILURE, _RESOURCE_LIMITATION)


def in_words(status: int) -> str:
    """Return what a C-STORE status means, for people who read a delivery's history."""
    if status in _IN_WORDS:
        return _IN_WORDS[status]
    if is_taken(status):
        return "stored, with a remark"
    if status in _TRANSIENT:
        return "refused: out of resources"
    if status in range(0xA900, 0xAA00):
        return "refused: data set does not match SOP class"
    if status in range(0xC000, 0xD000):
        return "refused: cannot understand"
    return "refused"
