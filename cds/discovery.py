"""What is announced at /cds-services (CDS Hooks 3.0, "Discovery"): made once, sent often."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from cds.service import Service

MAX_AGE_S = 300


@dataclass(frozen=True, slots=True)
class Discovery:
    """The document and its entity tag."""

    body: bytes
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "etag", hashlib.sha256(self.body).hexdigest()[:32])

    @property
    def headers(self) -> dict[str, str]:
        """The headers of an answer, whole or 304."""
        return {"ETag": f'"{self.etag}"', "Cache-Control": f"max-age={MAX_AGE_S}"}


def discovery_of(services: Sequence[Service]) -> Discovery:
    """Return the document of these services, in their order."""
    return Discovery(orjson.dumps({"services": [service.describe() for service in services]}))
