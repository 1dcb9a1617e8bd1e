"""What is wrong with a message: a code of table 0357, and where in the message, as ERR says it (v2.9 2.15.5)."""

from dataclasses import dataclass

from clinical.errors import Category, ClinicalError

SEGMENT_SEQUENCE, REQUIRED_FIELD, DATA_TYPE, TABLE_VALUE, TOO_LONG = 100, 101, 102, 103, 104
MESSAGE_TYPE, EVENT_CODE, PROCESSING_ID, VERSION_ID = 200, 201, 202, 203
UNKNOWN_KEY, DUPLICATE_KEY, RECORD_LOCKED, INTERNAL = 204, 205, 206, 207

TEXTS = {
    SEGMENT_SEQUENCE: "Segment sequence error",
    REQUIRED_FIELD: "Required field missing",
    DATA_TYPE: "Data type error",
    TABLE_VALUE: "Table value not found",
    TOO_LONG: "Value too long",
    MESSAGE_TYPE: "Unsupported message type",
    EVENT_CODE: "Unsupported event code",
    PROCESSING_ID: "Unsupported processing id",
    VERSION_ID: "Unsupported version id",
    UNKNOWN_KEY: "Unknown key identifier",
    DUPLICATE_KEY: "Duplicate key identifier",
    RECORD_LOCKED: "Application record locked",
    INTERNAL: "Application internal error",
}
# Not the message's content but its kind, or our state: AR and CR instead of AE and CE (v2.9 2.9.2.2, 2.9.3).
_REJECTED = frozenset((MESSAGE_TYPE, EVENT_CODE, PROCESSING_ID, VERSION_ID, RECORD_LOCKED))


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a message, as ERL (v2.5 2.A.28). occurrence: which segment of that name, from 1. 0: no deeper."""

    segment: str
    occurrence: int = 1
    field: int = 0
    component: int = 0

    def __str__(self) -> str:
        """As people write it: OBX[2]-5.1."""
        text = self.segment if self.occurrence == 1 else f"{self.segment}[{self.occurrence}]"
        text += f"-{self.field}" if self.field else ""
        return text + (f".{self.component}" if self.component else "")


class MessageError(ClinicalError):
    """A message that is not taken. Its text names the place and what was expected, never the value."""

    category = Category.INCORRECT

    def __init__(self, code: int, text: str, place: Place | None = None, *, rejected: bool | None = None) -> None:
        super().__init__(text)
        self.code, self.place = code, place
        self.rejected = code in _REJECTED if rejected is None else rejected

    @property
    def reason(self) -> str:
        """Place and text in one line, for an operator."""
        return f"{self.place}: {self.message}" if self.place else self.message
