"""The worker's part in subscriptions, put together from the settings."""

import secrets
import threading
from dataclasses import dataclass
from datetime import timedelta

from consilium import metrics
from consilium.fhir_parts import access_of
from consilium.forwarding import Offering
from consilium.lanes import Lanes
from consilium.matching import Matching
from consilium.notifying import Notifying
from consilium.wiring import House
from consilium.worker import DELIVERY_POLL_S, NEVER, Loop, always
from fhir_adapters.subscriptions.owner import may_see_of
from fhir_adapters.subscriptions.rest_hook import RestHook
from record_store import notifications, outbox, subscriptions

SLOTS = 32  # endpoints at a time; one that hangs keeps one of them for a message's time, and then rests
EXPIRE_POLL_S = 1.0
CLEAR_POLL_S = 60.0
KEPT_DAYS = 30


@dataclass(frozen=True, slots=True)
class Subscribing:
    """Loops and lanes of a worker."""

    loops: tuple[Loop, ...]
    lanes: Lanes


def subscribing_of(house: House, stopping: threading.Event) -> Subscribing:
    """Return what runs in a worker; nothing has been started."""
    worker = house.settings.executor_id
    notifying = Notifying(
        db=house.db,
        send=RestHook(house.settings.endpoints, connections=2 * SLOTS).send,
        now=house.now,
        worker=worker,
        retry=house.delivery_retry,
        base_url=f"{house.base_url}/fhir",
        observe=lambda result: metrics.NOTIFICATIONS.labels(result).inc(),
        # A worker lets nobody in; it asks what an owner may read today.
        may_see=may_see_of(access_of(house, secrets.token_urlsafe(48)), f"{house.base_url}/fhir", house.consents),
        stopping=stopping.is_set,
    )
    lanes = Lanes(notifying.due, notifying.deliver, slots=SLOTS, rest=house.delivery_retry)
    notify = Loop(
        "notify", lanes.once, DELIVERY_POLL_S, rests=lambda: not subscriptions.due(house.db, NEVER, worker)
    )
    offering = Offering(tuple(one.name for one in house.settings.fhir_destinations if one.results))
    matching = Matching(house.db, house.now, f"{house.base_url}/fhir", notify.wake, stopping.is_set, offering)
    match = Loop("match", matching.once, DELIVERY_POLL_S, rests=always)
    expire = Loop("subscriptions", matching.expire, EXPIRE_POLL_S)
    clear = Loop("clear subscriptions", lambda: subscriptions.clear(house.db), CLEAR_POLL_S)
    return Subscribing((match, notify, expire, clear), lanes)


def purge_notifications(house: House) -> int:
    """Remove events that were settled KEPT_DAYS ago, and what waits so long for what is off; return how many."""
    return notifications.purge(house.db, house.now() - timedelta(days=KEPT_DAYS))


def measure_subscriptions(house: House) -> None:
    """Set the gauges of subscriptions by status, and of what waits for them."""
    with house.db.read() as conn:
        held, waiting = subscriptions.every(conn), notifications.pending(conn)
    for status in (subscriptions.REQUESTED, subscriptions.ACTIVE, subscriptions.ERROR, subscriptions.OFF):
        metrics.SUBSCRIPTIONS.labels(status).set(sum(one.status == status for one in held))
    metrics.NOTIFICATIONS_WAITING.set(sum(waiting.values()))
    metrics.OUTBOX_VERSIONS.set(outbox.size(house.db))
