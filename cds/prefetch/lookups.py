"""Following references to what is not at hand: by search, `Type?_id=a,b`, one for each type and round."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cds.prefetch.reader import Answer
from cds.prefetch.scope import Resource, Target
from cds.prefetch.sent import State, classify
from fhir_adapters.client import FetchFailed, Reason

MOST_HOPS = 3  # rounds, for one template
MOST_TARGETS = 100  # in one call


@dataclass
class Lookups:
    """found: what the references lead to, None for what is not there. asking: key by what it waits for."""

    found: dict[Target, Resource | None] = field(default_factory=dict)
    asking: dict[Target, str] = field(default_factory=dict)
    _lost: dict[Target, Reason] = field(default_factory=dict)
    _hops: Counter[str] = field(default_factory=Counter)

    def lost(self, targets: Iterable[Target]) -> Reason | None:
        """Return why one of the targets could not be had, or None."""
        return next((self._lost[target] for target in targets if target in self._lost), None)

    def ask(self, key: str, targets: frozenset[Target]) -> bool:
        """Take note that `key` needs the targets. False when that goes too far."""
        self._hops[key] += 1
        all_of_them = targets | self.asking.keys() | self.found.keys() | self._lost.keys()
        if self._hops[key] > MOST_HOPS or len(all_of_them) > MOST_TARGETS:
            return False
        self.asking |= {target: key for target in targets if target not in self.asking}
        return True

    def orders(self) -> Iterator[tuple[str, str]]:
        """Yield (type, query) for all that is asked now."""
        for kind in sorted({kind for kind, _ in self.asking}):
            ids = sorted(ident for other, ident in self.asking if other == kind)
            yield kind, f"{kind}?_id={','.join(ids)}"

    def take(self, kind: str, answer: Answer) -> None:
        """Take in what a query of `orders` brought; its resources have been checked."""
        targets = [target for target in self.asking if target[0] == kind]
        for target in targets:
            del self.asking[target]
        if isinstance(answer, FetchFailed):
            self._lost |= dict.fromkeys(targets, answer.reason)
            return
        found = classify(answer.resource)
        if found.state is State.FAILED:
            self._lost |= dict.fromkeys(targets, Reason.FAILED)
            return
        resources = {(r.get("resourceType"), r.get("id")): r for r in found.resources()}
        for target in targets:
            if target in resources or answer.complete:
                self.found[target] = resources.get(target)
            else:
                self._lost[target] = Reason.TOO_LARGE
