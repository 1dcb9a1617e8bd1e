"""Which cards alert hygiene holds back: rules and a decision over values (docs/decisions/023-alert-hygiene.md).

Whatever a site switches on, never held back are a critical card, a card that says that something could not be
looked at, a card that names no finding, the card of system actions, a finding that got worse, and (unless a site
says so) what only another clinician has seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cds.card import Card
from cds.feedback.sent import DECIDING_HOOKS, finding_digest
from cds.guidance import Guidance
from cds.override_reasons import group_of
from clinical.risk import Indicator
from record_store.seen_cards import SeenCard

REPEATED, SHOWN_BESIDE, COOLING, CAPPED = "repeated", "shown-beside", "cooling-down", "too-many"
ANY_REASON = "*"
HOUR_S = 3600
FEEDBACK_WITHIN_S = 2 * 24 * HOUR_S  # a cool-down starts with the report; some clients send theirs at night
_RANK = {indicator.value: rank for rank, indicator in enumerate(Indicator)}


@dataclass(frozen=True, slots=True)
class HygieneRules:
    """What a site has switched on; nothing by default. Times in seconds, 0 is off.

    repeat_window_s: the same finding of the same model is shown to a user once in it.
    cool_down_s: override reason (code, group of codes, or "*") -> how long the finding stays away after it.
    user_cards_per_hour, patient_cards_per_hour: beyond these, `info` cards are held back; 0 is no limit.
    across_users: what one user saw or overrode counts for the others too.
    worse_by: a probability higher by more than this is worse, whatever the indicator says.
    """

    repeat_window_s: float = 0
    cool_down_s: Mapping[str, float] = field(default_factory=dict)
    user_cards_per_hour: int = 0
    patient_cards_per_hour: int = 0
    across_users: bool = False
    worse_by: float = 0.05

    @property
    def looks_back_s(self) -> float:
        """How far back cards matter; 0 when every rule is off."""
        capped = HOUR_S if self.user_cards_per_hour or self.patient_cards_per_hour else 0
        longest = max(self.cool_down_s.values(), default=0)
        cooling = longest + FEEDBACK_WITHIN_S if longest else 0
        return max(self.repeat_window_s, capped, cooling)


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when a call's cards are judged. seen: cards about this patient, newest first.

    to_user, about_patient: cards shown within the last hour. user_key: None when the hook names no user.
    """

    service: str
    hook: str
    hook_instance: str
    user_key: str | None = field(repr=False)
    seen: Sequence[SeenCard]
    to_user: int
    about_patient: int
    now: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """A card that is held back. because: UUID of the earlier card that makes it superfluous, if one does."""

    card: Card
    reason: str
    because: str | None = None


def screen(guidance: Guidance, known: Situation, rules: HygieneRules) -> tuple[Held, ...]:
    """Return the cards to hold back; the others stay as they are, in their order."""
    tells_of_actions = guidance.cards[0].uuid if guidance.system_actions else None
    held: list[Held] = []
    shown = 0
    for card in guidance.cards:
        reason = None if card.uuid == tells_of_actions else _judge(card, known, rules, shown)
        if reason is None:
            shown += 1
        else:
            held.append(reason)
    return tuple(held)


def _judge(card: Card, known: Situation, rules: HygieneRules, shown: int) -> Held | None:
    if card.indicator is Indicator.CRITICAL or card.about.could_not_look or card.about.finding_key is None:
        return None
    for earlier in _same_finding(card, known, rules):
        reason = _superfluous(earlier, known, rules)
        if reason is not None:
            return Held(card, reason, earlier.card)
    return Held(card, CAPPED) if _too_many(card, known, rules, shown) else None


def _same_finding(card: Card, known: Situation, rules: HygieneRules) -> Iterator[SeenCard]:
    """Yield the earlier cards of this very finding, by the same model, which has not got worse since."""
    model, finding = card.about.model, finding_digest(card.about.finding_key)
    if model is None:
        return
    for earlier in known.seen:
        same = (earlier.model, earlier.model_version, earlier.finding_key) == (model.name, model.version, finding)
        if same and _known_to(earlier, known, rules) and not _worse(card, earlier, rules):
            yield earlier


def _known_to(earlier: SeenCard, known: Situation, rules: HygieneRules) -> bool:
    if rules.across_users or earlier.hook_instance == known.hook_instance:
        return True
    return known.user_key is not None and earlier.user_key == known.user_key


def _worse(card: Card, earlier: SeenCard, rules: HygieneRules) -> bool:
    if _RANK[card.indicator.value] > _RANK[earlier.indicator]:
        return True
    now = card.about.probability
    if now is None or earlier.probability is None:
        return now is not earlier.probability  # a number that came or went is another finding
    return now > earlier.probability + rules.worse_by


def _superfluous(earlier: SeenCard, known: Situation, rules: HygieneRules) -> str | None:
    if earlier.overridden_at is not None:
        wait = _cool_down(earlier, rules)
        if known.now - earlier.overridden_at < timedelta(seconds=wait):
            return COOLING
    if known.now - earlier.sent_at >= timedelta(seconds=rules.repeat_window_s):
        return None
    if earlier.hook_instance == known.hook_instance:
        # The same service asked again is a client that tries again: it may never have had the first answer.
        return SHOWN_BESIDE if earlier.service != known.service else None
    if earlier.hook != known.hook and known.hook in DECIDING_HOOKS:
        return None
    return REPEATED


def _cool_down(earlier: SeenCard, rules: HygieneRules) -> float:
    code = earlier.reason_code or ""
    group = group_of(earlier.reason_system or "", code)
    keys = (code, group.code if group is not None else "", ANY_REASON)
    return next((rules.cool_down_s[key] for key in keys if key in rules.cool_down_s), 0)


def _too_many(card: Card, known: Situation, rules: HygieneRules, shown: int) -> bool:
    if card.indicator is not Indicator.INFO:
        return False
    to_user, about_patient = known.to_user + shown, known.about_patient + shown
    return (0 < rules.user_cards_per_hour <= to_user) or (0 < rules.patient_cards_per_hour <= about_patient)
