"""The tokens of a prefetch template, read into values (CDS Hooks 3.0, "Prefetch tokens").

The subset of FHIRPath that is understood, and no more (docs/decisions/020):

    token   = user-id | term *("|" term)
    user-id = "userPractitionerId" | "userPractitionerRoleId" | "userPatientId" | "userRelatedPersonId"
    term    = ("context" | "%" key) 1*step  |  "today()" *(("+" | "-") number ("day" | "days"))
    step    = "." name | ".ofType(" Type ")" | ".resolve()"        the last step is a name
"""

import re
from dataclasses import dataclass

from clinical.errors import IncorrectInput

USER_TOKENS = {
    "userPractitionerId": "Practitioner",
    "userPractitionerRoleId": "PractitionerRole",
    "userPatientId": "Patient",
    "userRelatedPersonId": "RelatedPerson",
}
LONGEST_TOKEN = 1000
MOST_DAYS = 36_525  # a century: no search for a patient's data asks for more
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*")
_ROOT = re.compile(rf"\s*(?:(context)|%(?:({KEY.pattern})|`({KEY.pattern})`))(?=\s*\.)")
_STEP = re.compile(
    r"\s*\.\s*(?:ofType\(\s*(?P<kind>[A-Z][A-Za-z]{0,63})\s*\)|(?P<resolve>resolve\(\s*\))"
    r"|(?P<name>[A-Za-z][A-Za-z0-9]{0,63}+)(?!\s*\())"
)
_TODAY = re.compile(r"\s*today\(\s*\)")
_DAYS = re.compile(r"\s*([+\-])\s*([0-9]{1,5})\s*days?\b")


@dataclass(frozen=True, slots=True)
class UserId:
    """The id of the user, if the user is of this type."""

    kind: str


@dataclass(frozen=True, slots=True)
class Today:
    """The day of the call, moved by some days."""

    days: int


@dataclass(frozen=True, slots=True)
class Name:
    """Go to the element of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class OfType:
    """Keep the resources of this type, resolved or not."""

    kind: str


@dataclass(frozen=True, slots=True)
class Resolve:
    """Go from a reference to what it refers to."""


Step = Name | OfType | Resolve


@dataclass(frozen=True, slots=True)
class Path:
    """key: whose answer the path goes into, None for the context."""

    key: str | None
    steps: tuple[Step, ...]


Term = UserId | Today | Path


@dataclass(frozen=True, slots=True, eq=False)  # by identity: they are looked up often, and made at the start
class Token:
    """One `{{...}}`: the union of its terms."""

    terms: tuple[Term, ...]

    @property
    def keys(self) -> frozenset[str]:
        """The prefetch keys whose answers it reads."""
        return frozenset(term.key for term in self.terms if isinstance(term, Path) and term.key is not None)


def parse_token(text: str) -> Token:
    """Return what stands between `{{` and `}}`.

    Raises IncorrectInput for what is outside the subset.
    """
    if len(text) > LONGEST_TOKEN:
        raise IncorrectInput(f"a token is longer than {LONGEST_TOKEN} characters")
    stripped = text.strip()
    if stripped in USER_TOKENS:
        return Token((UserId(USER_TOKENS[stripped]),))
    return Token(tuple(_term(part.strip()) for part in stripped.split("|")))


def _term(text: str) -> Term:
    if start := _TODAY.match(text):
        return _today(text, start.end())
    root = _ROOT.match(text)
    if root is None:
        raise IncorrectInput(
            f"the token {text} begins with none of context., %key. and today(), and is no user id"
        )
    steps: list[Step] = []
    place = root.end()
    while place < len(text):
        step = _STEP.match(text, place)
        if step is None:
            raise IncorrectInput(f"the token {text} is not understood from character {place + 1} on")
        steps.append(_step(step))
        place = step.end()
    if not isinstance(steps[-1], Name):
        raise IncorrectInput(f"the token {text} ends at a resource, where a simple value is needed")
    return Path(root[2] or root[3], tuple(steps))


def _step(match: re.Match[str]) -> Step:
    if match["kind"]:
        return OfType(match["kind"])
    return Resolve() if match["resolve"] else Name(match["name"])


def _today(text: str, place: int) -> Today:
    days = 0
    while place < len(text):
        moved = _DAYS.match(text, place)
        if moved is None:
            raise IncorrectInput(f"the token {text} is not understood from character {place + 1} on")
        days += int(moved[2]) if moved[1] == "+" else -int(moved[2])
        place = moved.end()
    if abs(days) > MOST_DAYS:
        raise IncorrectInput(f"the token {text} goes more than {MOST_DAYS} days away")
    return Today(days)
