"""Rows of references, canonicals and URIs (R4 3.1.1.4.12, 3.1.1.4.13)."""

import re

from fhir_adapters.search.rows import Rows
from fhir_adapters.search.tokens import BY_IDENTIFIER, identified
from record_store.index_rows import ReferenceRow, UriRow

_LOCAL = re.compile(
    r"(?P<type>[A-Z][A-Za-z]{1,63})/(?P<id>[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)


def target_of(reference: str, base_url: str) -> tuple[str, str]:
    """Return (type, id) of a reference to this server, ("", the whole text) of any other."""
    return _target(reference, base_url.rstrip("/") + "/")


def _target(reference: str, base: str) -> tuple[str, str]:
    found = _LOCAL.fullmatch(reference.removeprefix(base))
    return (found["type"], found["id"]) if found else ("", reference)


def uri(name: str, value: object, part: int, made: Rows) -> None:
    if isinstance(value, str):
        made.uris.extend(UriRow(name, url, part) for url in _with_and_without_version(value))


def reference(target: str, name: str, value: object, part: int, made: Rows) -> None:
    if not isinstance(value, dict):
        return
    text = value.get("reference")
    if isinstance(text, str) and not text.startswith("#"):  # contained: nothing of its own to be found
        target_type, target_id = _target(text, made.base)
        if not target or target_type in (target, ""):
            made.references.append(ReferenceRow(name, target_type, target_id, part))
    identifier = value.get("identifier")
    if isinstance(identifier, dict) and value.get("type", target) in (target or value.get("type"), None, ""):
        row = identified(name + BY_IDENTIFIER, identifier, part)
        if row is not None:
            made.tokens.append(row)


def link(name: str, value: object, part: int, made: Rows) -> None:
    """A canonical or a uri where references are asked for."""
    if isinstance(value, str) and not value.startswith("#"):
        for url in _with_and_without_version(value):
            made.references.append(ReferenceRow(name, *_target(url, made.base), part))


def _with_and_without_version(url: str) -> tuple[str, ...]:
    """Return a URL, and where it is a canonical with a version, what it is of without (R4 2.24.0.13)."""
    bare, bar, _ = url.partition("|")
    return (url, bare) if bar and bare else (url,)
