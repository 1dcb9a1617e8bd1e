"""When a study is complete. Pure: what has arrived and the site's rules in, a reason out.

In this order: an operator said so; as many objects are here as are expected; a rule's own count is reached;
nothing came for the quiet time. What is known to be missing is waited for longer, and then said.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consilium.rules.clauses import matches

MISSING_WAIT = 12  # quiet times that objects known to be missing are waited for


@dataclass(frozen=True, slots=True)
class Arrived:
    """An open study. quiet_s: since its last object. expected: its number of objects, where somebody knows it."""

    instances: int
    series: int
    quiet_s: float
    modalities: frozenset[str] = frozenset()
    calling_aes: frozenset[str] = frozenset()
    forced: bool = False
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class CompleteRule:
    """Studies with one of these modalities and one of these senders (None: any).

    quiet_s: their quiet time, None for the usual one. images, series: complete at once with so many of both.
    """

    name: str
    modality: tuple[str, ...] | None = None
    calling_ae: tuple[str, ...] | None = None
    quiet_s: float | None = None
    images: int | None = None
    series: int | None = None

    def fits(self, study: Arrived) -> bool:
        """Tell whether the rule speaks of this study."""
        modalities = {one.upper() for one in study.modalities}
        if self.modality is not None and modalities.isdisjoint(one.upper() for one in self.modality):
            return False
        return self.calling_ae is None or any(
            matches(pattern.casefold(), ae.casefold()) for pattern in self.calling_ae for ae in study.calling_aes
        )

    def counts(self, study: Arrived) -> bool:
        """Tell whether the rule's numbers are reached; False when it names none."""
        wanted = ((self.images, study.instances), (self.series, study.series))
        named = [(least, here) for least, here in wanted if least is not None]
        return bool(named) and all(here >= least for least, here in named)


def why_complete(study: Arrived, rules: Sequence[CompleteRule], quiet_s: float) -> str | None:
    """Return why a study is complete, in words, or None while it is not. quiet_s: the usual quiet time."""
    if study.forced:
        return "an operator said that it is complete"
    if study.expected is not None and study.instances >= study.expected:
        return f"all {study.expected} objects that were expected are here"
    rule = next((one for one in rules if one.fits(study)), None)
    if rule is not None and rule.counts(study):
        return f"rule {rule.name!r}: its number of images or series is here"
    usual = quiet_s if rule is None or rule.quiet_s is None else rule.quiet_s
    if study.expected is not None:
        if study.quiet_s <= MISSING_WAIT * usual:
            return None
        return f"{study.instances} of {study.expected} expected objects came, then none for {study.quiet_s:.0f} s"
    if study.quiet_s <= usual:
        return None
    return f"nothing came for {usual:g} s" + (f" (rule {rule.name!r})" if rule and rule.quiet_s else "")
