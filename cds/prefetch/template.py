"""What a service asks for: one template a key, checked when it is made, so that a wrong one stops the start."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from cds.prefetch import restrictions
from cds.prefetch.query import Query, parse_query
from cds.prefetch.tokens import KEY
from clinical.errors import Fault, IncorrectInput


class Policy(StrEnum):
    """What becomes of a key that was not sent.

    REQUIRED: fetched, and 412 without it. OPTIONAL: fetched, and absent when it cannot be had. NEVER: not fetched.
    """

    REQUIRED = "required"
    OPTIONAL = "optional"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class PrefetchTemplate:
    """One thing that a service asks for.

    query: `Type/{{context.x}}` or a type-level search, as discovery announces it (D6, docs/prefetch.md).
    required: the same as policy REQUIRED.
    complete: a part of it is as good as nothing: what stays paged is absent.
    foreign: it is another server's, so it may ask for what not every client knows.

    Raises Fault when the key or the query is not understood, or asks for more than clients need to know.
    """

    key: str
    query: str
    required: bool = False
    policy: Policy = Policy.OPTIONAL
    complete: bool = False
    foreign: bool = False
    parsed: Query = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not KEY.fullmatch(self.key):
            raise Fault(f"the prefetch key {self.key} is not letters, digits, hyphens and underscores")
        if self.required and self.policy is Policy.NEVER:
            raise Fault(f"the prefetch key {self.key} is required and never fetched")
        try:
            parsed = parse_query(self.query)
            if not self.foreign:
                restrictions.check(self.query, parsed)
        except IncorrectInput as problem:
            raise Fault(f"the prefetch template {self.key} cannot be used: {problem.message}") from None
        policy = Policy.REQUIRED if self.required else self.policy
        for name, value in (
            ("parsed", parsed),
            ("policy", policy),
            ("required", policy is Policy.REQUIRED),
        ):
            object.__setattr__(self, name, value)


def foreign_templates(prefetch: Mapping[str, object]) -> tuple[PrefetchTemplate, ...]:
    """Return the templates of another server's discovery; what cannot be read is left out, as a client may."""
    found = []
    for key, query in prefetch.items():
        with suppress(Fault):
            found += [PrefetchTemplate(key, query, foreign=True)] if isinstance(query, str) else []
    return tuple(found)
