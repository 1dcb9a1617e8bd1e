"""What a Subscription asks for, as a value that is kept beside the resource."""

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client wants to be told, where and how.

    searches: of which one must match ("Observation?code=..."), or a topic's filters. topic: its canonical; None
    for a subscription by criteria. payload: with the resource. content: of a topic (`backport.CONTENTS`).
    end: `times.to_text`. heartbeat_s, max_count: of a topic. owner: who wrote it last (`owner.owned_by`).
    client: the owner's id. Headers that are known stay known to the same client and endpoint.
    """

    off: bool
    endpoint: str
    searches: tuple[str, ...]
    topic: str | None
    payload: bool
    content: str
    end: str | None
    heartbeat_s: int | None
    timeout_s: int
    max_count: int
    owner: str
    client: str = ""

    def as_json(self) -> str:
        """Return it as text to be stored."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `as_json` wrote."""
        values = json.loads(text)
        return cls(**values | {"searches": tuple(values["searches"])})
