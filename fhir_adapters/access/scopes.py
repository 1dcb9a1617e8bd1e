"""SMART scopes (SMART App Launch 2.2, "Scopes and Launch Context"): text to values and back, and what two share.

`patient/Observation.rs?category=...|vital-signs` lets read and search observations of that category of the patient
whom the token is for. The older form (`patient/*.read`) is read as what it means in the newer one.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

ORDER = "cruds"  # create, read, update, delete, search: letters stand in this order
MAX_SCOPE = 512  # characters of one
MAX_SCOPES = 100  # in one request or registration
MAX_PARAMETERS = 8

_SCOPE = re.compile(
    r"(?P<context>patient|user|system)/(?P<type>\*|[A-Z][A-Za-z]{1,63})"
    r"\.(?:(?P<old>read|write|\*)|(?P<letters>c?r?u?d?s?)(?:\?(?P<query>[!#-\[\]-~]+))?)"
)
_OLD = {"read": "rs", "write": "cud", "*": ORDER}
_SAFE = ":/|,$*()!~'@-._"  # what may stand in a scope (RFC 6749 3.3) and means nothing in a query

# Of other parts of SMART (launch, identity): known, and nothing here has them to give.
_OTHERS = re.compile(r"launch(?:/[A-Za-z]+)?|openid|fhirUser|profile|offline_access|online_access")


class ScopeMalformed(ValueError):
    """The text is no SMART scope; the text says why, without the value."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope. type: a resource type, or "*" for each. permissions: letters of ORDER, in that order, not none.

    parameters: search parameters that a resource must match, (name, value) as in a query string, sorted.
    """

    context: str
    type: str
    permissions: str
    parameters: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Return it as SMART v2 writes it."""
        query = "&".join(
            f"{quote(name, safe=_SAFE)}={quote(value, safe=_SAFE)}" for name, value in self.parameters
        )
        return f"{self.context}/{self.type}.{self.permissions}" + (f"?{query}" if query else "")

    def covers(self, resource_type: str, permission: str) -> bool:
        """True when it says something of this type and this letter."""
        return self.type in ("*", resource_type) and permission in self.permissions


def parse(text: str) -> Scope:
    """Return the scope that a text means. Raises ScopeMalformed."""
    if len(text) > MAX_SCOPE:
        raise ScopeMalformed(f"a scope has at most {MAX_SCOPE} characters")
    found = _SCOPE.fullmatch(text)
    if found is None or not (found["old"] or found["letters"]):
        raise ScopeMalformed("expected a scope such as system/Observation.rs, its letters in the order cruds")
    pairs: list[tuple[str, str]] = []
    if found["query"]:
        try:
            pairs = parse_qsl(found["query"], keep_blank_values=True, strict_parsing=True, errors="strict")
        except ValueError:
            raise ScopeMalformed("the part of a scope behind the question mark is a query string") from None
        if len(pairs) > MAX_PARAMETERS:
            raise ScopeMalformed(f"a scope has at most {MAX_PARAMETERS} parameters")
        if any(not name or not value or not (name + value).isprintable() for name, value in pairs):
            raise ScopeMalformed("each parameter of a scope has a name and a value")
    permissions = _OLD[found["old"]] if found["old"] else found["letters"]
    return Scope(found["context"], found["type"], permissions, tuple(sorted(set(pairs))))


def parse_all(text: str) -> tuple[Scope, ...]:
    """Return the scopes of a request (RFC 6749 3.3: separated by blanks), each once.

    Scopes of launch and identity are passed over: what is granted says that they were not. Raises ScopeMalformed.
    """
    parts = [part for part in text.split(" ") if part and not _OTHERS.fullmatch(part)]
    if len(parts) > MAX_SCOPES:
        raise ScopeMalformed(f"at most {MAX_SCOPES} scopes")
    return tuple(dict.fromkeys(parse(part) for part in parts))


def shared(asked: Scope, registered: Scope) -> Scope | None:
    """Return what both let through, None when that is nothing.

    Whoever may all of a kind may ask for that of one patient; nobody gets a wider context than is registered.
    """
    if asked.context not in (registered.context, "patient"):
        return None
    if asked.type != registered.type and "*" not in (asked.type, registered.type):
        return None
    kind = registered.type if asked.type == "*" else asked.type
    letters = "".join(letter for letter in asked.permissions if letter in registered.permissions)
    if not letters:
        return None
    parameters = tuple(sorted({*asked.parameters, *registered.parameters}))
    return Scope(asked.context, kind, letters, parameters)


def granted(asked: Iterable[Scope], registered: Iterable[Scope]) -> tuple[Scope, ...]:
    """Return what of the scopes asked for a client may have: all that a scope of it and one of its own share.

    What another one of the result says already is left out.
    """
    own = tuple(registered)
    every = dict.fromkeys(one for want in asked for have in own if (one := shared(want, have)) is not None)
    return tuple(one for one in every if not any(_within(one, other) for other in every if other is not one))


def text_of(scopes: Iterable[Scope]) -> str:
    """Return the scopes as one text."""
    return " ".join(str(one) for one in scopes)


def _within(one: Scope, other: Scope) -> bool:
    """True when `other` lets through all that `one` does."""
    return (
        other.context == one.context
        and other.type in ("*", one.type)
        and set(one.permissions) <= set(other.permissions)
        and set(other.parameters) <= set(one.parameters)
    )


def _quoted(text: str) -> str:
    return quote(text, safe=_SAFE)
