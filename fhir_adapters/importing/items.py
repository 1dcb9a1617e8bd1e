"""What is to be done with each resource of a file, and which id it gets.

An import can be run again: ids are never made up anew. A literal UUID in `fullUrl` is kept as the id, so is the id
of a resource that stands for itself (a collection, NDJSON: there it is the source's own). A POST of a transaction
with any other name gets an id made of the file's digest and its place.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from clinical.errors import IncorrectInput
from fhir_adapters import splice
from fhir_adapters.search.index import ID

Identifiers = frozenset[tuple[str, str]]
"""(system, value) of each identifier."""

COLLECTIONS = frozenset({"collection", "searchset", "document", "message"})  # resources stand for themselves
REQUESTS = frozenset({"transaction", "batch"})
_UUID = re.compile(r"urn:uuid:([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")
_URL = re.compile(r"(?P<type>[A-Z][A-Za-z]{1,63})(?:/(?P<id>[^/?]+))?(?:\?(?P<query>.+))?", re.DOTALL)


class Rule(StrEnum):
    """CREATE: once; what is there stays. UPDATE: what is there becomes this. READ: nothing is to be done."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a resource stands. line: from 1, in NDJSON; entry: from 0, in a Bundle."""

    file: Path
    line: int | None = None
    entry: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a place. path: as OperationOutcome.issue.expression. reason: no value of the resource.

    waits: a conditional reference found nothing, which another file may still bring.
    """

    place: Place
    reason: str
    path: str = ""
    severity: str = "error"
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """A resource's identity: known without its content being judged.

    also: another link that means it within its own file. condition: If-None-Exist, or a conditional PUT's query.
    """

    rule: Rule
    type: str
    id: str
    full_url: str = ""
    also: str = ""
    condition: str | None = None

    @property
    def reference(self) -> str:
        """Type/id."""
        return f"{self.type}/{self.id}"


@dataclass(frozen=True, slots=True)
class Item:
    """One resource to import. data: its own bytes, b"" for a DELETE. together: its file comes in whole, or not."""

    place: Place
    named: Named
    data: bytes = field(repr=False)
    together: bool = False


def is_global(full_url: str) -> bool:
    """Tell whether a fullUrl means the same in every file: a true UUID or an absolute URL."""
    return full_url.startswith(("https://", "http://", "urn:oid:")) or bool(_UUID.fullmatch(full_url))


def named_entry(entry: object, kind: str, digest: str, number: int) -> Named:
    """Return the identity of a Bundle's entry. kind: Bundle.type. digest: of the file.

    Raises IncorrectInput for what an import does not do, with the place within the entry.
    """
    if not isinstance(entry, dict):
        raise IncorrectInput("an entry is an object")
    resource, full_url = entry.get("resource"), entry.get("fullUrl", "")
    full_url = full_url if isinstance(full_url, str) else ""
    if kind in COLLECTIONS:
        return _itself(resource, full_url, digest, number)
    request = entry.get("request")
    if not isinstance(request, dict):
        raise IncorrectInput("an entry of a transaction or batch needs a request", expression=["request"])
    method, url = request.get("method"), str(request.get("url", "")).removeprefix("/")
    if method in ("GET", "HEAD"):
        return Named(Rule.READ, "", "")
    found = _URL.fullmatch(url)
    if found is None:
        raise IncorrectInput("the url names no type", expression=["request.url"])
    if "ifMatch" in request:
        raise IncorrectInput("an import takes no ifMatch", expression=["request.ifMatch"])
    kind, own, query = found["type"], unquote(found["id"] or ""), found["query"]
    if method == "DELETE" and ID.fullmatch(own) and query is None:
        return Named(Rule.DELETE, kind, own)
    if method not in ("POST", "PUT"):
        raise IncorrectInput("an import does POST, PUT and DELETE of an id", expression=["request.method"])
    if not isinstance(resource, dict) or resource.get("resourceType") != kind:
        raise IncorrectInput("the resource is not of the url's type", expression=["resource.resourceType"])
    if method == "PUT" and query is None:
        if not ID.fullmatch(own) or resource.get("id") != own:
            raise IncorrectInput("the resource's id must be that of the url", expression=["resource.id"])
        return Named(Rule.UPDATE, kind, own, full_url)
    new = _made_id(full_url, digest, number)
    said = resource.get("id")
    also = f"{kind}/{said}" if isinstance(said, str) and said != new else ""
    condition = query if method == "PUT" else request.get("ifNoneExist")
    rule = Rule.UPDATE if method == "PUT" else Rule.CREATE
    return Named(rule, kind, new, full_url, also, condition if isinstance(condition, str) else None)


def named_alone(resource: object, text: str) -> Named:
    """Return the identity of a resource that stands alone, as in NDJSON. text: as it stands there.

    Without an id it gets one made of its content: the same content is the same resource.
    """
    kind, own = _type_and_id(resource)
    return Named(Rule.UPDATE, kind, own or _digest_id(text))


def resource_of(entry_text: str) -> bytes:
    """Return the bytes of an entry's resource, b"" when it has none."""
    span = splice.members(entry_text, 0, ("resource",)).get("resource")
    return entry_text[span[0] : span[1]].encode() if span else b""


def _itself(resource: object, full_url: str, digest: str, number: int) -> Named:
    kind, own = _type_and_id(resource)
    return Named(Rule.UPDATE, kind, own or _made_id(full_url, digest, number), full_url)


def _type_and_id(resource: object) -> tuple[str, str]:
    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        raise IncorrectInput("there is no resource here", expression=["resource"])
    own = resource.get("id", "")
    if not isinstance(own, str) or (own and not ID.fullmatch(own)):
        raise IncorrectInput("the id is none that R4 allows", expression=["id"])
    return str(resource["resourceType"]), own


def _made_id(full_url: str, digest: str, number: int) -> str:
    uuid = _UUID.fullmatch(full_url)
    return uuid[1].lower() if uuid else _digest_id(f"{digest} {number}")


def _digest_id(text: str) -> str:
    return "i-" + hashlib.sha256(text.encode()).hexdigest()[:40]


def identifiers_of(resource: Mapping[str, Any]) -> Identifiers:
    """Return (system, value) of each identifier."""
    listed = resource.get("identifier")
    return frozenset(
        (str(one.get("system", "")), str(one["value"]))
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict) and "value" in one
    )
