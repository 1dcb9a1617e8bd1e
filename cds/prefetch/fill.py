"""Filling a template: the query that it asks for in one call, or why it cannot be asked.

Values are escaped for search (R4 3.1.1.4.0.1) and percent-encoded: an id such as `a&patient=b` or `a,b` must not
widen a query, and what a path is made of must be an id.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from cds.hooks import is_id
from cds.prefetch.paths import evaluate
from cds.prefetch.query import Query, Text
from cds.prefetch.scope import Scope, Target, target_of
from cds.prefetch.tokens import Token

LONGEST_QUERY = 6000  # servers and proxies take 8 kB of request line, and the base URL comes before it
NO_VALUE = "a token of its query has no value in this call"
NO_ID = "its query reads one resource, and the token does not give one id"
SEVERAL = "a token that is a part of a value gives several values in this call"
TOO_LONG = "its query would be too long"
_SPECIAL = re.compile(r"([\\,$|])")


@dataclass(frozen=True, slots=True)
class Filled:
    """query: relative to the FHIR base; None with the reason why not. wanted: resources to fetch first."""

    query: str | None = None
    reason: str | None = None
    wanted: frozenset[Target] = frozenset()


class _CannotAsk(Exception):
    """Why not, in the message; caught here."""


def fill(query: Query, scope: Scope) -> Filled:
    """Return the query with its tokens replaced."""
    found = {token: evaluate(token, scope) for token in query.tokens}
    wanted = frozenset(target for one in found.values() for target in one.wanted)
    if wanted or not all(one.values for one in found.values()):
        return Filled(None, NO_VALUE, wanted)
    values = {token: one.values for token, one in found.items()}
    try:
        text = _instance(query, values, scope) if query.read else _search(query, values)
    except _CannotAsk as problem:
        return Filled(None, str(problem))
    return Filled(text) if len(text) <= LONGEST_QUERY else Filled(None, TOO_LONG)


def _instance(query: Query, values: Mapping[Token, tuple[str, ...]], scope: Scope) -> str:
    ident = ""
    for part in query.read:
        given = (part,) if isinstance(part, str) else values[part]
        if len(given) > 1:
            raise _CannotAsk(NO_ID)
        ident += given[0]
    target = target_of(ident, scope.base) if query.kind is None else (query.kind, ident)
    if target is None or not is_id(target[1]):
        raise _CannotAsk(NO_ID)
    return "/".join(target)


def _search(query: Query, values: Mapping[Token, tuple[str, ...]]) -> str:
    parts = [f"{name}={_value(text, values)}" for name, text in query.parameters]
    return f"{query.kind}?{'&'.join(parts)}" if parts else str(query.kind)


def _value(text: Text, values: Mapping[Token, tuple[str, ...]]) -> str:
    written = ""
    for number, part in enumerate(text):
        if isinstance(part, str):
            written += part
            continue
        if len(values[part]) > 1 and not _stands_alone(text, number):
            # `gt{{a}}` with two dates would mean "after one, or on the other".
            raise _CannotAsk(SEVERAL)
        written += ",".join(_escaped(value) for value in values[part])
    return written


def _stands_alone(text: Text, number: int) -> bool:
    """True when the token is a whole value between commas."""
    before = text[number - 1] if number else ","
    after = text[number + 1] if number + 1 < len(text) else ","
    return isinstance(before, str) and before.endswith(",") and isinstance(after, str) and after.startswith(",")


def _escaped(value: str) -> str:
    return quote(_SPECIAL.sub(r"\\\1", value), safe="")
