"""Which earlier studies of a patient are fetched. Pure: an archive's answer and a rule in, a choice out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from consilium.rules.clauses import matches
from record_store.priors import Current

DAYS_OF_A_YEAR = 365.25


@dataclass(frozen=True, slots=True)
class PriorRule:
    """Studies with one of these modalities and senders have priors, of the archive of this name.

    modality, description, body_part: what a prior has to be, None for any. most: priors of one study. years: how
    old. objects: of one prior. by: how they come.
    """

    name: str
    archive: str
    when_modality: tuple[str, ...] | None = None
    when_calling_ae: tuple[str, ...] | None = None
    modality: tuple[str, ...] | None = None
    description: tuple[str, ...] | None = None
    body_part: tuple[str, ...] | None = None
    most: int = 2
    years: float = 5.0
    objects: int = 2000
    by: Literal["move", "get"] = "move"

    def fits(self, current: Current) -> bool:
        """Tell whether the rule speaks of this study."""
        if self.when_modality is not None and _upper(current.modalities).isdisjoint(_upper(self.when_modality)):
            return False
        patterns = self.when_calling_ae
        return patterns is None or any(
            matches(pattern.casefold(), ae.casefold()) for pattern in patterns for ae in current.senders
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A study of an archive's answer; "" where it says nothing. objects: None when it does not count them."""

    study_uid: str
    study_date: str
    modalities: frozenset[str]
    description: str
    objects: int | None
    patient_id: str
    issuer_of_patient_id: str = ""
    patient_birth_date: str = ""


def likely_priors(
    rule: PriorRule, current: Current, candidates: Sequence[Candidate], held: Collection[str], today: date
) -> list[Candidate]:
    """Return the candidates that the rule lets through but for their body part, the newest first.

    One of another patient never is, whatever the archive's matching lets through: its identifier is the same, and
    neither its issuer nor its birth date contradicts.
    """
    newest = _date(current.study_date) or today
    oldest = newest - timedelta(days=rule.years * DAYS_OF_A_YEAR)
    found = []
    for one in candidates:
        made = _date(one.study_date)
        if (
            one.study_uid not in {current.study_uid, "", *held}
            and _same_patient(one, current)
            and made is not None
            and oldest <= made <= newest
            and (rule.modality is None or not _upper(rule.modality).isdisjoint(_upper(one.modalities)))
            and _described(rule, one)
            and (one.objects is None or one.objects <= rule.objects)
        ):
            found.append(one)
    return sorted(found, key=lambda one: (one.study_date, one.study_uid), reverse=True)


def _same_patient(one: Candidate, current: Current) -> bool:
    stated = (
        (one.issuer_of_patient_id, current.issuer_of_patient_id),
        (one.patient_birth_date, current.patient_birth_date),
    )
    return one.patient_id == current.patient_id and all(not a or not b or a == b for a, b in stated)


def _described(rule: PriorRule, one: Candidate) -> bool:
    if rule.description is None:
        return True
    return any(matches(pattern.casefold(), one.description.casefold()[:256]) for pattern in rule.description)


def _date(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if len(text) == 8 and text.isdecimal() else None
    except ValueError:
        return None


def _upper(texts: Collection[str]) -> set[str]:
    return {one.upper() for one in texts}
