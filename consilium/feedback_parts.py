"""What keeps cards and feedback, and the stages that work with them, built from the settings."""

from dataclasses import dataclass

from cds.feedback.desk import Desk
from cds.feedback.sent import SentCardLog
from cds.hygiene import CardHygiene
from cds.hygiene_rules import HygieneRules
from cds.shadow import ShadowMode
from consilium import metrics
from consilium.feedback_names import pseudonyms_of
from consilium.settings import Settings
from consilium.wiring import House


@dataclass(frozen=True, slots=True)
class FeedbackParts:
    """Four stages of a hook call (`cds.stages`)."""

    sent: SentCardLog
    feedback: Desk
    hygiene: CardHygiene
    shadow: ShadowMode


def rules_of(settings: Settings) -> HygieneRules:
    """Return what a site has switched on."""
    return (
        HygieneRules() if settings.alert_hygiene is None else HygieneRules(**settings.alert_hygiene.model_dump())
    )


def feedback_parts(house: House) -> FeedbackParts:
    """Return the stages that remember, hold back and judge cards."""
    names, settings = pseudonyms_of(house), house.settings
    return FeedbackParts(
        sent=SentCardLog(house.now, names),
        feedback=Desk(
            house.db, house.now, lambda service, said: metrics.FEEDBACK_REPORTS.labels(service, said).inc()
        ),
        hygiene=CardHygiene(
            house.db,
            house.now,
            names,
            rules_of(settings),
            lambda service, reason: metrics.CARDS_SUPPRESSED.labels(service, reason).inc(),
        ),
        shadow=ShadowMode(
            frozenset(settings.shadow_services),
            house.db,
            house.now,
            names,
            lambda service, said: metrics.SHADOW_CALLS.labels(service, said).inc(),
        ),
    )
