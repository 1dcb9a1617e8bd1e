"""What patients have said about research (R4 Consent): a no is a no, whatever else stands beside it."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from fhir_adapters.search.dates import range_of
from record_store.times import to_text

ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
# HRESCH (healthcare research) and what is beneath it in v3-ActReason.
RESEARCH = frozenset(
    {"HRESCH", "BIORCH", "CLINTRCH", "CLINTRCHNPC", "CLINTRCHPC", "DSRCH", "POARCH", "PRECLINTRCH", "TRANSRCH"}
)
_SCOPE = ("http://terminology.hl7.org/CodeSystem/consentscope", "research")


def says_of_research(consent: Mapping[str, Any], now: datetime) -> bool | None:
    """Return whether a Consent permits research (True), denies it (False) or says nothing of it (None).

    It speaks of research when its scope is research, or a provision names a purpose of research. A denial for some
    data or somebody counts for all of it: what could be left in is not worked out. What is not active, or whose
    period is not now, says nothing.
    """
    if consent.get("status") != "active":
        return None
    root = _part(consent.get("provision"))
    scoped = _SCOPE in _codes([consent.get("scope")])
    said = [_permits(one) for one in _provisions(root) if _is_now(one, now) and (scoped or _names_research(one))]
    if scoped and not root:
        # R4 6.2: without provisions the policy alone says it; a research consent that is signed is a yes.
        return True
    told = [one for one in said if one is not None]
    return None if not told else all(told)


def _provisions(root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if not root:
        return
    yield root
    inner = root.get("provision")
    for one in inner if isinstance(inner, list) else ():
        yield from _provisions(_part(one))


def _permits(provision: Mapping[str, Any]) -> bool | None:
    return {"permit": True, "deny": False}.get(str(provision.get("type")))


def _names_research(provision: Mapping[str, Any]) -> bool:
    purposes = provision.get("purpose")
    named = [_part(one) for one in purposes] if isinstance(purposes, list) else []
    return any(one.get("system") == ACT_REASON and one.get("code") in RESEARCH for one in named)


def _is_now(provision: Mapping[str, Any], now: datetime) -> bool:
    period, at = _part(provision.get("period")), to_text(now)
    starts, ends = range_of(str(period.get("start", ""))), range_of(str(period.get("end", "")))
    return (starts is None or starts[0] <= at) and (ends is None or at <= ends[1])


def _codes(concepts: list[Any]) -> list[tuple[Any, Any]]:
    codings = [one for concept in concepts for one in _part(concept).get("coding", ()) if isinstance(one, dict)]
    return [(one.get("system"), one.get("code")) for one in codings]


def _part(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
