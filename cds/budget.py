"""How long a hook call may take: a default, and what a site grants to single hooks or services.

500 ms is what CDS Hooks recommends ("Specification", C7). Late hooks such as order-sign are often given more: the
clinician waits for them knowingly.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from clinical.errors import IncorrectInput

SHORTEST_MS, LONGEST_MS = 50, 60_000
_KEY = re.compile(r"[a-z][A-Za-z0-9.\-]{0,127}(/[a-z0-9][a-z0-9\-]{0,63})?")


@dataclass(frozen=True, slots=True)
class Budgets:
    """default_ms: of every call that `by_name` does not name.

    by_name: milliseconds by hook ("order-sign") or by hook and service ("order-sign/diabetes-risk"); the narrower
    name wins.

    Raises IncorrectInput for a name of another form or a time outside 50 ms to a minute. No message holds a name.
    """

    default_ms: int = 500
    by_name: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(_KEY.fullmatch(name) for name in self.by_name):
            raise IncorrectInput("a budget is named by a hook, or by hook/service-id")
        times = (self.default_ms, *self.by_name.values())
        if not all(SHORTEST_MS <= ms <= LONGEST_MS for ms in times):
            raise IncorrectInput(f"a budget is {SHORTEST_MS} to {LONGEST_MS} milliseconds")

    def check(self, served: Iterable[tuple[str, str]]) -> None:
        """Raise IncorrectInput when a name is of nothing that is served. served: (hook, service id) pairs."""
        pairs = list(served)
        known = {hook for hook, _ in pairs} | {f"{hook}/{service}" for hook, service in pairs}
        if not set(self.by_name) <= known:
            raise IncorrectInput("a budget names a hook or a service that is not served here")

    def seconds(self, hook: str, service: str) -> float:
        """Return the budget of a call of this service on this hook, in seconds."""
        ms = self.by_name.get(f"{hook}/{service}", self.by_name.get(hook, self.default_ms))
        return ms / 1000
