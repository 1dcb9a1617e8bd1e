"""What an operator asks of subscriptions: where each stands, what is not delivered and why, and to try again."""

from typing import Any

from clinical.errors import NotFound
from consilium.settings import Settings
from consilium.wiring import House
from fhir_adapters.subscriptions.asked import Asked
from fhir_adapters.subscriptions.status import hold, tell
from record_store import notifications, subscriptions
from record_store.notifications import PENDING, SENT, WITHHELD
from record_store.subscriptions import Held

Row = dict[str, Any]
SHOWN = 200
UNKNOWN = "no subscription has this id; 'consilium subscriptions list' shows them"


def list_subscriptions(settings: Settings) -> list[Row]:
    """Return every subscription with its counts and, where something is not delivered, the reason."""
    with House(settings).db.read() as conn:
        counts = notifications.counts(conn)
        return [_row(one, counts) for one in subscriptions.every(conn)]


def show_subscription(settings: Settings, own: str) -> list[Row]:
    """Return the events of a subscription that are not delivered, the first first. Raises NotFound."""
    with House(settings).db.read() as conn:
        if subscriptions.get(conn, own) is None:
            raise NotFound(UNKNOWN)
        found = notifications.waiting(conn, own, SHOWN)
    return [
        {
            "event": one.number,
            "resource": f"{one.event.type}/{one.event.id}",
            "version": one.event.version,
            "since": one.event.at,
            "attempts": one.attempts,
            "next attempt": one.next_attempt_at,
            "HTTP": one.last_status,
            "why": one.last_problem,
        }
        for one in found
    ]


def retry_subscription(settings: Settings, own: str) -> int:
    """Have a subscription sent to again at once, whatever it is in; return what waits. Raises NotFound."""
    house = House(settings)
    with house.db.write() as conn:
        hold(conn, own)
        held = subscriptions.get(conn, own)
        if held is None:
            raise NotFound(UNKNOWN)
        # One of a topic shakes hands again before it is sent to.
        by_topic = Asked.from_json(held.asked).topic is not None
        status = subscriptions.REQUESTED if by_topic else subscriptions.ACTIVE
        tell(conn, own, status, None, now=house.now, base_url=f"{house.base_url}/fhir")
        return notifications.counts(conn, own).get((own, PENDING), 0)


def _row(one: Held, counts: dict[tuple[str, str], int]) -> Row:
    asked = Asked.from_json(one.asked)
    return {
        "subscription": one.id,
        "status": one.status,
        "about": asked.topic or ", ".join(asked.searches),
        "endpoint": asked.endpoint,
        "events": one.events,
        "sent": counts.get((one.id, SENT), 0),
        "withheld": counts.get((one.id, WITHHELD), 0),
        "waiting": counts.get((one.id, PENDING), 0),
        "failures": one.failures,
        "next try": one.due_at if one.failures else None,
        "why": one.problem,
    }
