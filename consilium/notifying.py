"""Sends what is due to subscriptions' endpoints: one lane each, each answer written down before the next message.

An endpoint that is away, or refuses all there is, is left alone for longer each time; one that refuses a resource
holds back that resource only. After the last try the subscription is in error with the reason, and everything
waits until somebody asks for it again: nothing that was due is dropped.
"""

from consilium.criteria_lane import CriteriaLane
from consilium.sending import Sending
from consilium.topic_lane import TopicLane
from fhir_adapters.subscriptions.asked import Asked
from record_store import subscriptions

LEASE_S = 90.0
GO_ON_S = 45.0  # nothing is begun later in a lease: an answer may take LONGEST_TIMEOUT_S


class Notifying(Sending):
    """Sends notifications, by lanes."""

    def due(self) -> list[str]:
        """Return the subscriptions that something is due to, the longest waiting first."""
        return subscriptions.due(self.db, self.now(), self.worker)

    def deliver(self, own: str) -> bool:
        """Send what is due to one subscription, for as long as a lease allows. Always True: pauses are rows."""
        held = subscriptions.lease(self.db, own, self.worker, self.now(), LEASE_S)
        if held is None:
            return True
        asked, until = Asked.from_json(held.asked), self.seconds() + GO_ON_S
        lane = CriteriaLane if asked.topic is None else TopicLane
        try:
            lane(self, held, asked, until).run()
        finally:
            subscriptions.give_back(self.db, own, self.worker)
        return True
