"""What a clinician may accept with one touch (CDS Hooks 3.0, "Suggestion")."""

from dataclasses import dataclass
from enum import StrEnum

from cds.actions import CONDITION, Action, ActionType, in_order
from cds.legal import JsonObject, compact, is_text, is_uuid, must
from cds.markdown import plain


class SelectionBehavior(StrEnum):
    """Whether the clinician may take one suggestion or several."""

    AT_MOST_ONE = "at-most-one"
    ANY = "any"


class ActionSelection(StrEnum):
    """Which actions of one suggestion the clinician takes: all together, unless a client can offer less (K7)."""

    ALL = "all"
    ANY = "any"
    AT_MOST_ONE = "at-most-one"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What the clinician may accept. uuid: comes back in feedback.

    actions: kept in the order of a transaction. action_selection: only for clients known to support it, to others
    cds.adapt says it in suggestions that each stand alone.
    may_apply_itself: safe enough to be a system action for clients known to take them (K10): it only adds what is
    labelled as an AI's, and changes nothing; never a Condition.
    """

    label: str
    uuid: str
    actions: tuple[Action, ...] = ()
    is_recommended: bool = False
    action_selection: ActionSelection = ActionSelection.ALL
    may_apply_itself: bool = False

    def __post_init__(self) -> None:
        must(is_text(plain(self.label)), "a suggestion has no label")
        must(is_uuid(self.uuid), "a suggestion's uuid is not a UUID")
        must(self.action_selection in tuple(ActionSelection), "actionSelectionBehavior is all, any or at-most-one")
        must(self.action_selection is ActionSelection.ALL or len(self.actions) > 1, "there is no action to choose")
        object.__setattr__(self, "actions", in_order(self.actions))
        kinds = {(action.type, action.resource_type == CONDITION) for action in self.actions}
        adds = kinds <= {(ActionType.CREATE, False)}
        must(adds or not self.may_apply_itself, "only what adds, and no Condition, may apply itself")

    def to_json(self) -> JsonObject:
        """Return the suggestion as wire JSON; `actions: []` is never sent, nor the default `all`."""
        behaviour = None if self.action_selection is ActionSelection.ALL else self.action_selection.value
        return compact(
            {
                "label": plain(self.label),
                "uuid": self.uuid,
                "isRecommended": self.is_recommended or None,
                "actions": [action.to_json() for action in self.actions],
                "actionSelectionBehavior": behaviour,
            }
        )
