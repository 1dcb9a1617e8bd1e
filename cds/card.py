"""What a service answers: cards that cannot be illegal (CDS Hooks 3.0, "Card attributes").

Constructing a card checks its invariants, so a mistake of ours is a Fault (a 500 that is seen) and never
an answer that the EHR drops silently. `to_json` leaves out everything empty (spec: no null, no "").
"""

import re
from dataclasses import dataclass, field

from cds.actions import Action, ActionType
from cds.graphemes import cut
from cds.legal import JsonObject, coding_json, compact, is_text, is_uuid, must, must_be_coding
from cds.markdown import plain
from cds.source import Link, LinkType, Source
from cds.suggestion import ActionSelection, SelectionBehavior, Suggestion
from clinical.codes import Coding
from clinical.finding import ModelRef
from clinical.risk import Indicator
from clinical.said import Said

__all__ = [
    "Action",
    "ActionSelection",
    "ActionType",
    "Card",
    "CardAbout",
    "JsonObject",
    "Link",
    "LinkType",
    "SelectionBehavior",
    "Source",
    "Suggestion",
    "coding_json",
    "shorten",
]

FINDING_KEY_MAX = 128
SUMMARY_MAX = 139  # "<140 characters"
# What is escaped comes first, so that it is passed over; the destination of a link stands in group 1.
_MARKS = re.compile(r"\\.|\]\(([^()\s]*)\)|<[a-z/!?]|!\[|\]:|://|www\.", re.IGNORECASE | re.DOTALL)


def shorten(text: str, limit: int = SUMMARY_MAX) -> str:
    """Return one line of at most `limit` characters (UTF-16 units), cut at a word and ended with an ellipsis."""
    return cut(plain(text), limit)


@dataclass(frozen=True, slots=True)
class CardAbout:
    """What a card is about, for feedback, hygiene and audit; never on the wire.

    model: who said it. threshold: the probability (0..1) from which it is said. outcome: of what.
    finding_key: names the thing itself without patient data, so that the same is recognised when it is said again;
    at most 128 characters. input_hash: sha256 (hexadecimal) of the model's digest and what it read, see cds.about.
    probability: what was said (0..1). could_not_look: it says that something was not seen, read or asked; such a
    card is never suppressed. said: the whole result, where results are kept.
    """

    model: ModelRef | None = None
    threshold: float | None = None
    outcome: Coding | None = None
    finding_key: str | None = None
    input_hash: str | None = None
    probability: float | None = None
    could_not_look: bool = False
    said: Said | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        must(len(self.finding_key or "") <= FINDING_KEY_MAX, "a finding's key is too long")


@dataclass(frozen=True, slots=True)
class Card:
    """One piece of guidance.

    uuid: made by us, comes back in feedback. summary: plain text, shortened to 139 characters at a word.
    detail: GFM without HTML and images; build it with `cds.markdown`, which escapes what came from a record. It
    may lead only where the source or a link of the card leads.
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
    about: CardAbout = field(default_factory=CardAbout)

    def __post_init__(self) -> None:
        object.__setattr__(self, "summary", shorten(self.summary))
        must(is_text(self.summary), "it has no summary")
        must(is_uuid(self.uuid), "its uuid is not a UUID")
        must(self.indicator in tuple(Indicator), "its indicator is none of info, warning and critical")
        self._check_detail()
        self._check_choice()
        leads = any(link.type is LinkType.ABSOLUTE for link in self.links)
        must(leads or not any(link.spare for link in self.links), "a link is spare and leads where no other does")
        for reason in self.override_reasons:
            must_be_coding(reason, "an override reason")
        codes = [(reason.system, reason.code) for reason in self.override_reasons]
        must(len(set(codes)) == len(codes), "an override reason is offered twice")

    def _check_choice(self) -> None:
        """A choice needs its rule (cds-resp-6), and one choice has at most one favourite (cds-resp-1)."""
        must(not self.suggestions or self.selection_behavior is not None, "suggestions need a selectionBehavior")
        favourites = sum(suggestion.is_recommended for suggestion in self.suggestions)
        one_only = self.selection_behavior is SelectionBehavior.AT_MOST_ONE
        must(not (one_only and favourites > 1), "at-most-one has at most one recommended suggestion")
        by_itself = any(suggestion.may_apply_itself for suggestion in self.suggestions)
        must(not (one_only and by_itself), "what applies itself is no choice among others")
        uuids = [suggestion.uuid for suggestion in self.suggestions]
        must(len({self.uuid, *uuids}) == len(uuids) + 1, "two of its parts have the same uuid")

    def _check_detail(self) -> None:
        if self.detail is None:
            return
        must(is_text(self.detail), "its detail says nothing")
        mine = {self.source.url, *(link.url for link in self.links)}
        known = {url.text for url in mine if url is not None}
        for mark in _MARKS.finditer(self.detail):
            leads = mark[1]
            must(leads is None or leads in known, "its detail leads where no link of the card leads")
            plainly = leads is None and not mark[0].startswith("\\")
            must(not plainly, "its detail holds HTML, an image, or an address that is not escaped")

    def to_json(self) -> JsonObject:
        """Return the card as wire JSON, without nulls and empties."""
        behaviour = self.selection_behavior if self.suggestions else None
        return compact(
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
