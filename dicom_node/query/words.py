"""What a status of C-FIND, C-MOVE or C-GET means, for people (PS3.4 tables C.4-1 to C.4-3, PS3.7 annex C)."""

from types import MappingProxyType

_IN_WORDS = MappingProxyType(
    {
        0x0000: "done",
        0x0110: "failed: processing failure",
        0x0122: "refused: this service is not offered",
        0x0124: "refused: this AE is not authorised",
        0x0210: "refused: the message was sent twice",
        0x0211: "refused: operation not recognised",
        0xA700: "refused: out of resources",
        0xA701: "refused: out of resources, the matches could not be counted",
        0xA702: "failed: no object could be sent",
        0xA801: "refused: the archive does not know the destination; its AE title, host and port are set there",
        0xA900: "failed: the query does not fit the information model",
        0xB000: "done, but some objects were not sent or not taken",
        0xFE00: "ended because it was cancelled",
        0xFF00: "going on",
        0xFF01: "going on; some keys of the query are not supported there",
    }
)


def in_words(status: int) -> str:
    """Return what a status means."""
    if status in _IN_WORDS:
        return _IN_WORDS[status]
    return f"failed: unable to process (0x{status:04X})" if status >> 12 == 0xC else f"failed (0x{status:04X})"
