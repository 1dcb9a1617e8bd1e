"""What the Basic Application Level Confidentiality Profile and its options do with each attribute (PS3.15 E.1-1).

The table leaves some choices to what an IOD needs. Ours hold for every IOD: X/Z empties (right for type 2 and 3),
whatever may be D gets a dummy (right for type 1), a sequence that may be U* stays, with its UIDs mapped.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Literal

from pydicom.tag import BaseTag

# PS3.15 table E.1-1, column "Retain Device Identity".
_DEVICE = frozenset(
    (0x00081010, 0x00181000, 0x00181002, 0x00181004, 0x00181005, 0x00181007, 0x00181008, 0x0018700A, 0x00400242)
)
# Column "Retain Patient Characteristics", of which these are kept: sex, age, size, weight.
_CHARACTERISTICS = frozenset((0x00100040, 0x00101010, 0x00101020, 0x00101030))
# Column "Clean Descriptors", of which these are cleaned and the others removed.
_DESCRIPTORS = frozenset(
    (
        0x00081030,  # Study Description
        0x0008103E,  # Series Description
        0x00082111,  # Derivation Description
        0x00180010,  # Contrast/Bolus Agent
        0x00181030,  # Protocol Name
        0x00181400,  # Acquisition Device Processing Description
        0x00189424,  # Acquisition Protocol Description
        0x00321060,  # Requested Procedure Description
        0x00400007,  # Scheduled Procedure Step Description
        0x00400254,  # Performed Procedure Step Description
    )
)
CONTENT_SEQUENCE = 0x0040A730
# A birth date is no date of the longitudinal options: shifted it would still give the age to the day.
_NEVER_SHIFTED = frozenset((0x00100030, 0x00100032, 0x00100033, 0x00100034, 0x00100035))
_TEMPORAL = frozenset(("DA", "DT", "TM"))


class Action(StrEnum):
    """What is done with an attribute (PS3.15 E.1.1)."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    MAP_UID = "U"
    KEEP = "K"
    CLEAN = "C"
    SHIFT = "shift"  # C of the option "Modified Dates"


_CHOSEN = {"X/Z": "Z", "X/D": "D", "Z/D": "D", "X/Z/D": "D", "X/Z/U*": "K"}


@dataclass(frozen=True, slots=True)
class Options:
    """What a destination gets beyond the basic profile (PS3.15 E.3). The defaults keep what a model needs.

    dates: "shifted" by days that are the same for all of a patient, or "removed". descriptions: "cleaned" of all
    but plain words, or "removed". device, characteristics: keep the machine's identity; sex, age, size and weight.
    """

    dates: Literal["shifted", "removed"] = "shifted"
    descriptions: Literal["cleaned", "removed"] = "cleaned"
    device: bool = False
    characteristics: bool = True


@cache
def basic_profile() -> dict[int, Action]:
    """Return tag -> action of the basic profile."""
    text = files("dicom_node.confidentiality").joinpath("annex_e.txt").read_text(encoding="utf-8")
    found: dict[int, Action] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, *tags = line.split()
            found |= dict.fromkeys((int(tag, 16) for tag in tags), Action(_CHOSEN.get(name, name)))
    return found


def action_of(tag: BaseTag, vr: str, options: Options) -> Action:
    """Return what is done with an attribute. Pure.

    Private attributes go, as do curves, overlays (which may be words) and what has no known meaning (UN).
    """
    if tag.is_private or tag.group & 0xFF00 in (0x5000, 0x6000) or vr == "UN":
        return Action.REMOVE
    basic = basic_profile().get(int(tag), Action.KEEP)
    if tag == CONTENT_SEQUENCE:
        return Action.CLEAN
    if basic is Action.KEEP:
        return basic
    if vr in _TEMPORAL and options.dates == "shifted" and int(tag) not in _NEVER_SHIFTED:
        return Action.SHIFT
    if int(tag) in _DESCRIPTORS and options.descriptions == "cleaned":
        return Action.CLEAN
    if (options.device and int(tag) in _DEVICE) or (options.characteristics and int(tag) in _CHARACTERISTICS):
        return Action.KEEP if vr != "UI" else basic
    return basic


@cache
def plain_words() -> frozenset[str]:
    """Return the words that may stay in a description."""
    text = files("dicom_node.confidentiality").joinpath("plain_words.txt").read_text(encoding="utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())
