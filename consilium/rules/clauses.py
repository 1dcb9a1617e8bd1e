"""The clauses of a rule over what an image says about itself. Pure; nothing in a rules file is ever evaluated.

A clause names a field and texts of which one must fit, whatever their case. In `description` and `calling_ae`
a text may hold `*` (anything) and `?` (one character); every other character means itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

FIELDS = ("modality", "body_part", "view", "calling_ae", "description")
_PATTERNS = frozenset(("calling_ae", "description"))
LONGEST = 256  # of a value; the standard allows 64 characters (PS3.5 6.2, VR LO)


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What clauses ask of an image; "" where it says nothing. description: Study Description (0008,1030)."""

    modality: str = ""
    body_part: str = ""
    view: str = ""
    calling_ae: str = ""
    description: str = ""

    def __repr__(self) -> str:
        # A description may name a patient; a repr lands in logs.
        return f"ImageFacts(modality={self.modality!r}, ...)"


@dataclass(frozen=True, slots=True)
class Clauses:
    """All fields that are named must fit; none named fits every image."""

    wanted: Mapping[str, tuple[str, ...]]

    def failing(self, facts: ImageFacts) -> str | None:
        """Return the first clause that does not fit, in words of the rule and never of the image; else None."""
        for field in FIELDS:
            texts = self.wanted.get(field)
            if texts is not None and not any(_fits(field, text, getattr(facts, field)) for text in texts):
                return f"{field} is none of {', '.join(texts)}"
        return None

    def in_words(self) -> str:
        """Return the clauses as the rule states them."""
        named = [f"{field} is {' or '.join(self.wanted[field])}" for field in FIELDS if field in self.wanted]
        return " and ".join(named) or "every image"


def _fits(field: str, text: str, value: str) -> bool:
    if field in _PATTERNS:
        return matches(text.casefold(), value[:LONGEST].casefold())
    return text.casefold() == value.casefold()


def matches(pattern: str, value: str) -> bool:
    """Tell whether a pattern of `*` and `?` covers the whole value, in at most len(pattern) * len(value) steps.

    Not a regular expression: what a sender writes must not make one backtrack.
    """
    at, place, star, resumed = 0, 0, -1, 0
    while at < len(value):
        if place < len(pattern) and pattern[place] == "*":
            star, resumed, place = place, at, place + 1
        elif place < len(pattern) and pattern[place] in ("?", value[at]):
            at, place = at + 1, place + 1
        elif star >= 0:  # let the last star take one character more
            resumed += 1
            at, place = resumed, star + 1
        else:
            return False
    return not pattern[place:].strip("*")
