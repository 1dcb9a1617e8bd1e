"""A prefetch template taken apart: an instance read, or a type-level search with its parameters.

Templates of other servers are read here too, so the form is wider than what ours may use (`restrictions`):
`sort:desc=date` of the specification's examples is read as R4's `_sort=-date`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from cds.prefetch.tokens import Token, parse_token
from clinical.errors import IncorrectInput

LONGEST_TEMPLATE = 4000
_TOKEN = re.compile(r"\{\{([^{}]*)\}\}")
_HOLE = "\0"  # stands for a token while the text around it is taken apart
_KIND = re.compile(r"[A-Z][A-Za-z]{0,63}")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,63}(?::[A-Za-z0-9.\-:]{1,64})?")
_LITERAL = re.compile(rf"[A-Za-z0-9\-._~!$'()*+,;:@/?%|\\{_HOLE}]+")
_OLD_SORT = re.compile(r"_?sort(?::(?P<order>asc|desc))?")

Text = tuple[str | Token, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """kind: the resource type; None when the whole query is one token (`{{context.userId}}`).

    read: what stands for the id, () in a search. parameters: (name with modifier, value) as written.
    tokens: every one in it. keys: the prefetch keys whose answers they read.
    """

    kind: str | None
    read: Text = ()
    parameters: tuple[tuple[str, Text], ...] = ()
    tokens: tuple[Token, ...] = field(init=False, repr=False)
    keys: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        texts = (self.read, *(value for _, value in self.parameters))
        tokens = tuple(part for text in texts for part in text if isinstance(part, Token))
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "keys", frozenset(key for token in tokens for key in token.keys))


def parse_query(template: str) -> Query:
    """Return a prefetch template in its parts.

    Raises IncorrectInput for what is neither a read nor a search, or holds a token outside the subset.
    """
    if len(template) > LONGEST_TEMPLATE or _HOLE in template:
        raise IncorrectInput(f"a prefetch template is at most {LONGEST_TEMPLATE} characters of a URL")
    tokens = iter([parse_token(token) for token in _TOKEN.findall(template)])
    plain = _TOKEN.sub(_HOLE, template)
    if plain == _HOLE:
        return Query(None, (next(tokens),))
    kind, mark, rest = _cut(plain)
    if not _KIND.fullmatch(kind):
        raise IncorrectInput("a prefetch template begins with a resource type, or is one token")
    if mark == "/":
        if "/" in rest or "?" in rest:
            raise IncorrectInput("a prefetch template reads one instance, Type/id, or searches, Type?parameters")
        return Query(kind, _text(rest, tokens))
    return Query(kind, (), tuple(_parameter(part, tokens) for part in rest.split("&")) if rest else ())


def _cut(plain: str) -> tuple[str, str, str]:
    match = re.search(r"[/?]", plain)
    return (plain, "", "") if match is None else (plain[: match.start()], match[0], plain[match.end() :])


def _parameter(part: str, tokens: Iterator[Token]) -> tuple[str, Text]:
    name, _, value = part.partition("=")
    if not _PARAMETER.fullmatch(name):
        raise IncorrectInput("a search parameter of a prefetch template has a name that is not understood")
    text = _text(value, tokens)
    return _sorted_as_in_r4(name, text)


def _sorted_as_in_r4(name: str, value: Text) -> tuple[str, Text]:
    old = _OLD_SORT.fullmatch(name)
    if old is None:
        return name, value
    return "_sort", ("-", *value) if old["order"] == "desc" else value


def _text(plain: str, tokens: Iterator[Token]) -> Text:
    if not _LITERAL.fullmatch(plain):
        raise IncorrectInput("a prefetch template has an empty value, or characters that no URL holds")
    parts: list[str | Token] = []
    for number, literal in enumerate(plain.split(_HOLE)):
        parts += [next(tokens)] if number else []
        parts += [literal] if literal else []
    return tuple(parts)


def canonical(query: str) -> str:
    """Return a form of a query without tokens that is equal for queries that ask the same.

    The order of parameters does not count (R4 3.1.1.4), nor how a character is escaped, nor the way to sort.
    """
    kind, mark, rest = _cut(query)
    if mark != "?":
        return unquote(query)
    pairs = []
    for part in rest.split("&"):
        name, _, value = part.partition("=")
        name, text = _sorted_as_in_r4(unquote(name), (unquote(value),))
        pairs.append((name, "".join(piece for piece in text if isinstance(piece, str))))
    return f"{kind}?{sorted(pairs)!r}"
