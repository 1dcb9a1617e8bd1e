"""FHIR references as text: `Type/id`, with a base URL before it or a version behind it (R4 2.3.0.1)."""

import re
from dataclasses import dataclass
from functools import lru_cache

from fhir_adapters.allow_list import Url, parse_url

_REFERENCE = re.compile(
    r"(?:(?P<base>https?://[^?#]+)/)?(?P<kind>[A-Z][A-Za-z]{0,63})/(?P<id>[A-Za-z0-9\-.]{1,64})"
    r"(?:/_history/[^/?#]+)?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """base: the URL before it, None in a relative one. The version is left out: whose it is does not change."""

    base: str | None
    kind: str
    ident: str

    def at(self, base: str | None) -> bool:
        """True when this is relative, or lies at the FHIR base URL `base`."""
        return self.base is None or (base is not None and same_base(self.base, base))


def parse_reference(text: object) -> Reference | None:
    """Return the reference to one resource, or None for anything else: `urn:`, `#contained`, a conditional one."""
    match = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
    if match is None or match["id"] in {".", ".."}:
        return None
    return Reference(match["base"], match["kind"], match["id"])


def same_base(one: str, other: str) -> bool:
    """True when two base URLs name the same server and path, however host and port are written."""
    first, second = _parsed(one), _parsed(other)
    return first is not None and second is not None and (first.origin, first.path) == (second.origin, second.path)


@lru_cache(maxsize=256)
def _parsed(base: str) -> Url | None:
    return parse_url(base.rstrip("/"))
