"""When a study is complete, and what becomes of it then. Pure: what is known and the rules in, a reason out.

In this order: an operator said so; everything that a notification or a performed procedure step lists is here; a
rule's own count is reached; the sender has released its association and an archive counts what is here; nothing
came for the quiet time. What is known to be missing is waited for longer, and then said.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from consilium.rules.clauses import matches
from record_store.announcements import IN_PROGRESS, Announced

MISSING_WAIT = 12  # quiet times that objects known to be missing are waited for
GRACE_S = 1.0


class Then(StrEnum):
    """What becomes of a study that is closed."""

    READ = "read"
    HOLD = "hold"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Count:
    """What an archive says of a study. objects: None when it did not say, and problem why not, if it was asked.

    fresh: it was asked after the last object had come and its sender had released.
    """

    objects: int | None = None
    fresh: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Arrived:
    """An open study. quiet_s: since its last object. forced: why an operator wants no more waiting, else None.

    released_s: since its sender released its association after the last object, None when it did not. broken: an
    association was aborted after it. late: the study was closed and given to models before.
    """

    instances: int
    series: int
    quiet_s: float
    modalities: frozenset[str] = frozenset()
    calling_aes: frozenset[str] = frozenset()
    forced: str | None = None
    released_s: float | None = None
    broken: bool = False
    announced: tuple[Announced, ...] = ()
    count: Count = Count()
    late: bool = False


@dataclass(frozen=True, slots=True)
class CompleteRule:
    """Studies with one of these modalities and one of these senders (None: any).

    quiet_s: their quiet time, None for the usual one. images, series: complete at once with so many of both.
    release_s: complete so long after the sender's release, whatever an archive says. missing_s: how long objects
    that are known to be missing are waited for; then the study is read without them, or held (hold_incomplete).
    ignore_late: what comes after the study was closed is kept and not read.
    """

    name: str
    modality: tuple[str, ...] | None = None
    calling_ae: tuple[str, ...] | None = None
    quiet_s: float | None = None
    images: int | None = None
    series: int | None = None
    release_s: float | None = None
    missing_s: float | None = None
    hold_incomplete: bool = False
    ignore_late: bool = False

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


NO_RULE = CompleteRule("")


@dataclass(frozen=True, slots=True)
class Waits:
    """The usual times in seconds. quiet: since the last object; grace: since the sender's release."""

    quiet_s: float
    grace_s: float = GRACE_S


@dataclass(frozen=True, slots=True)
class Complete:
    """Why a study is complete, in words, and what becomes of it."""

    why: str
    then: Then = Then.READ


def completeness(study: Arrived, rules: Sequence[CompleteRule], waits: Waits) -> Complete | None:
    """Return why a study is complete, or None while it is not."""
    if study.forced is not None:
        return Complete(study.forced)
    rule = next((one for one in rules if one.fits(study)), NO_RULE)
    quiet_s = waits.quiet_s if rule.quiet_s is None else rule.quiet_s
    if study.late and rule.ignore_late:
        if study.quiet_s <= quiet_s:
            return None
        return Complete(f"rule {rule.name!r}: what comes after a study was closed is not read", Then.IGNORE)
    reached = _all_announced(study) or _counted(study, rule) or _released(study, rule, waits.grace_s)
    if reached is not None:
        return Complete(reached)
    missing = _missing(study)
    if missing is None:
        return Complete(_quiet(study, rule, quiet_s)) if study.quiet_s > quiet_s else None
    if study.quiet_s <= (MISSING_WAIT * quiet_s if rule.missing_s is None else rule.missing_s):
        return None
    then = Then.HOLD if rule.hold_incomplete else Then.READ
    named = f" (rule {rule.name!r})" if rule is not NO_RULE and (rule.hold_incomplete or rule.missing_s) else ""
    return Complete(f"{missing}; then nothing came for {study.quiet_s:.0f} s{named}", then)


def _all_announced(study: Arrived) -> str | None:
    listed = [one for one in study.announced if one.listed]
    if not listed or any(one.missing or one.state == IN_PROGRESS for one in study.announced):
        return None
    return "; ".join(f"all {one.listed} objects that {_who(one)} lists are here" for one in listed)


def _counted(study: Arrived, rule: CompleteRule) -> str | None:
    return f"rule {rule.name!r}: its number of images or series is here" if rule.counts(study) else None


def _released(study: Arrived, rule: CompleteRule, grace_s: float) -> str | None:
    if study.released_s is None or any(one.state == IN_PROGRESS or one.missing for one in study.announced):
        return None
    count = study.count
    if count.fresh and count.objects == study.instances and study.released_s >= grace_s:
        return f"the sender released its association, and the archive counts {count.objects} objects, as are here"
    if rule.release_s is not None and study.released_s >= rule.release_s and _missing(study) is None:
        return f"rule {rule.name!r}: the sender released its association {rule.release_s:g} s ago"
    return None


def _missing(study: Arrived) -> str | None:
    """Return what is known to be still to come, in words."""
    said = [f"{_who(one)} is in progress" for one in study.announced if one.state == IN_PROGRESS]
    said += [
        f"{one.missing} of the {one.listed} objects that {_who(one)} lists are missing"
        for one in study.announced
        if one.missing
    ]
    counted = study.count.objects
    if counted is not None and counted > study.instances:
        said.append(f"{study.instances} of the {counted} objects that the archive counts are here")
    return "; ".join(said) or None


def _quiet(study: Arrived, rule: CompleteRule, quiet_s: float) -> str:
    parts = [f"nothing came for {quiet_s:g} s" + (f" (rule {rule.name!r})" if rule.quiet_s else "")]
    if study.broken:
        parts.append("a sender broke its association off")
    if study.count.problem is not None:
        parts.append(f"the archive did not say how many objects there are: {study.count.problem}")
    elif study.count.objects is not None and study.count.objects < study.instances:
        parts.append(f"the archive counted only {study.count.objects}")
    return "; ".join(parts)


def _who(said: Announced) -> str:
    return f"{said.kind} of {said.said_by}"
