"""Sending to a subscription by criteria: one message for each version, those of one resource one after another."""

from consilium.sending import Lane
from fhir_adapters.subscriptions.messages import message_about
from record_store import notifications
from record_store.notifications import Notification

HEADS = 50


class CriteriaLane(Lane):
    """A resource that the endpoint refuses holds back its own later versions and no other resource."""

    def run(self) -> None:
        """Send until nothing is due, the endpoint is to be left alone, or the time is over."""
        while self.may_go_on():
            with self.sending.db.read() as conn:
                heads = notifications.due(conn, self.held.id, self.sending.now(), HEADS)
            if not heads or not all(self.may_go_on() and self._one(one) for one in heads):
                return

    def _one(self, one: Notification) -> bool:
        found = self.seen_by_owner(one)
        if found is None:
            self.withhold([one])
            return True
        return self.pass_on([one], message_about(self.held, self.asked, found))
