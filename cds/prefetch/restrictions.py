"""What our own templates may use, so that every client can answer them ("Prefetch query restrictions", D6)."""

import re

from cds.prefetch.query import Query, Text
from cds.prefetch.tokens import Today, Token
from clinical.errors import IncorrectInput

_PLAIN = frozenset({"_id", "_lastUpdated"})  # the ones of `_` that the specification's examples use
_NUMBERS = frozenset({"_count", "_maxresults"})
_SORT = re.compile(r"-?[A-Za-z_][A-Za-z0-9_\-]*(,-?[A-Za-z_][A-Za-z0-9_\-]*)*")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9\-]*(:in)?")
_BAD_DATE = re.compile(r"(?:^|,)(?!eq|lt|gt|ge|le)[a-z]{2}(?=[0-9]{4}(?:-|$|,))")
_DATE_PREFIX = re.compile(r"(?:^|.*,)(?:eq|lt|gt|ge|le)?")
_OLD_SORT = re.compile(r"[?&](?:sort\b|_sort:)")


def check(template: str, query: Query) -> None:
    """Raise IncorrectInput when a template asks for more than clients are expected to know.

    template: as written, for `query` no longer shows the old way to sort.
    """
    if _OLD_SORT.search(template):
        raise IncorrectInput("a template sorts as R4 does: _sort=-date")
    if query.kind is not None and not query.read and not query.parameters:
        raise IncorrectInput("a template without parameters asks for the whole server")
    for name, value in query.parameters:
        _check_parameter(name, value)


def _check_parameter(name: str, value: Text) -> None:
    literal = "".join(part if isinstance(part, str) else "" for part in value)
    whole = not any(isinstance(part, Token) for part in value)
    if name in _NUMBERS:
        if not whole or not re.fullmatch(r"[1-9][0-9]{0,5}", literal):
            raise IncorrectInput(f"{name} is a number")
    elif name == "_sort":
        if not whole or not _SORT.fullmatch(literal):
            raise IncorrectInput("_sort is a list of search parameters, each with or without a minus")
    elif name not in _PLAIN and not _NAME.fullmatch(name):
        raise IncorrectInput(
            f"a template uses no {name}: parameters by equality or :in, _count, _maxresults, _sort"
        )
    else:
        _check_dates(name, value)


def _check_dates(name: str, value: Text) -> None:
    before = ""
    for part in value:
        if isinstance(part, str):
            if _BAD_DATE.search(part):
                raise IncorrectInput(f"{name}: a date has one of the prefixes eq, lt, gt, ge, le, or none")
            before = part
            continue
        if any(isinstance(term, Today) for term in part.terms) and not _DATE_PREFIX.fullmatch(before):
            raise IncorrectInput(f"{name}: today() has one of the prefixes eq, lt, gt, ge, le before it, or none")
        before = ""
