"""The figures of the feedback report, as values. Numbers only: no patient, user or comment.

`to_json` of each is what `consilium cds feedback --json` and `/feedback.json` answer; docs/feedback.md says how to
read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cds.override_reasons import group_of
from clinical.override_codes import (
    CDS_NOT_APPLICABLE,
    GROUPS,
    NON_ADHERENCE_REASON,
    PATIENT_INELIGIBLE,
    RECIPIENT_DISAGREES_EVIDENCE,
)
from clinical.proportion import Proportion
from record_store.feedback_tallies import Row, Span
from record_store.times import to_text

# Reasons by which a clinician says that the card itself was wrong, and not that nothing could be done about it.
_WRONG_CODES = {CDS_NOT_APPLICABLE.code, PATIENT_INELIGIBLE.code}
_DISPLAY = {reason.code: reason.display for group, reasons in GROUPS.items() for reason in (group, *reasons)}


@dataclass(frozen=True, slots=True)
class Answered:
    """Cards and what was reported of them; replaced: unanswered, and a later card stood for it."""

    sent: int = 0
    accepted: int = 0
    overridden: int = 0
    replaced: int = 0

    @property
    def ignored(self) -> int:
        """Cards that nobody answered."""
        return self.sent - self.accepted - self.overridden - self.replaced

    @property
    def acceptance(self) -> Proportion:
        """Accepted among the answered; ignored cards say nothing about what was thought of them."""
        return Proportion(self.accepted, self.accepted + self.overridden)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers."""
        return {
            "sent": self.sent,
            "accepted": self.accepted,
            "overridden": self.overridden,
            "replaced": self.replaced,
            "ignored": self.ignored,
            "acceptance": self.acceptance.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Reason:
    """One override reason. wrong: True when it says that the card was wrong, None when nobody can tell."""

    system: str | None
    code: str | None
    count: int

    @property
    def wrong(self) -> bool | None:
        """Whether the reason questions the card itself; unknown without a code of HL7's system."""
        group = group_of(self.system or "", self.code or "")
        if group is None:
            return None
        return self.code in _WRONG_CODES or group == RECIPIENT_DISAGREES_EVIDENCE

    @property
    def display(self) -> str:
        """The reason in HL7's words, else its code; what a client sent as display is not repeated."""
        known = _DISPLAY.get(self.code or "") if self.system == NON_ADHERENCE_REASON else None
        return known or self.code or "no coded reason"

    def to_json(self) -> dict[str, Any]:
        """Return the reason and how often."""
        return {
            "system": self.system,
            "code": self.code,
            "display": self.display,
            "count": self.count,
            "questions_the_card": self.wrong,
        }


@dataclass(frozen=True, slots=True)
class Step:
    """What a threshold would leave of the cards that were sent. outcomes: true ones among those known."""

    threshold: float
    answered: Answered
    outcomes: Proportion

    def to_json(self) -> dict[str, Any]:
        """Return the step."""
        return {
            "threshold": self.threshold,
            "cards": self.answered.sent,
            "acceptance": self.answered.acceptance.to_json(),
            "outcome_ppv": self.outcomes.to_json(),
        }


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One service with one version of its model."""

    service: str
    model: str | None
    model_version: str | None
    answered: Answered
    reasons: tuple[Reason, ...]
    what_if: tuple[Step, ...]
    outcomes: Proportion

    @property
    def ppv_proxy(self) -> Proportion:
        """How often a judged card was right: accepted, or overridden for a reason that does not question it."""
        right = self.answered.accepted + sum(one.count for one in self.reasons if one.wrong is False)
        wrong = sum(one.count for one in self.reasons if one.wrong)
        return Proportion(right, right + wrong)

    def to_json(self) -> dict[str, Any]:
        """Return everything about it."""
        return {
            "service": self.service,
            "model": self.model,
            "model_version": self.model_version,
            **self.answered.to_json(),
            "ppv_proxy": self.ppv_proxy.to_json(),
            "outcome_ppv": self.outcomes.to_json(),
            "reasons": [reason.to_json() for reason in self.reasons],
            "what_if": [step.to_json() for step in self.what_if],
        }


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """A service in shadow mode. by_outcome: (spoke, happened) -> patients. against: see `shadow_against_live`."""

    service: str
    calls: int
    spoke: int
    failed: Mapping[str, int]
    by_outcome: Mapping[tuple[int, int], int]
    against: tuple[Row, ...]

    def patients(self, *, spoke: bool, happened: bool) -> int:
        """Return how many patients there were of this kind."""
        return self.by_outcome.get((int(spoke), int(happened)), 0)

    @property
    def measures(self) -> dict[str, Proportion]:
        """What the outcomes say of the service, by patient."""
        hit, false_alarm = self.patients(spoke=True, happened=True), self.patients(spoke=True, happened=False)
        miss, quiet = self.patients(spoke=False, happened=True), self.patients(spoke=False, happened=False)
        return {
            "sensitivity": Proportion(hit, hit + miss),
            "specificity": Proportion(quiet, quiet + false_alarm),
            "ppv": Proportion(hit, hit + false_alarm),
            "npv": Proportion(quiet, quiet + miss),
        }

    def to_json(self) -> dict[str, Any]:
        """Return counts, and what they say of the service."""
        return {
            "service": self.service,
            "calls": self.calls,
            "spoke": self.spoke,
            "failed": dict(self.failed),
            "outcomes": {
                "true_positive": self.patients(spoke=True, happened=True),
                "false_positive": self.patients(spoke=True, happened=False),
                "false_negative": self.patients(spoke=False, happened=True),
                "true_negative": self.patients(spoke=False, happened=False),
                **{name: value.to_json() for name, value in self.measures.items()},
            },
            "against_live": list(self.against),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the cards of a span. groups: rows of `by_group` with their Answered."""

    span: Span
    groups: tuple[tuple[Row, Answered], ...]
    models: tuple[ModelReport, ...]
    suppressed: tuple[Row, ...]
    shadow: tuple[ShadowReport, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        names = ("service", "hook", "model_version", "client")
        return {
            "since": to_text(self.span.since),
            "until": to_text(self.span.until),
            "only": {name: value for name in names if (value := getattr(self.span, name)) is not None},
            "groups": [group | answered.to_json() for group, answered in self.groups],
            "models": [model.to_json() for model in self.models],
            "suppressed": list(self.suppressed),
            "shadow": [one.to_json() for one in self.shadow],
        }
