"""The topic `ai-result-final`: what a model found is now somebody's word, or is taken back.

R4 has no SubscriptionTopic resource to serve; the CapabilityStatement names the canonical (backport 1.1.0, R4).
"""

from collections.abc import Mapping
from typing import Any

from clinical.codes import AI_ASSERTED

Json = Mapping[str, Any]

CANONICAL = "urn:consilium:SubscriptionTopic/ai-result-final"
TYPES = ("DiagnosticReport", "Observation", "RiskAssessment")
_BECOMES = frozenset({"final", "entered-in-error"})
_AGAIN = frozenset({"amended", "corrected", "appended"})  # each such version says something new


def fires(current: Json, before: Json | None) -> bool:
    """Return whether a version of an AI's result is an event.

    It is labelled AIAST, as this version or the one before, and becomes final or entered-in-error, or is amended
    (corrected, appended), each time. before: the version that it replaces; None when there is none.
    """
    status = current.get("status")
    if status not in _BECOMES | _AGAIN or not any(_by_ai(one) for one in (current, before) if one is not None):
        return False
    return status in _AGAIN or before is None or before.get("status") != status


def _by_ai(resource: Json) -> bool:
    labels = resource.get("meta", {}).get("security", [])
    return any(one.get("system") == AI_ASSERTED.system and one.get("code") == AI_ASSERTED.code for one in labels)
