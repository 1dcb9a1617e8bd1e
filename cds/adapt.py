"""The same guidance for what a client understands: nothing it cannot do is sent, and nothing is silently lost.

What a client cannot be offered is said in the card's text instead. Capabilities are what a site configured for the
client (cds.caller); a card made here goes through the same checks as any other.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid5

from cds.actions import Action
from cds.adapt_suggestions import Offer, offered
from cds.caller import Capabilities, SpecVersion
from cds.card import Card
from cds.guidance import Guidance
from cds.markdown import bold, bullets, escape, paragraphs
from cds.markdown_level import without_links, without_tables
from cds.origins import PublicUrl
from cds.source import Link, LinkType
from cds.suggestion import SelectionBehavior, Suggestion

BY_HAND = "To be done by hand, as this system does not take these suggestions"
ONE_OF_THEM = "This system lets you take one of the suggestions; do the others by hand."
NOT_OPENED = "Not opened by this system"
ASKED = "Your system is asked to do this by itself"


def adapt(guidance: Guidance, capabilities: Capabilities) -> Guidance:
    """Return what the client is sent. It never raises for guidance that is legal, and gives legal guidance."""
    if capabilities.system_actions and capabilities.version is not SpecVersion.V1:
        guidance = _applied(guidance)
    elif guidance.system_actions:
        first, *others = guidance.cards
        guidance = Guidance((_as_suggestion(first, guidance.system_actions), *others))
    cards = tuple(_card(card, capabilities) for card in guidance.cards)
    return guidance if cards == guidance.cards else replace(guidance, cards=cards)


def _card(card: Card, client: Capabilities) -> Card:
    offer = offered(card, client)
    opened = [link for link in card.links if _opens(link, client)]
    closed = [link for link in card.links if link not in opened]
    gone = {link.url.text for link in closed} - {url.text for url in _urls(card, opened)}
    detail = paragraphs(
        without_links(card.detail or "", gone),
        *_by_hand(offer),
        _line(NOT_OPENED, [link.label for link in closed if not link.spare]),
    )
    first_line = client.version is SpecVersion.V1
    changes: dict[str, Any] = {
        "detail": (detail if client.tables else without_tables(detail)) or None,
        "links": tuple(opened),
        "suggestions": offer.kept,
        "selection_behavior": offer.behavior,
        "source": replace(card.source, topic=None) if first_line else card.source,
        "override_reasons": () if first_line or not client.override_reasons else card.override_reasons,
    }
    # Most clients understand most cards whole, and making one checks all of it again.
    return card if all(getattr(card, name) == new for name, new in changes.items()) else replace(card, **changes)


def _urls(card: Card, links: Sequence[Link]) -> list[PublicUrl]:
    return [link.url for link in links] + ([card.source.url] if card.source.url else [])


def _opens(link: Link, client: Capabilities) -> bool:
    """A SMART link whose context is not passed on would open on nobody's images."""
    smart = link.type is LinkType.SMART
    return not smart or (client.smart_links and (link.app_context is None or client.app_context))


def _by_hand(offer: Offer) -> list[str]:
    said = []
    if offer.left:
        said += [bold(BY_HAND), bullets(map(_words, offer.left))]
    return [*said, ONE_OF_THEM] if offer.narrowed else said


def _words(suggestion: Suggestion) -> str:
    done = "; ".join(action.description for action in suggestion.actions)
    return f"{suggestion.label}: {done}" if done else suggestion.label


def _line(title: str, items: Sequence[str]) -> str:
    return f"{escape(title)}: {escape('; '.join(items))}" if items else ""


def _applied(guidance: Guidance) -> Guidance:
    """Make system actions of what may apply itself; each card tells of its own."""
    cards: list[Card] = []
    actions = list(guidance.system_actions)
    for number, card in enumerate(guidance.cards):
        taken = [action for one in card.suggestions if one.may_apply_itself for action in one.actions]
        told = [action.description for action in (*(guidance.system_actions if number == 0 else ()), *taken)]
        kept = tuple(one for one in card.suggestions if not one.may_apply_itself)
        detail = paragraphs(card.detail or "", _line(ASKED, told))
        cards.append(replace(card, suggestions=kept, detail=detail or None))
        actions += taken
    return Guidance(tuple(cards), tuple(actions))


def _as_suggestion(card: Card, actions: Sequence[Action]) -> Card:
    """Offer what would have been applied; where only one suggestion may be taken, tell of it in words."""
    label = "; ".join(action.description for action in actions)
    if card.suggestions and card.selection_behavior is SelectionBehavior.AT_MOST_ONE:
        return replace(card, detail=paragraphs(card.detail or "", bold(BY_HAND), bullets([label])))
    # The same card gives the same uuid, so feedback finds it.
    made = Suggestion(label, str(uuid5(UUID(card.uuid), "system-actions")), tuple(actions))
    behaviour = card.selection_behavior if card.suggestions else SelectionBehavior.ANY
    return replace(card, suggestions=(*card.suggestions, made), selection_behavior=behaviour)
