"""What a service answers: cards that cannot be illegal (CDS Hooks 3.0, "Card attributes").

Constructing a card checks its invariants, so a mistake of ours is a Fault (a 500 that is seen) and never
an answer that the EHR drops silently. `to_json` leaves out everything empty (spec: no null, no "").
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cds.markdown import plain
from clinical.codes import Coding
from clinical.errors import Fault
from clinical.risk import Indicator

JsonObject = dict[str, object]
SUMMARY_MAX = 139  # "<140 characters"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ABSOLUTE = re.compile(r"https?://[A-Za-z0-9.\-]+(:\d+)?(/[!-~]*)?|https?://\[[0-9a-f:]+\](:\d+)?(/[!-~]*)?")
_RELATIVE_REFERENCE = re.compile(r"[A-Z][A-Za-z]{1,63}/[A-Za-z0-9.\-]{1,64}")


class SelectionBehavior(StrEnum):
    """Whether the clinician may take one suggestion or several."""

    AT_MOST_ONE = "at-most-one"
    ANY = "any"


class LinkType(StrEnum):
    """absolute: opens as it is. smart: the EHR launches a SMART app."""

    ABSOLUTE = "absolute"
    SMART = "smart"


def shorten(text: str, limit: int = SUMMARY_MAX) -> str:
    """Return one line of at most `limit` characters, cut at a word and ended with an ellipsis."""
    line = plain(text)
    if len(line) <= limit:
        return line
    head = line[: limit - 1]
    at_word = head.rsplit(" ", 1)[0]
    # A single word longer than half the line is cut through; losing most of the sentence is worse.
    return (at_word if len(at_word) > limit // 2 else head).rstrip(" ,;:.-") + "…"


def _must(condition: bool, problem: str) -> None:
    if not condition:
        raise Fault(f"the card is not legal: {problem}")


def _compact(value: Mapping[str, object]) -> JsonObject:
    return {key: item for key, item in value.items() if item not in (None, "", [], {})}


def coding_json(coding: Coding) -> JsonObject:
    """Return a Coding as CDS Hooks writes it; override reasons need all three parts."""
    return {"system": coding.system, "code": coding.code, "display": coding.display}


@dataclass(frozen=True, slots=True)
class Source:
    """Who says it. topic: what the card is about; Epic honours a user's override only by its code."""

    label: str
    topic: Coding
    url: str | None = None

    def __post_init__(self) -> None:
        _must(bool(plain(self.label)), "the source has no label")
        _must(self.url is None or bool(_ABSOLUTE.fullmatch(self.url)), "the source's url is not absolute")

    def to_json(self) -> JsonObject:
        """Return the source as wire JSON."""
        return _compact({"label": plain(self.label), "url": self.url, "topic": coding_json(self.topic)})


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a card. app_context only with type smart (K9)."""

    label: str
    url: str
    type: LinkType = LinkType.ABSOLUTE
    app_context: str | None = None

    def __post_init__(self) -> None:
        _must(bool(plain(self.label)), "a link has no label")
        _must(bool(_ABSOLUTE.fullmatch(self.url)), "a link's url is not absolute http(s)")
        _must(self.app_context is None or self.type is LinkType.SMART, "appContext goes with smart links only")

    def to_json(self) -> JsonObject:
        """Return the link as wire JSON."""
        return _compact(
            {"label": plain(self.label), "url": self.url, "type": self.type.value, "appContext": self.app_context}
        )


@dataclass(frozen=True, slots=True)
class Action:
    """One change that a suggestion makes: create or update a whole resource, or delete `resource_id`."""

    type: str
    description: str
    resource: Mapping[str, object] | None = None
    resource_id: str | None = None

    def __post_init__(self) -> None:
        _must(self.type in ("create", "update", "delete"), "an action is create, update or delete")
        _must(bool(plain(self.description)), "an action has no description")
        if self.type == "delete":
            whole = self.resource is None and _RELATIVE_REFERENCE.fullmatch(self.resource_id or "")
            _must(bool(whole), "delete needs a relative reference and nothing else")
        else:
            _must(bool(self.resource) and self.resource_id is None, f"{self.type} needs a whole resource")

    def to_json(self) -> JsonObject:
        """Return the action as wire JSON."""
        return _compact(
            {
                "type": self.type,
                "description": plain(self.description),
                "resource": self.resource,
                "resourceId": self.resource_id,
            }
        )


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What the clinician may accept. uuid: comes back in feedback."""

    label: str
    uuid: str
    actions: tuple[Action, ...] = ()
    is_recommended: bool = False

    def __post_init__(self) -> None:
        _must(bool(plain(self.label)), "a suggestion has no label")
        _must(bool(_UUID.fullmatch(self.uuid)), "a suggestion's uuid is not a UUID")

    def to_json(self) -> JsonObject:
        """Return the suggestion as wire JSON; `actions: []` is never sent."""
        value = {
            "label": plain(self.label),
            "uuid": self.uuid,
            "isRecommended": self.is_recommended or None,
            "actions": [action.to_json() for action in self.actions],
        }
        return _compact(value)


@dataclass(frozen=True, slots=True)
class Card:
    """One piece of guidance.

    uuid: made by us, comes back in feedback. summary: plain text, shortened to 139 characters at a word.
    detail: GFM; build it with `cds.markdown`, which escapes what came from a record.
    """

    uuid: str
    summary: str
    indicator: Indicator
    source: Source
    detail: str | None = None
    links: tuple[Link, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    selection_behavior: SelectionBehavior | None = None
    override_reasons: tuple[Coding, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "summary", shorten(self.summary))
        _must(bool(self.summary), "it has no summary")
        _must(bool(_UUID.fullmatch(self.uuid)), "its uuid is not a UUID")
        # Invariants cds-resp-1..: a choice needs its rule, and one choice has at most one favourite.
        _must(not self.suggestions or self.selection_behavior is not None, "suggestions need a selectionBehavior")
        favourites = sum(suggestion.is_recommended for suggestion in self.suggestions)
        one_only = self.selection_behavior is SelectionBehavior.AT_MOST_ONE
        _must(not (one_only and favourites > 1), "at-most-one has at most one recommended suggestion")
        complete = all(reason.system and reason.code and reason.display for reason in self.override_reasons)
        _must(complete, "an override reason needs system, code and display")

    def to_json(self) -> JsonObject:
        """Return the card as wire JSON, without nulls and empties."""
        behaviour = self.selection_behavior if self.suggestions else None
        return _compact(
            {
                "uuid": self.uuid,
                "summary": self.summary,
                "indicator": self.indicator.value,
                "source": self.source.to_json(),
                "detail": self.detail,
                "links": [link.to_json() for link in self.links],
                "suggestions": [suggestion.to_json() for suggestion in self.suggestions],
                "selectionBehavior": behaviour.value if behaviour else None,
                "overrideReasons": [coding_json(reason) for reason in self.override_reasons],
            }
        )
