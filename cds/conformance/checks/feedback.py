"""Section 1.8 of the checklist: feedback. The endpoint is optional; a server that has it keeps its rules."""

from collections.abc import Callable
from datetime import UTC, datetime

from cds.conformance.bench import Bench, JsonObject, cards_of, new_uuid
from cds.conformance.model import Check, Level, NotApplicable, Skipped, must

CLAUSE = "Feedback"
_SYSTEM = "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"
Change = Callable[[JsonObject], object]


def _card(bench: Bench) -> tuple[JsonObject, JsonObject]:
    """Return a service and a card that it has sent. Raises NotApplicable when it takes no feedback."""
    if bench.feedback(bench.service(), {"feedback": []}).status_code in {404, 405}:
        raise NotApplicable("there is no feedback endpoint")
    found = [(service, card) for service, card in bench.cards() if card.get("uuid")]
    if not found:
        raise Skipped("no card with a uuid was seen with this record")
    return found[0]


def _overridden(card: JsonObject) -> JsonObject:
    return {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": _now()}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _taken(bench: Bench, service: JsonObject, *items: JsonObject) -> None:
    status = bench.feedback(service, {"feedback": list(items)}).status_code
    must(200 <= status < 300, f"answered {status}")


def _override(bench: Bench) -> None:
    service, card = _card(bench)
    _taken(bench, service, _overridden(card))


def _override_with_reason(bench: Bench) -> None:
    service, card = _card(bench)
    given = (card.get("overrideReasons") or [{"code": "patient-ineligible", "system": _SYSTEM}])[0]
    reason = {"reason": {"code": given["code"], "system": given["system"]}, "userComment": "seen elsewhere"}
    _taken(bench, service, _overridden(card) | {"overrideReason": reason})


def _acceptance(bench: Bench) -> None:
    _card(bench)
    for service, card in bench.cards():
        chosen = [{"id": one["uuid"]} for one in card.get("suggestions", []) if one.get("uuid")][:1]
        if card.get("uuid") and chosen:
            item = _overridden(card) | {"outcome": "accepted", "acceptedSuggestions": chosen}
            _taken(bench, service, item)
            return
    raise NotApplicable("no card with a suggestion was seen")


def _again(bench: Bench) -> None:
    service, card = _card(bench)
    item = _overridden(card)
    _taken(bench, service, item)
    _taken(bench, service, item)


def _several(bench: Bench) -> None:
    service, card = _card(bench)
    again = cards_of(bench.call(service, bench.body(service)))
    both = [card, *(one for one in again if one.get("uuid"))]
    earlier = _overridden(card) | {"outcomeTimestamp": "2026-01-02T03:04:05Z"}
    _taken(bench, service, *[_overridden(one) for one in both], earlier)


def _refused(change: Change) -> Callable[[Bench], None]:
    def run(bench: Bench) -> None:
        service, card = _card(bench)
        item = _overridden(card)
        body: JsonObject = {"feedback": [item]}
        broken = change(item)
        status = bench.feedback(service, body if broken is None else broken).status_code
        must(400 <= status < 500, f"answered {status}")

    return run


CHECKS = (
    Check("F1.1", Level.MUST, CLAUSE, "an overridden card is taken", _override),
    Check("F1.2", Level.MUST, CLAUSE, "an override with reason and comment is taken", _override_with_reason),
    Check("F1.3", Level.MUST, CLAUSE, "an accepted suggestion is taken", _acceptance),
    Check("F2.1", Level.MUST, CLAUSE, "feedback without a card is refused",
          _refused(lambda item: item.pop("card") and None)),
    Check("F2.2", Level.MUST, CLAUSE, "an outcome that is neither accepted nor overridden is refused",
          _refused(lambda item: item.update(outcome="ignored"))),
    Check("F2.3", Level.MUST, CLAUSE, "accepted without suggestions is refused",
          _refused(lambda item: item.update(outcome="accepted"))),
    Check("F2.4", Level.MUST, CLAUSE, "feedback without a time is refused",
          _refused(lambda item: item.pop("outcomeTimestamp") and None)),
    Check("F2.5", Level.MUST, CLAUSE, "an override reason with neither reason nor comment is refused",
          _refused(lambda item: item.update(overrideReason={}))),
    Check("F2.6", Level.MUST, CLAUSE, "a body without the feedback array is refused", _refused(lambda item: item)),
    Check("F3.1", Level.MUST, CLAUSE, "the same report may come again", _again),
    Check("F4.1", Level.MUST, CLAUSE, "several cards may be reported at once", _several),
    Check("F5.1", Level.MAY, "own rule", "a card that was never sent is refused",
          _refused(lambda item: item.update(card=new_uuid()))),
)  # fmt: skip
