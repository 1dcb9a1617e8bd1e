"""Consents as rules (R4 6.2, Consent of scope patient-privacy): what of a patient's data a caller may not see.

A provision says deny or permit for those whom it names (actor, purpose, action, period) and for some data (class,
code, securityLabel, dataPeriod, data); provisions within it are exceptions. Where several speak, deny wins. What
cannot be judged here makes a deny wider and a permit narrower.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_adapters.access.grant import EMERGENCY, Grant
from fhir_adapters.search.dates import END_OF_TIME, START_OF_TIME, range_of
from fhir_adapters.search.index import target_of
from fhir_adapters.search.parameters import TYPES
from record_store.criteria import AllOf, AnyOf, Compare, Criterion, DateIn, DateRange, IdIn, Not, TokenIn

Json = Mapping[str, Any]
Tokens = tuple[tuple[str | None, str | None], ...]

PRIVACY = ("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy")
RESOURCE_TYPES = "http://hl7.org/fhir/resource-types"
READING = frozenset({"access", "disclose", "use", "collect"})  # of R4's consentaction; `correct` reads nothing
NEVER = AnyOf(())


@dataclass(frozen=True, slots=True)
class Data:
    """Which data a provision is about: all conditions hold, empty ones always.

    types: of resources. codes, labels: tokens. period: first and last microsecond. resources: (type, id).
    unclear: something stands there that cannot be judged here.
    """

    types: frozenset[str] = frozenset()
    codes: Tokens = ()
    labels: Tokens = ()
    period: tuple[str, str] | None = None
    resources: frozenset[tuple[str, str]] = frozenset()
    unclear: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One provision. denies: else permits. starts, ends: `times.to_text`. Of actors and purposes, empty is all.

    reads: it speaks of reading. exceptions: rules within it.
    """

    denies: bool
    data: Data
    starts: str = START_OF_TIME
    ends: str = END_OF_TIME
    actors: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()
    reads: bool = True
    exceptions: tuple["Rule", ...] = ()

    def is_for(self, grant: Grant, now: str) -> bool:
        """True when it speaks of this caller, now, and of reading."""
        return (
            self.reads
            and self.starts <= now <= self.ends
            and (not self.actors or grant.actor in self.actors)
            and (not self.purposes or grant.purpose in self.purposes)
        )


@dataclass(frozen=True, slots=True)
class Consented:
    """What one Consent says of one patient."""

    patient: str
    rules: tuple[Rule, ...]


def rules_of(consent: Json, base_url: str) -> Consented | None:
    """Return what a Consent says; None for one that is not active, not about privacy, or of nobody here."""
    kind, patient = target_of(str(consent.get("patient", {}).get("reference", "")), base_url)
    scoped = PRIVACY in _tokens([consent.get("scope")])
    if consent.get("status") != "active" or not scoped or kind != "Patient":
        return None
    root = consent.get("provision")
    return Consented(patient, tuple(_rules(root, base_url)) if isinstance(root, dict) else ())


def _rules(root: Json, base_url: str) -> Iterator[Rule]:
    """Yield the rules of a root provision.

    R4 gives the root no type: it only says what its exceptions have in common. Where it has one, it is a rule.
    """
    if root.get("type") in ("deny", "permit"):
        yield from _with_exceptions(_rule(root, base_url))
        return
    for one in _inner(root):
        if one.get("type"):
            yield from _with_exceptions(_rule({**_common(root), **one}, base_url))


def _with_exceptions(rule: Rule) -> Iterator[Rule]:
    """Yield a rule and each exception within, however deep: it counts whatever the site's default is."""
    yield rule
    for one in rule.exceptions:
        yield from _with_exceptions(one)


def _common(root: Json) -> dict[str, Any]:
    return {name: value for name, value in root.items() if name not in ("type", "provision", "id", "extension")}


def _rule(provision: Json, base_url: str) -> Rule:
    denies = provision.get("type") != "permit"
    period = provision.get("period") or {}
    starts, ends = _bounds(period)
    references = [one.get("reference", {}).get("reference") for one in _list(provision, "actor")]
    actors = [one and "/".join(target_of(str(one), base_url)) for one in references]
    concepts = _list(provision, "action")
    actions = {code for _, code in _tokens(concepts)}
    # An action in words alone may be reading: to a deny it is, to a permit it is not.
    in_words = any(not _list(one, "coding") for one in concepts)
    inherited = {name: value for name, value in provision.items() if name not in ("type", "provision")}
    inner = tuple(_rule({**inherited, **one}, base_url) for one in _inner(provision) if one.get("type"))
    return Rule(
        denies=denies,
        data=_data(provision, base_url),
        starts=starts,
        ends=ends,
        actors=_those(actors, denies=denies),
        purposes=_those([one.get("code") for one in _list(provision, "purpose")], denies=denies),
        reads=not concepts or bool(actions & READING) or (in_words and denies),
        exceptions=inner,
    )


def _those(names: Sequence[object], *, denies: bool) -> frozenset[str]:
    """Return whom or what a rule is for. names: None where something is only described.

    An actor that is only described may be anybody: a deny is for all then, a permit for nobody.
    """
    if all(names):
        return frozenset(map(str, names))
    return frozenset() if denies else frozenset({"?"})


def _data(provision: Json, base_url: str) -> Data:
    classes = _list(provision, "class")
    types = {str(one.get("code")) for one in classes if one.get("system") == RESOURCE_TYPES}
    named = [one.get("reference", {}).get("reference", "") for one in _list(provision, "data")]
    resources = {target_of(str(one), base_url) for one in named if one}
    instances = all(one.get("meaning") == "instance" for one in _list(provision, "data"))
    period = provision.get("dataPeriod")
    codings = [one for concept in _list(provision, "code") for one in _list(concept, "coding")]
    return Data(
        types=frozenset(types),
        codes=tuple((one.get("system"), one.get("code")) for one in codings if one.get("code")),
        labels=tuple((one.get("system"), one.get("code")) for one in _list(provision, "securityLabel")),
        period=_bounds(period) if isinstance(period, dict) else None,
        resources=frozenset(resources),
        unclear=(
            len(types) != len(classes)
            or not instances
            or len(resources) != len(named)
            or len(codings) < len(_list(provision, "code"))
        ),
    )


def criterion_of(data: Data, resource_type: str, *, denies: bool) -> Criterion | None:
    """Return what a resource must meet for a provision to be about it: None for each, NEVER for none."""
    if data.unclear:
        return None if denies else NEVER
    if data.types and resource_type not in data.types:
        return NEVER
    search, parts = TYPES[resource_type], list[Criterion]()
    if data.resources:
        parts.append(IdIn(tuple(sorted(own for kind, own in data.resources if kind == resource_type))))
    if data.codes:
        coded = search.hot_code or ("code" if "code" in search.parameters else None)
        if coded is None:
            return NEVER
        parts.append(TokenIn(search.parameters[coded].index_name, data.codes))
    if data.labels:
        parts.append(TokenIn(search.parameters["_security"].index_name, data.labels))
    if data.period is not None:
        if search.hot_date is None:
            return None if denies else NEVER
        span = DateRange(Compare.AP, *data.period)
        parts.append(DateIn(search.parameters[search.hot_date].index_name, (span,)))
    return None if not parts else parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def denied(rule: Rule, resource_type: str, grant: Grant, now: str) -> Criterion | None:
    """Return what a rule that denies takes from a caller; None for all that is its patient's, NEVER for nothing.

    Its exceptions that permit are left in.
    """
    if grant.purpose == EMERGENCY or not rule.denies or not rule.is_for(grant, now):
        return NEVER
    own = criterion_of(rule.data, resource_type, denies=True)
    kept = [
        within
        for one in rule.exceptions
        if not one.denies and one.is_for(grant, now)
        if (within := criterion_of(one.data, resource_type, denies=False)) != NEVER
    ]
    if any(within is None for within in kept) or own == NEVER:
        return NEVER
    parts: list[Criterion] = [] if own is None else [own]
    parts += [Not(one) for one in kept if one is not None]
    return None if not parts else parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def permitted(rule: Rule, resource_type: str, grant: Grant, now: str) -> Criterion | None:
    """Return what a rule that permits gives, where nothing is seen without; None for all, NEVER for nothing."""
    if grant.purpose == EMERGENCY:
        return None
    if rule.denies or not rule.is_for(grant, now):
        return NEVER
    return criterion_of(rule.data, resource_type, denies=False)


def turns_at(rules: Sequence[Rule]) -> Iterator[str]:
    """Yield the moments at which what rules say changes by itself."""
    for rule in rules:
        yield from (rule.starts, rule.ends)
        yield from turns_at(rule.exceptions)


def _bounds(period: Json) -> tuple[str, str]:
    start, end = range_of(str(period.get("start", ""))), range_of(str(period.get("end", "")))
    return start[0] if start else START_OF_TIME, end[1] if end else END_OF_TIME


def _inner(provision: Json) -> list[Json]:
    return _list(provision, "provision")


def _list(element: object, name: str) -> list[Json]:
    held = element.get(name) if isinstance(element, Mapping) else None
    return [one for one in held if isinstance(one, Mapping)] if isinstance(held, list) else []


def _tokens(concepts: Sequence[object]) -> list[tuple[str | None, str | None]]:
    return [(one.get("system"), one.get("code")) for concept in concepts for one in _list(concept, "coding")]
