"""Which parts of the body words name, as far as an order and an image can be told apart by them.

The terms of Body Part Examined (PS3.16 annex L) and the English words of orders. Regions that hold others (limb,
spine, trunk) are no parts here: what names only such a region contradicts nothing and is nobody's proof.
"""

import re
from collections.abc import Iterable, Set
from enum import StrEnum
from itertools import pairwise

# Part -> what else it is called. A part is named by its own word, too; a plural by its singular.
_ALSO_CALLED = {
    "ABDOMEN": ("ABDOMINAL", "KUB"),
    "ANKLE": (),
    "BLADDER": (),
    "BREAST": ("MAMMOGRAM", "MAMMOGRAPHY", "MAMMO"),
    "CALCANEUS": ("HEEL", "CALCANEUM"),
    "CHEST": ("THORAX", "LUNG"),
    "CLAVICLE": (),
    "COCCYX": (),
    "CSPINE": ("CERVICAL SPINE", "C SPINE"),
    "ELBOW": (),
    "FEMUR": ("THIGH", "FEMORAL HEAD", "FEMORAL NECK"),
    "FINGER": (),
    "FOOT": ("FEET",),
    "FOREARM": ("RADIUS", "ULNA", "RADIAL HEAD", "RADIAL NECK"),
    "GALLBLADDER": ("GALL BLADDER",),
    "HAND": (),
    "HEAD": ("BRAIN", "SKULL", "CRANIUM"),
    "HEART": ("CARDIAC",),
    "HIP": (),
    "HUMERUS": ("UPPER ARM", "HUMERAL HEAD", "HUMERAL NECK", "SURGICAL NECK"),
    "JAW": ("MANDIBLE",),
    "KIDNEY": ("RENAL",),
    "KNEE": (),
    "LIVER": (),
    "LSPINE": ("LUMBAR SPINE", "L SPINE"),
    "NECK": (),
    "ORBIT": (),
    "PATELLA": (),
    "PELVIS": ("PELVIC",),
    "PROSTATE": (),
    "RIB": (),
    "SACRUM": (),
    "SCAPULA": (),
    "SHOULDER": (),
    "SINUS": ("SINUSES",),
    "STERNUM": (),
    "THUMB": (),
    "THYROID": (),
    "TIBIA": ("FIBULA", "TIBFIBULA", "LOWER LEG"),
    "TOE": (),
    "TSPINE": ("THORACIC SPINE", "T SPINE"),
    "UTERUS": (),
    "WRIST": (),
}
# Terms of annex L that are several parts in one word.
_SEVERAL = {
    "ABDOMENPELVIS": ("ABDOMEN", "PELVIS"),
    "CHESTABDOMEN": ("CHEST", "ABDOMEN"),
    "CHESTABDPELVIS": ("CHEST", "ABDOMEN", "PELVIS"),
    "HEADNECK": ("HEAD", "NECK"),
    "NECKCHEST": ("NECK", "CHEST"),
    "NECKCHESTABDOMEN": ("NECK", "CHEST", "ABDOMEN"),
    "NECKCHESTABDPELV": ("NECK", "CHEST", "ABDOMEN", "PELVIS"),
    "TLSPINE": ("TSPINE", "LSPINE"),
}
_NAMES = {
    **{name: (part,) for part, also in _ALSO_CALLED.items() for name in (part, *also)},
    **_SEVERAL,
}
_WORD = re.compile(r"[^\W\d_]+")


class Agreement(StrEnum):
    """How what is shown stands to what was ordered. UNSAID: one of them names no part, or they share only some."""

    SAME = "same"
    OTHER = "other"
    UNSAID = "unsaid"


def parts_of(texts: Iterable[str]) -> frozenset[str]:
    """Return the parts that terms and words name; what is no part known here is left out."""
    return frozenset(part for text in texts for name in _names_in(text) for part in _NAMES[name])


def agreement(shown: Set[str], ordered: Set[str]) -> Agreement:
    """Tell whether all that images show was ordered, or nothing of it."""
    if shown and shown <= ordered:
        return Agreement.SAME
    return Agreement.OTHER if shown and ordered and not shown & ordered else Agreement.UNSAID


def _names_in(text: str) -> Iterable[str]:
    words = [word.upper() for word in _WORD.findall(text)]
    pairs = {at: name for at, pair in enumerate(pairwise(words)) if (name := " ".join(pair)) in _NAMES}
    # A word within a pair says nothing by itself: the head of the radius is nobody's head.
    single = [word for at, word in enumerate(words) if at not in pairs and at - 1 not in pairs]
    names = [word if word in _NAMES else word.removesuffix("S") for word in single]
    return [name for name in (*names, *pairs.values()) if name in _NAMES]
