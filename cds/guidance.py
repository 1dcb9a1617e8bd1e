"""The whole answer to one call: cards for people, and actions that a client known for it applies by itself."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from cds.actions import CONDITION, Action, in_order
from cds.card import Card, JsonObject
from cds.compartment import stranger
from cds.legal import must


@dataclass(frozen=True, slots=True)
class Guidance:
    """cards: () means that the service looked and there is nothing to say.

    system_actions: what is safe to apply without being asked, in the order of a transaction (K10, K12). They
    belong to the first card, which says what is done: nothing is written that nobody is told of. Never a
    Condition.
    """

    cards: tuple[Card, ...] = ()
    system_actions: tuple[Action, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "cards", tuple(self.cards))
        object.__setattr__(self, "system_actions", in_order(self.system_actions))
        must(bool(self.cards) or not self.system_actions, "system actions come without a card that tells of them")
        kinds = {action.resource_type for action in self.system_actions}
        must(CONDITION not in kinds, "a Condition is never made without a person")
        uuids = [card.uuid for card in self.cards] + [one.uuid for card in self.cards for one in card.suggestions]
        must(len(set(uuids)) == len(uuids), "two cards or suggestions have the same uuid")

    def keep(self, cards: Sequence[Card]) -> "Guidance":
        """Return the guidance with some of its cards only; the system actions go with the first one."""
        stays = bool(self.cards) and any(card.uuid == self.cards[0].uuid for card in cards)
        return replace(self, cards=tuple(cards), system_actions=self.system_actions if stays else ())

    def actions(self) -> Iterator[Action]:
        """Yield every action, of suggestions and of the system."""
        for card in self.cards:
            for suggestion in card.suggestions:
                yield from suggestion.actions
        yield from self.system_actions

    def demand_of(self, patient_id: str, fhir_server: str | None, drafts: Collection[str]) -> None:
        """Raise Fault for an action that is about another patient, or changes what the call was not about (K11).

        drafts: relative references of the hook's own orders: only these may be updated or deleted. A delete may
        stand alone: `order-imaging` offers to take an order back. K11's create beside it is a rule of Da Vinci CRD
        for alternatives, and not of CDS Hooks.
        """
        for action in self.actions():
            must(action.target is None or action.target in drafts, "an action changes what the hook did not bring")
            if action.resource is not None:
                whose = stranger(action.resource, patient_id, fhir_server, "resource")
                must(whose is None, "an action is about another patient")

    def to_json(self) -> JsonObject:
        """Return the body of the answer: `cards` always, `systemActions` absent rather than empty (C2, K10)."""
        body: JsonObject = {"cards": [card.to_json() for card in self.cards]}
        if self.system_actions:
            body["systemActions"] = [action.to_json() for action in self.system_actions]
        return body


def guidance_of(answer: Sequence[Card] | Guidance) -> Guidance:
    """Return what a service answered as Guidance."""
    return answer if isinstance(answer, Guidance) else Guidance(tuple(answer))
