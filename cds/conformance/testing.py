"""A service on every hook that says and asks for something of every kind, to check our framework with."""

from cds.card import Action, Card, Link, SelectionBehavior, Source, Suggestion
from cds.guidance import Guidance
from cds.hooks import HOOKS, PATIENT_VIEW
from cds.markdown import table
from cds.override_reasons import OF_A_RISK
from cds.prefetch import PrefetchTemplate
from cds.service import CdsContext, HookCall, Service
from clinical.codes import Coding
from clinical.risk import Indicator

TOPIC = Coding("http://example.org/topics", "every-hook", "Every hook")
PREFETCH = (
    PrefetchTemplate("patient", "Patient/{{context.patientId}}", required=True),
    PrefetchTemplate("measured", "Observation?patient={{context.patientId}}&_sort=-date&_count=50"),
    PrefetchTemplate("recent", "Observation?patient={{%patient.id}}&date=ge{{today() - 90 days}}&_count=50"),
    PrefetchTemplate("user", "Practitioner/{{userPractitionerId}}"),
)


def answer(call: HookCall, context: CdsContext) -> Guidance:
    """Return one card with a link, a suggestion and reasons to override it."""
    patient = call.request.patient_id
    order = {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "proposal",
        "code": {"text": "A test"},
        "subject": {"reference": f"Patient/{patient}"},
    }
    found = [key for key, one in call.prefetch.items() if any(True for _ in one.resources())]
    suggestion = Suggestion("Order a test", context.new_uuid(), (Action("create", "Order it", order),), True)
    card = Card(
        context.new_uuid(),
        f"Seen: {', '.join(found)}",
        Indicator.INFO,
        Source("A service for tests", TOPIC),
        table(("key",), [(key,) for key in found]),
        (Link("More", context.links.origins.url(context.links.base_url + "/cds-hooks")),),
        (suggestion,),
        SelectionBehavior.AT_MOST_ONE,
        OF_A_RISK[:2],
    )
    return Guidance((card,))


def every_hook() -> tuple[Service, ...]:
    """Return one service id on every hook of the library, and a neighbour that asks for nothing."""
    named = [
        Service("every-hook", hook, "Every hook", "Says what it saw.", PREFETCH, answer) for hook in HOOKS.values()
    ]
    return (
        *named,
        Service("no-data", PATIENT_VIEW, "No data", "Asks for nothing.", (), lambda _call, _context: ()),
    )
