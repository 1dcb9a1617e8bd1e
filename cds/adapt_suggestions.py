"""Which suggestions of a card a client can offer, in what form, and which have to be said in words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid5

from cds.actions import ActionType
from cds.caller import Capabilities, SpecVersion
from cds.card import Card
from cds.suggestion import ActionSelection, SelectionBehavior, Suggestion

RECOMMENDED = " (recommended)"


@dataclass(frozen=True, slots=True)
class Offer:
    """kept: what is sent, under `behavior`. left: what is not, to be told in words.

    narrowed: of what is kept the client takes one, where several could have been taken.
    """

    kept: tuple[Suggestion, ...]
    behavior: SelectionBehavior | None
    left: tuple[Suggestion, ...] = ()
    narrowed: bool = False


def offered(card: Card, client: Capabilities) -> Offer:
    """Return the card's suggestions as the client can offer them."""
    if not card.suggestions or card.selection_behavior is None:
        return Offer((), None)
    whole = tuple(map(_for_a_person, card.suggestions))
    behavior = card.selection_behavior
    unclear: tuple[Suggestion, ...] = ()
    if not client.action_selection_behavior or client.version is not SpecVersion.V3:
        whole, behavior, unclear = _each_alone(whole, behavior)
    does = tuple(one for one in whole if {action.type for action in one.actions} <= client.actions)
    not_done = tuple(one for one in whole if one not in does) + unclear
    offer = _chosen(does, behavior, client)
    kept = tuple(_of_first_line(one) for one in offer.kept) if client.version is SpecVersion.V1 else offer.kept
    return replace(offer, kept=kept, left=offer.left + not_done)


def _each_alone(
    suggestions: Sequence[Suggestion], behavior: SelectionBehavior
) -> tuple[tuple[Suggestion, ...], SelectionBehavior, tuple[Suggestion, ...]]:
    """Say a choice among actions as a choice among suggestions (K7). Third: those for which that cannot be said.

    A client that ignores the choice would carry out all of them, which is more than was meant.
    """
    if len(suggestions) == 1 and suggestions[0].action_selection is ActionSelection.AT_MOST_ONE:
        return _parts(suggestions[0]), SelectionBehavior.AT_MOST_ONE, ()
    if len(suggestions) == 1 and suggestions[0].action_selection is ActionSelection.ANY:
        return _parts(suggestions[0]), SelectionBehavior.ANY, ()
    said: list[Suggestion] = []
    unclear: list[Suggestion] = []
    for one in suggestions:
        if one.action_selection is ActionSelection.ALL:
            said.append(one)
        elif one.action_selection is ActionSelection.ANY and behavior is SelectionBehavior.ANY:
            said.extend(_parts(one))
        else:
            unclear.append(one)
    return tuple(said), behavior, tuple(unclear)


def _parts(suggestion: Suggestion) -> tuple[Suggestion, ...]:
    return tuple(
        Suggestion(
            label=f"{suggestion.label}: {action.description}",
            uuid=str(uuid5(UUID(suggestion.uuid), str(number))),
            actions=(action,),
        )
        for number, action in enumerate(suggestion.actions)
    )


def _chosen(suggestions: tuple[Suggestion, ...], behavior: SelectionBehavior, client: Capabilities) -> Offer:
    """Bring the choice into a form that the client's users can be offered.

    `any` with one suggestion says the same as at-most-one, so of an at-most-one the best is offered and the others
    are told. The other way round all are offered, and of several favourites the first stays one.
    """
    allowed = _allowed(client)
    if not suggestions or not allowed:
        return Offer((), None, suggestions)
    if behavior in allowed:
        return Offer(suggestions, behavior)
    if behavior is SelectionBehavior.AT_MOST_ONE:
        best = next((one for one in suggestions if one.is_recommended), suggestions[0])
        return Offer((best,), SelectionBehavior.ANY, tuple(one for one in suggestions if one is not best))
    return Offer(_one_favourite(suggestions), SelectionBehavior.AT_MOST_ONE, narrowed=len(suggestions) > 1)


def _allowed(client: Capabilities) -> tuple[SelectionBehavior, ...]:
    """The line 1.0 knows no `any`; where a site has configured that alone, the site knows its client."""
    only_one = SelectionBehavior.AT_MOST_ONE
    if client.version is SpecVersion.V1 and only_one in client.selection_behaviors:
        return (only_one,)
    return client.selection_behaviors


def _for_a_person(suggestion: Suggestion) -> Suggestion:
    """What may apply itself elsewhere is here a suggestion like any other."""
    return replace(suggestion, may_apply_itself=False) if suggestion.may_apply_itself else suggestion


def _one_favourite(suggestions: Sequence[Suggestion]) -> tuple[Suggestion, ...]:
    first = next((one for one in suggestions if one.is_recommended), None)
    return tuple(one if one is first else _in_label(one) for one in suggestions)


def _in_label(suggestion: Suggestion) -> Suggestion:
    if not suggestion.is_recommended:
        return suggestion
    return replace(suggestion, label=suggestion.label + RECOMMENDED, is_recommended=False)


def _of_first_line(suggestion: Suggestion) -> Suggestion:
    """The line 1.0 knows neither isRecommended nor resourceId."""
    actions = tuple(
        replace(action, deprecated_form=True) if action.type == ActionType.DELETE else action
        for action in suggestion.actions
    )
    return replace(_in_label(suggestion), actions=actions)
