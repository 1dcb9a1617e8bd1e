"""Which side codes and words name: L, R, B for both, or "" when nothing or no one side is named."""

import re
from collections.abc import Iterable

# SNOMED CT: the qualifiers of PS3.16 CID 244, and breasts, which are ordered as structures with a side; and the
# qualifiers' codes of SNOMED RT, which older systems send.
_CODES = {
    "7771000": "L",
    "24028007": "R",
    "51440002": "B",
    "80248007": "L",
    "73056007": "R",
    "63762007": "B",
    "G-A101": "L",
    "G-A100": "R",
    "G-A102": "B",
}
_WORDS = {"LEFT": "L", "LT": "L", "RIGHT": "R", "RT": "R", "BILATERAL": "B", "BOTH": "B"}
_WORD = re.compile(r"[^\W\d_]+")


def side_of(codes: Iterable[str], texts: Iterable[str]) -> str:
    """Return the one side that SNOMED codes and English words name; two different ones name none."""
    found = {_CODES[code] for code in codes if code in _CODES}
    found |= {_WORDS[word] for text in texts for word in map(str.upper, _WORD.findall(text)) if word in _WORDS}
    return found.pop() if len(found) == 1 else ""
