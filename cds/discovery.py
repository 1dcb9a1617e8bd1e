"""What is announced at /cds-services (CDS Hooks 3.0, "Discovery"): made once, sent often."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from cds.service import Service

MAX_AGE_S = 300
DOCUMENTATION = "/cds-hooks"  # the page for people (D8)
DESCRIPTION = "/openapi.json"  # the document for tools


@dataclass(frozen=True, slots=True)
class Discovery:
    """The document, its entity tag, and where people and tools read more (RFC 8631)."""

    body: bytes
    base_url: str
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "etag", hashlib.sha256(self.body).hexdigest()[:32])

    @property
    def headers(self) -> dict[str, str]:
        """The headers of an answer, whole or 304."""
        return {
            "ETag": f'"{self.etag}"',
            "Cache-Control": f"max-age={MAX_AGE_S}",
            "Link": f'<{self.base_url}{DOCUMENTATION}>; rel="service-doc", '
            f'<{self.base_url}{DESCRIPTION}>; rel="service-desc"',
        }


def discovery_of(services: Sequence[Service], base_url: str) -> Discovery:
    """Return the document of these services, in their order. base_url: the public one, without a final slash."""
    return Discovery(orjson.dumps({"services": [service.describe() for service in services]}), base_url)
