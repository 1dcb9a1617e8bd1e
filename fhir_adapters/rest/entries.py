"""The entries of a batch or transaction (R4 3.1.0.11): what each asks for, with its resource's own bytes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from clinical.errors import Denied, IncorrectInput
from fhir_adapters import splice
from fhir_adapters.search.index import ID
from fhir_adapters.search.parameters import TYPES

MAX_ENTRIES = 5000

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"})
_TARGET = re.compile(
    r"(?P<type>[A-Za-z]{1,64})(?:/(?P<id>[^/?]+))?(?P<rest>/[^?]*)?(?:\?(?P<query>.*))?", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. number: its place. url: as it stands. data: the bytes of its resource, b"" when it has none.

    type, id, query: what the url of a write names; "" where it does not. resource: what `data` says.
    """

    number: int
    method: str
    url: str
    full_url: str
    type: str
    id: str
    query: str
    data: bytes
    resource: Mapping[str, Any]
    if_match: str | None
    if_none_exist: str | None
    if_none_match: str | None

    @property
    def condition(self) -> str | None:
        """What a write says instead of an id: If-None-Exist, or the query of its url; None when it has none."""
        if self.method == "POST":
            return self.if_none_exist
        return self.query if not self.id else None

    @property
    def place(self) -> str:
        """Where it stands, as OperationOutcome.issue.expression."""
        return f"Bundle.entry[{self.number}]"


def entries_of(bundle: Mapping[str, Any], data: bytes, base_url: str) -> list[Entry]:
    """Return the entries of a valid Bundle. data: the bytes that it was read from.

    Raises IncorrectInput for more than MAX_ENTRIES, and where an entry's request cannot be understood.
    """
    listed = bundle.get("entry", [])
    if len(listed) > MAX_ENTRIES:
        raise IncorrectInput(f"a bundle may have {MAX_ENTRIES} entries", expression=["Bundle.entry"])
    text = data.decode()
    where = splice.in_each(text, splice.start_of(text, 0, "entry"), "resource") if listed else []
    return [
        _entry(number, one, text[span[0] : span[1]].encode() if span else b"", base_url.rstrip("/") + "/")
        for number, (one, span) in enumerate(zip(listed, where, strict=True))
    ]


def _entry(number: int, listed: Mapping[str, Any], data: bytes, base: str) -> Entry:
    request, place = listed["request"], f"Bundle.entry[{number}].request"
    method, url = request["method"], str(request["url"]).removeprefix(base).removeprefix("/")
    if method not in _METHODS:
        raise IncorrectInput(
            "the method is one that HTTP has and this server takes", expression=[place + ".method"]
        )
    parts = _TARGET.fullmatch(url)
    kind = parts["type"] if parts else ""
    if method in ("POST", "PUT", "DELETE", "PATCH") and not (parts and kind in TYPES):
        raise IncorrectInput("the url must name a type that this server keeps", expression=[place + ".url"])
    if method in ("POST", "PUT", "DELETE", "PATCH") and TYPES[kind].read_only:
        raise Denied("only this server writes resources of this type")
    for name in ("ifMatch", "ifNoneExist", "ifNoneMatch"):
        if not str(request.get(name, "")).isprintable():
            raise IncorrectInput("it must be able to stand in a header", expression=[f"{place}.{name}"])
    resource_id = unquote(parts["id"] or "") if parts else ""
    if method in ("PUT", "DELETE", "PATCH") and resource_id and not ID.fullmatch(resource_id):
        raise IncorrectInput("the url names no id", expression=[place + ".url"])
    return Entry(
        number=number,
        method=method,
        url=url,
        full_url=str(listed.get("fullUrl", "")),
        type=kind,
        id=resource_id,
        query=(parts["query"] or "") if parts else "",
        data=data,
        resource=listed["resource"] if isinstance(listed.get("resource"), dict) else {},
        if_match=request.get("ifMatch"),
        if_none_exist=request.get("ifNoneExist"),
        if_none_match=request.get("ifNoneMatch"),
    )
