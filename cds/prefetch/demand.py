"""What a call is refused for: required data that cannot be had is a 412 with keys, templates and reasons (C3)."""

from collections.abc import Mapping, Sequence

from cds.prefetch.sent import Prefetched, State
from cds.prefetch.template import Policy, PrefetchTemplate
from clinical.errors import PreconditionMissing


def demand(templates: Sequence[PrefetchTemplate], known: Mapping[str, Prefetched]) -> None:
    """Raise PreconditionMissing when a required key is absent or failed. null and an empty Bundle are answers."""
    required = [template for template in templates if template.policy is Policy.REQUIRED]
    lacking = [t for t in required if known[t.key].state in (State.ABSENT, State.FAILED)]
    if not lacking:
        return
    names = ", ".join(template.key for template in lacking)
    raise PreconditionMissing(
        f"required prefetch data is missing: {names}",
        expression=[f"prefetch.{template.key}" for template in lacking],
        diagnostics="; ".join(f"{t.key} ({t.query}): {known[t.key].reason}" for t in lacking),
    )
